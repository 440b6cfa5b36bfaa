-- Properties of scorecards, on random ones: what simulation says is what publishing gives, a document is the same after
-- a round trip, contributions sum, scores stay in their range, history can be recomputed, and more is never worse.
--
--     psql -XqAt -v ON_ERROR_STOP=1 -v seed=42 -f test/property/scorecard.sql
--
-- in a database with the extension.  Prints TAP.
\if :{?seed}
\else
    \set seed 1
\endif
\ir tap.sql
\ir random.sql
SELECT set_config('tap.note', format('seed %s', :'seed'), false), setseed(:seed::bigint % 1000003 / 1000003.0) \g /dev/null
-- "Today" must stay the same day for as long as this runs.
SELECT pg_sleep(CASE WHEN left_today < 60 THEN left_today + 1 ELSE 0 END)
FROM (SELECT 86400 - extract(epoch FROM now() AT TIME ZONE 'UTC' - date_trunc('day', now() AT TIME ZONE 'UTC')) AS left_today) t \g /dev/null
SET jit = off;

SELECT rnd.nobody() \g /dev/null
INSERT INTO chs.customers (customer_id, segment, created_at, churned_at)
SELECT i, rnd.segment(), rnd.on_day(rnd.pick('{0,1,29,30,89,300}')), CASE WHEN random() < 0.1 THEN rnd.on_day(rnd.whole(0, 40)) END FROM generate_series(1, least(:customers, 40)) i;
SELECT rnd.events(0.6) \g /dev/null
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at) SELECT customer_id, event_type, event_data, occurred_at FROM rnd.event WHERE chunk < 60;
SELECT chs_process_queue() \g /dev/null
-- Some are still queued.
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at) SELECT customer_id, event_type, event_data, occurred_at FROM rnd.event WHERE chunk >= 60;

DROP SCHEMA IF EXISTS card CASCADE;
CREATE SCHEMA card;

-- Curves of any magnitude, from 1e-300 to 1e308, against numeric; within what the digits of x and of the points allow.
CREATE TABLE card.curve AS
SELECT (SELECT string_agg(x || ':' || round((random() * 100)::numeric, 2), ' ' ORDER BY x::numeric)
        FROM (SELECT DISTINCT ON (x::numeric) x FROM (SELECT rnd.whole(-17, 17) || 'e' || least(magnitude + rnd.whole(-2, 2), 307) AS x FROM generate_series(1, rnd.whole(2, 5))) a) p) AS curve,
       rnd.whole(-17, 17) || 'e' || least(magnitude + rnd.whole(-2, 2), 307) AS x
FROM (SELECT i, (CASE WHEN i % 3 = 0 THEN 307 ELSE rnd.whole(-300, 300) END) AS magnitude FROM generate_series(1, 600) i) m;
SELECT * FROM tap.none($$SELECT curve, x, chs.curve(curve, x::float8), oracle.curve(curve, x::numeric) FROM card.curve
    WHERE (abs(chs.curve(curve, x::float8)::numeric - oracle.curve(curve, x::numeric)) < 1e-7) IS NOT TRUE$$, 'curves of any magnitude');
CREATE TABLE card.metric AS SELECT * FROM chs.metrics WHERE scorecard = 'default' AND penalty IS NULL;

-- Changes the draft at random: numbers, weights of segments, which scorecard is whose, and now and then what is counted.
CREATE FUNCTION card.change() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    name CONSTANT text := 'extra_' || rnd.whole(1, 1000000);
BEGIN
    IF random() < 0.6 THEN
        PERFORM rnd.scorecard('default');
    ELSE
        UPDATE chs.factors SET weight = random() WHERE random() < 0.5;
        UPDATE chs.metrics SET curve = rnd.curve() WHERE penalty IS NULL AND random() < 0.3;
        UPDATE chs.targets SET target = 0.01 + random() * 50 WHERE random() < 0.5;
    END IF;
    DELETE FROM chs.segment_weights WHERE random() < 0.5;
    INSERT INTO chs.segment_weights (scorecard, factor, metric, segment, weight)
    SELECT f.scorecard, factor, metric, segment, rnd.whole(0, 2) * random()
    FROM (SELECT scorecard, factor, NULL AS metric FROM chs.factors UNION ALL SELECT scorecard, factor, metric FROM chs.metrics WHERE penalty IS NULL) f,
         chs.segments WHERE random() < 0.08 ON CONFLICT DO NOTHING;
    UPDATE chs.segments SET scorecard = ('{default,volume_only,NULL}'::text[])[rnd.whole(1, 3)] WHERE random() < 0.5;
    IF random() < 0.5 THEN
        INSERT INTO chs.factors (scorecard, factor, weight, description) VALUES ('default', name, random(), 'with "quotes" and \ 雪');
        INSERT INTO chs.metrics (scorecard, factor, metric, event_type, aggregate, measure, field, filter, base_filter, window_days, curve, weight, missing, missing_score)
        SELECT 'default', name, metric || '_' || rnd.whole(1, 9), event_type, aggregate, measure, field, filter, base_filter, rnd.whole(1, 200), rnd.curve(), random(), missing, missing_score
        FROM (SELECT * FROM card.metric ORDER BY random() LIMIT rnd.whole(0, 3)) m;
        INSERT INTO chs.metrics (scorecard, factor, metric, event_type, aggregate, filter, window_days, penalty)
        SELECT 'default', name, 'fine', 'payment', 'count', format('$.amount > %s', rnd.whole(1, 500)), rnd.whole(1, 60), 0.001 + random() * 20 WHERE random() < 0.5;
    ELSIF random() < 0.3 THEN
        DELETE FROM chs.factors WHERE factor LIKE 'extra%' AND random() < 0.7;
    END IF;
    UPDATE chs.factors SET position = -position WHERE random() < 0.3 AND scorecard = 'default';
END
$$;

-- Some events more, as long as they come.
CREATE FUNCTION card.more_events() RETURNS void LANGUAGE sql AS $$
    INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
    SELECT customer_id, event_type, event_data, occurred_at FROM rnd.event
    WHERE current_setting('card.more_events')::boolean ORDER BY random() LIMIT 50
$$;
CREATE FUNCTION card.exact(label text) RETURNS SETOF text LANGUAGE sql AS $f$
    SELECT * FROM tap.none('SELECT customer_id, s.score, h.score FROM (SELECT * FROM chs.scorecard_versions WHERE live_at IS NOT NULL ORDER BY version DESC LIMIT 1) v,
        chs.customers, chs_activity_score((SELECT chs_activity_agg(v.document, e.event_type, e.event_data, e.occurred_at) FROM chs.customer_events e
            WHERE e.customer_id = customers.customer_id), v.document, segment, created_at, least(now(), churned_at)) s, chs.health_now(customer_id) h
        WHERE (s.score, s.status, v.version) IS DISTINCT FROM (h.score, h.status, h.version)', label || 'scores are those of the raw events')
$f$;

-- A version that waits: until it is live the one before is exact, whoever is folded or counted meanwhile.
CREATE FUNCTION card.wait(label text) RETURNS SETOF text LANGUAGE plpgsql AS $f$
BEGIN
    RETURN QUERY SELECT * FROM tap.none('SELECT s.customer_id, s.live_score, h.score FROM card.simulated s, chs.health_now(customer_id) h
        WHERE (s.live_score, s.live_status, s.live_scorecard) IS DISTINCT FROM (h.score, h.status, h.scorecard)', label || 'what was live goes on');
    PERFORM card.more_events();
    RETURN QUERY SELECT * FROM card.exact(label || 'with more events ');
    PERFORM chs_recalculate(customer_id) FROM chs.customers WHERE random() < 0.3;
    PERFORM card.more_events(), chs_process_queue(rnd.whole(0, 40));
    RETURN QUERY SELECT * FROM card.exact(label || 'partly counted ');
    RETURN QUERY SELECT * FROM tap.none('SELECT * FROM chs_verify()', label || 'partly counted, chs_verify finds nothing');
    DROP TABLE card.simulated;
    CREATE TABLE card.simulated AS SELECT * FROM chs_simulate();
    CALL chs_recalculate_all();
    PERFORM set_config('card.waited', (current_setting('card.waited')::integer + 1)::text, false);
END
$f$;
SET card.waited = 0;
SET card.more_events = on;

-- One round: test points about a random draft and its publishing.
CREATE TABLE card.said (LIKE chs.customer_health);
CREATE FUNCTION card.round(n integer) RETURNS SETOF text LANGUAGE plpgsql AS $f$
DECLARE
    document jsonb;
    live     integer := (SELECT max(version) FROM chs.scorecard_versions);
    number   integer;
    label    text := format('round %s: ', n);
BEGIN
    PERFORM card.change();
    document := chs_scorecard_export();
    PERFORM chs_scorecard_import(document);
    RETURN QUERY SELECT * FROM tap.ok(chs_scorecard_export() = document, label || 'what is imported is exported',
        (SELECT string_agg(c::text, E'\n') FROM chs.document_changes(document, chs_scorecard_export()) c));
    PERFORM chs_scorecard_import(document::text::jsonb);
    RETURN QUERY SELECT * FROM tap.ok(chs_scorecard_export() = document, label || 'also by way of text');
    DROP TABLE IF EXISTS card.simulated;
    CREATE TABLE card.simulated AS SELECT * FROM chs_simulate();
    RETURN QUERY SELECT * FROM tap.none('SELECT s.customer_id, s.live_score, h.score FROM card.simulated s, chs.health_now(customer_id) h
        WHERE (s.live_score, s.live_status, s.live_scorecard) IS DISTINCT FROM (h.score, h.status, h.scorecard)', label || 'simulation knows what is live');
    number := chs_publish(label);
    IF EXISTS (SELECT FROM chs.scorecard_versions v WHERE v.version = number AND v.live_at IS NULL) THEN
        RETURN QUERY SELECT * FROM card.wait(label);
    END IF;
    RETURN QUERY SELECT * FROM tap.none('SELECT s.customer_id, s.draft_score, s.draft_status, h.score, h.status, h.scorecard FROM card.simulated s, chs.health_now(customer_id) h
        WHERE (s.draft_score, s.draft_status, s.draft_scorecard) IS DISTINCT FROM (h.score, h.status, h.scorecard)', label || 'what it says is what publishing gives');
    RETURN QUERY SELECT * FROM tap.none('TABLE chs.draft_changes', label || 'then the draft is what is live');
    RETURN QUERY SELECT * FROM tap.ok(chs_scorecard_export(number) = document, label || 'and the version is the document');
    RETURN QUERY SELECT * FROM tap.ok((SELECT changes = '[]' FROM chs.scorecard_versions WHERE version = number)
                                      = (chs_scorecard_export(number) = chs_scorecard_export(live)), label || 'changes are none if and only if nothing changed');
    RETURN QUERY SELECT * FROM tap.none(format('SELECT s.customer_id, s.draft_score, h.score FROM chs_simulate(chs_scorecard_export(%s)) s JOIN card.simulated o USING (customer_id), chs.health_now(customer_id) h
        WHERE s.draft_score IS DISTINCT FROM o.live_score OR s.draft_status <> o.live_status', live), label || 'the version before, simulated, is what was live');
    RETURN QUERY SELECT * FROM tap.none('SELECT customer_id, score, status, coverage FROM chs.customers, chs.health_now(customer_id)
        WHERE NOT COALESCE(score BETWEEN 0 AND 100 AND score = round(score::numeric, 2), status = ''unknown'') OR (score IS NULL) <> (status = ''unknown'')
           OR coverage NOT BETWEEN 0 AND 1.000000001 OR EXISTS (SELECT FROM unnest(factor_scores) f WHERE f NOT BETWEEN 0 AND 100)', label || 'scores stay in their range');
    RETURN QUERY SELECT * FROM tap.none('SELECT customer_id, h.score, e.* FROM chs.customers, chs.health_now(customer_id) h, LATERAL (
            SELECT sum(contribution) FILTER (WHERE metric IS NULL) AS factors, sum(contribution) FILTER (WHERE metric IS NOT NULL) AS metrics,
                   sum(effective_weight) FILTER (WHERE metric IS NULL) AS weights FROM chs_explain(customer_id)) e
        WHERE h.score IS NOT NULL AND (abs(e.factors - h.score) > 1e-9 OR abs(e.metrics - h.score) > 1e-9 OR abs(e.weights - 1) > 1e-9)', label || 'contributions sum to the score');
    PERFORM card.more_events();
    RETURN QUERY SELECT * FROM card.exact(label);
END
$f$;
SET client_min_messages = warning;
CALL chs_recalculate_all();
SELECT card.round(n) FROM generate_series(1, 3) n;
CALL chs_recalculate_all();
-- What the history has from here on was made of all events.
SET card.more_events = off;
CREATE TABLE card.start AS SELECT max(version) AS version FROM chs.scorecard_versions;
SELECT card.round(n) FROM generate_series(4, 5) n;
CALL chs_recalculate_all();
SELECT card.round(n) FROM generate_series(6, 7) n;
CALL chs_recalculate_all();
RESET client_min_messages;
SELECT * FROM tap.none('SELECT * FROM chs_verify()', 'chs_verify finds nothing');
SELECT * FROM tap.ok(current_setting('card.waited')::integer > 0, 'some versions had to wait');

\echo # history
SELECT * FROM tap.ok((SELECT count(DISTINCT version) > 1 FROM chs.health_scores WHERE version > (SELECT version FROM card.start)), 'history is of several versions');
SELECT * FROM tap.none('SELECT h.* FROM chs.health_scores h JOIN chs.scorecard_versions v USING (version) JOIN chs.customers c USING (customer_id),
        LATERAL (SELECT chs_activity_agg(v.document, e.event_type, e.event_data, e.occurred_at) AS activity FROM chs.customer_events e WHERE e.customer_id = h.customer_id) a,
        LATERAL chs_activity_score(a.activity, v.document, h.segment, c.created_at, h.as_of + time ''12:00'' AT TIME ZONE ''UTC'') s
    WHERE v.version > (SELECT version FROM card.start) AND (h.score, h.status, h.coverage, h.trend, h.factor_scores) IS DISTINCT FROM (s.score, s.status, s.coverage, s.trend, s.factor_scores)',
    'each row of the history can be recomputed from its version');
SELECT * FROM tap.none('SELECT h.customer_id, h.version, h.score, chs_score(customer_id, NULL, version) AS named FROM chs.health_scores h JOIN chs.customers c USING (customer_id)
    WHERE h.version > (SELECT version FROM card.start) AND h.segment IS NOT DISTINCT FROM c.segment AND h.score IS DISTINCT FROM chs_score(customer_id, NULL, version)', 'chs_score by the version that is named says the same');
SELECT * FROM tap.none('SELECT s.health_score_id, h.score, sum((s.details ->> ''contribution'')::double precision) FROM chs.factor_scores s JOIN chs.health_scores h USING (customer_id, health_score_id)
    WHERE h.score IS NOT NULL GROUP BY 1, 2 HAVING abs(h.score - sum((s.details ->> ''contribution'')::double precision)) > 0.00500001', 'the factors of the history sum to its scores');

\echo # more is never worse
-- Only aggregates that grow with the events, curves that rise, and no data being nothing.
DELETE FROM chs.segment_weights;
DELETE FROM chs.metrics WHERE penalty IS NOT NULL OR aggregate NOT IN ('count', 'distinct') OR event_type = 'support_ticket';
UPDATE chs.segments SET scorecard = 'default';
UPDATE chs.scorecards SET grace = false, min_coverage = 0;
CREATE FUNCTION card.rising() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT string_agg(x || ':' || y, ' ' ORDER BY n)
    FROM (SELECT row_number() OVER (ORDER BY x) AS n, x FROM (SELECT DISTINCT rnd.whole(0, 400) / 10.0 AS x FROM generate_series(1, 5)) x) x
    JOIN (SELECT row_number() OVER (ORDER BY y) AS n, y FROM (SELECT rnd.whole(0, 1000) / 10.0 AS y FROM generate_series(1, 5)) y) y USING (n)
$$;
INSERT INTO chs.metrics (scorecard, factor, metric, event_type, aggregate, measure, field, window_days, curve, weight, missing)
SELECT 'default', 'payment_timeliness', m.*, 30, '0:0 1:1', 1, 'zero'
FROM (VALUES ('sum', 'payment', 'sum', 'count', 'amount'), ('days', 'payment', 'active_days', 'count', NULL)) m;
CREATE FUNCTION card.more(n integer) RETURNS SETOF text LANGUAGE plpgsql AS $f$
BEGIN
    UPDATE chs.metrics SET curve = card.rising(), missing = 'zero', missing_score = NULL, weight = random(), window_days = rnd.pick('{1,7,30,90,365}');
    RETURN QUERY SELECT * FROM tap.none($q$
        WITH event AS MATERIALIZED (SELECT *, row_number() OVER (PARTITION BY customer_id ORDER BY random()) AS n FROM rnd.event WHERE event_type <> 'support_ticket'),
             document AS MATERIALIZED (SELECT chs.draft_document() AS d),
             step AS (SELECT c.customer_id, p, s.score, lag(s.score) OVER (PARTITION BY c.customer_id ORDER BY p) AS fewer
                      FROM chs.customers c, generate_series(0, 300, 30) p, document,
                           LATERAL (SELECT chs_activity_agg(d, event_type, event_data, occurred_at) AS activity FROM event e WHERE e.customer_id = c.customer_id AND e.n <= p) a,
                           LATERAL chs_activity_score(a.activity, d, c.segment, c.created_at, now()) s)
        SELECT * FROM step WHERE score < fewer$q$, format('more events never lower the score (%s)', n));
END
$f$;
SELECT card.more(n) FROM generate_series(1, 3) n;

\echo # back
SELECT chs_rollback(1, discard => true) \g /dev/null
SELECT * FROM tap.ok(chs_scorecard_export() = chs_scorecard_export(1), 'rolled back, all is as it was');
SELECT tap.plan();
