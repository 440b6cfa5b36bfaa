-- Differential test: the engine against the oracle, on random customers and events.
--
--     psql -XqAt -v ON_ERROR_STOP=1 -v seed=42 -f test/property/differential.sql
--
-- in a database with the extension and test/oracle/oracle.sql.  Prints TAP.
-- Leaves its customers behind.  -v customers=N makes it larger or smaller.
\if :{?seed}
\else
    \set seed 1
\endif
\ir tap.sql
\ir random.sql
SELECT set_config('tap.note', format('seed %s, customers %s', :'seed', :'customers'), false), setseed(:seed::bigint % 1000003 / 1000003.0) \g /dev/null
-- "Today" must stay the same day for as long as this runs.
SELECT pg_sleep(CASE WHEN left_today < 120 THEN left_today + 1 ELSE 0 END)
FROM (SELECT 86400 - extract(epoch FROM now() AT TIME ZONE 'UTC' - date_trunc('day', now() AT TIME ZONE 'UTC')) AS left_today) t \g /dev/null

SET jit = off;
SET work_mem = '64MB';

DROP SCHEMA IF EXISTS compare CASCADE;
CREATE SCHEMA compare;

CREATE VIEW compare.card AS
    SELECT c.customer_id, s.*
    FROM chs.customers c LEFT JOIN chs.segments g USING (segment)
    JOIN chs.scorecards s ON s.scorecard = g.scorecard OR g.scorecard IS NULL AND s.is_default;

CREATE FUNCTION compare.day(as_of timestamptz) RETURNS date LANGUAGE sql STABLE AS $$
    SELECT (coalesce(as_of, now()) AT TIME ZONE 'UTC')::date
$$;
CREATE FUNCTION compare.near(a double precision, b numeric, tolerance double precision DEFAULT 1e-9) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT a IS NULL AND b IS NULL
        OR coalesce(abs(a - b::double precision) <= tolerance * greatest(1, abs(a)), false)
$$;
-- Has the oracle compute what stands in oracle.health, factor and metric for the
-- day, each customer with its own scorecard.
CREATE PROCEDURE compare.expect(day date) LANGUAGE plpgsql AS $$
DECLARE
    card record;
BEGIN
    TRUNCATE oracle.metric, oracle.factor, oracle.health;
    FOR card IN SELECT scorecard, array_agg(customer_id) AS customers FROM compare.card GROUP BY 1 LOOP
        CALL oracle.compute(card.scorecard, day, card.customers);
    END LOOP;
    ANALYZE oracle.metric, oracle.factor, oracle.health;
END
$$;

-- Every difference between the oracle and the health that the query gives, with
-- the columns customer_id, score, status, coverage, trend, factor_scores, scorecard, day.
CREATE FUNCTION compare.health(query text) RETURNS text LANGUAGE sql AS $$
    SELECT format($q$
        SELECT customer_id, c.scorecard, d.what, d.engine, d.oracle
        FROM compare.card c JOIN oracle.health o USING (customer_id) LEFT JOIN (%s) h USING (customer_id),
        LATERAL (SELECT array_agg(f.score ORDER BY f.position) AS factor_scores,
                        bool_and(compare.near(h.factor_scores[f.ordinal], f.score)) AND count(*) = cardinality(h.factor_scores) AS same
                 FROM (SELECT *, row_number() OVER (ORDER BY position) AS ordinal FROM oracle.factor f
                       WHERE f.customer_id = c.customer_id AND f.back = 0) f) f,
        LATERAL (VALUES
            ('row', 'there'::text, CASE WHEN h.customer_id IS NULL THEN 'missing' ELSE 'there' END, h.customer_id IS NOT NULL),
            ('score', h.score::text, o.score::text, h.score::numeric IS NOT DISTINCT FROM o.score),
            ('status', h.status, o.status, h.status = o.status),
            ('coverage', h.coverage::text, o.coverage::text, compare.near(h.coverage, o.coverage)),
            ('trend', h.trend, oracle.trend(o.moved, c.trend_band) || ' ' || o.moved, h.trend IS NOT DISTINCT FROM oracle.trend(o.moved, c.trend_band)),
            ('factor_scores', h.factor_scores::text, f.factor_scores::text, f.same),
            ('scorecard', h.scorecard, c.scorecard, h.scorecard = c.scorecard),
            ('day', h.day::text, o.day::text, h.day = o.day)) d(what, engine, oracle, same)
        WHERE o.back = 0 AND d.same IS NOT TRUE$q$, query)
$$;

-- The same for chs_explain: values, scores and weights of each metric and factor,
-- and what they contribute.  Rounding the score changes one contribution.
CREATE FUNCTION compare.explain(as_of timestamptz) RETURNS text LANGUAGE sql AS $$
    SELECT format($q$
        WITH engine AS MATERIALIZED (
            SELECT c.customer_id, e.* FROM compare.card c, LATERAL chs_explain(c.customer_id, %L) e),
        expected AS (
            SELECT customer_id, factor, NULL AS metric, NULL::numeric AS value, NULL::numeric AS target, score, weight,
                   effective_weight, score * effective_weight AS contribution, moved
            FROM oracle.factor WHERE back = 0
            UNION ALL
            SELECT customer_id, factor, m.metric, m.value, m.target, m.score, m.weight,
                   CASE WHEN m.score IS NOT NULL THEN f.effective_weight * m.weight / nullif(m.weights, 0) END,
                   CASE WHEN m.penalty IS NULL THEN f.effective_weight * m.score * m.weight / nullif(m.weights, 0)
                        ELSE f.effective_weight * (f.score - f.mean) * coalesce(m.penalty * m.value / nullif(m.penalties, 0), 0) END, m.moved
            FROM (SELECT *, sum(CASE WHEN score IS NOT NULL THEN weight END) OVER one_factor AS weights,
                         sum(penalty * value) OVER one_factor AS penalties
                  FROM oracle.metric WINDOW one_factor AS (PARTITION BY customer_id, back, factor)) m
            JOIN oracle.factor f USING (customer_id, back, factor)
            WHERE back = 0),
        pair AS MATERIALIZED (
            SELECT customer_id, factor, nullif(metric, '') AS metric, c.trend_band,
                   e AS engine, o AS oracle, CASE WHEN h.score IS NOT NULL THEN o.contribution END AS contribution
            FROM (SELECT customer_id, factor, coalesce(metric, '') AS metric, e FROM engine e) e
            FULL JOIN (SELECT customer_id, factor, coalesce(metric, '') AS metric, contribution, o FROM expected o) o USING (customer_id, factor, metric)
            LEFT JOIN compare.card c USING (customer_id)
            LEFT JOIN (SELECT customer_id, score FROM oracle.health WHERE back = 0) h USING (customer_id))
        SELECT customer_id, factor, metric, d.what, d.engine, d.oracle
        FROM pair,
        LATERAL (VALUES
            ('row', (engine).factor, (oracle).factor, (engine).factor = (oracle).factor),
            ('value', (engine).value::text, (oracle).value::text, compare.near((engine).value, (oracle).value)),
            ('target', (engine).target::text, (oracle).target::text, compare.near((engine).target, (oracle).target)),
            ('score', (engine).score::text, (oracle).score::text, compare.near((engine).score, (oracle).score)),
            ('weight', (engine).weight::text, (oracle).weight::text, compare.near((engine).weight, (oracle).weight)),
            ('effective_weight', (engine).effective_weight::text, (oracle).effective_weight::text,
                compare.near(coalesce((engine).effective_weight, 0), coalesce((oracle).effective_weight, 0))),
            ('contribution', (engine).contribution::text, contribution::text,
                compare.near(coalesce((engine).contribution, 0), coalesce(contribution, 0), 0.005000002)),
            ('trend', (engine).trend, oracle.trend((oracle).moved, trend_band) || ' ' || (oracle).moved,
                (engine).trend IS NOT DISTINCT FROM oracle.trend((oracle).moved, trend_band))
            ) d(what, engine, oracle, same)
        WHERE d.same IS NOT TRUE
        UNION ALL
        SELECT customer_id, max(factor), max(metric), 'contributions other than the oracle''s', count(*)::text, 'at most 1'
        FROM pair WHERE NOT compare.near(coalesce((engine).contribution, 0), coalesce(contribution, 0))
        GROUP BY customer_id, metric IS NULL HAVING count(*) > 1
        UNION ALL
        SELECT customer_id, NULL, NULL, 'sum of the factors', s.factors::text, o.score::text
        FROM oracle.health o JOIN (SELECT customer_id, sum(contribution) AS factors FROM engine WHERE metric IS NULL GROUP BY 1) s USING (customer_id)
        WHERE o.back = 0 AND NOT compare.near(s.factors, o.score)
        UNION ALL
        SELECT customer_id, factor, NULL, 'sum of the metrics', s.metrics::text, s.of_factor::text
        FROM (SELECT customer_id, factor, coalesce(sum(contribution) FILTER (WHERE metric IS NOT NULL), 0) AS metrics,
                     coalesce(sum(contribution) FILTER (WHERE metric IS NULL), 0) AS of_factor
              FROM engine GROUP BY 1, 2) s
        WHERE NOT compare.near(s.metrics, s.of_factor::numeric)$q$, as_of)
$$;

-- What the functions say of a day, NULL for now.
CREATE FUNCTION compare.live(label text, as_of timestamptz DEFAULT NULL) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    IF as_of IS NOT NULL THEN
        label := format('%s, as of %s days ago', label, compare.day(NULL) - compare.day(as_of));
    END IF;
    CALL compare.expect(compare.day(as_of));
    RETURN QUERY SELECT * FROM tap.none(compare.health(format(
        'SELECT c.customer_id, h.* FROM chs.customers c, LATERAL chs.health_now(c.customer_id, %L) h', as_of)), label || ': health');
    RETURN QUERY SELECT * FROM tap.none(format(
        'SELECT customer_id, score, status, chs_score(customer_id, %1$L), chs_status(customer_id, %1$L)
         FROM oracle.health WHERE back = 0
         AND (chs_score(customer_id, %1$L)::numeric, chs_status(customer_id, %1$L)) IS DISTINCT FROM (score, status)', as_of),
         label || ': chs_score and chs_status');
    IF as_of IS NULL THEN
        RETURN QUERY SELECT * FROM tap.none(
            'SELECT customer_id, o.score, o.status, h
             FROM oracle.health o, LATERAL chs_health(customer_id) h,
             LATERAL (SELECT sum((f ->> ''contribution'')::double precision) AS sum FROM jsonb_array_elements(h -> ''factors'') f) f
             WHERE back = 0 AND ((h ->> ''score'')::numeric IS DISTINCT FROM o.score OR h ->> ''status'' <> o.status OR NOT compare.near(f.sum, o.score))',
            label || ': chs_health');
    END IF;
    RETURN QUERY SELECT * FROM tap.none(compare.explain(as_of), label || ': chs_explain');
    RETURN QUERY SELECT * FROM tap.none(format(
        'SELECT customer_id, o.score AS oracle, v.score AS formula, chs_score(customer_id, %L) AS engine
         FROM oracle.health o JOIN oracle.volume_only(%L) v USING (customer_id)
         WHERE o.back = 0 AND o.scorecard = ''volume_only''
         AND (o.score, chs_score(customer_id, %1$L)::numeric) IS DISTINCT FROM (v.score, v.score)', as_of, compare.day(as_of)),
         label || ': volume_only is the short formula');
END
$$;
CREATE FUNCTION compare.past(label text, VARIADIC days integer[]) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT l FROM unnest(days) d, compare.live(label, rnd.on_day(d)) l
$$;

-- What is stored, after the queue was folded.
CREATE FUNCTION compare.stored(label text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT * FROM tap.none('SELECT * FROM chs.queue', label || ': the queue is empty');
    CALL compare.expect(compare.day(NULL));
    RETURN QUERY SELECT * FROM tap.none(compare.health(
        'SELECT *, as_of AS day FROM chs.customer_health
         WHERE version = (SELECT max(version) FROM chs.scorecard_versions)'), label || ': customer_health');
    RETURN QUERY SELECT * FROM tap.none(compare.health(
        'SELECT c.customer_id, s.*, k.scorecard, d.at::date AS day
         FROM chs.customers c LEFT JOIN chs.activity a USING (customer_id) JOIN compare.card k USING (customer_id),
              LATERAL (SELECT least(now(), c.churned_at) AT TIME ZONE ''UTC'') d(at),
              LATERAL (SELECT document FROM chs.scorecard_versions WHERE live_at IS NOT NULL ORDER BY version DESC LIMIT 1) v,
              LATERAL chs_activity_score(a.activity, v.document, c.segment, c.created_at, least(now(), c.churned_at)) s'),
        label || ': chs_activity_score');
    RETURN QUERY SELECT * FROM tap.none('SELECT * FROM chs_verify()', label || ': chs_verify');
END
$$;

\echo # customers and events
SELECT rnd.nobody() \g /dev/null
INSERT INTO chs.customers (customer_id, segment, created_at, churned_at)
SELECT i, rnd.segment(),
       CASE WHEN random() < 0.5 THEN rnd.on_day(rnd.pick('{0,1,6,7,8,28,29,30,31,36,37,88,89,90,91,96,97}'))
            ELSE rnd.on_day(rnd.whole(100, 900)) END,
       CASE WHEN random() < 0.1 THEN rnd.on_day(rnd.pick('{-5,-1,0,1,5,29,30,31,60,89,90,100}')) END
FROM generate_series(1, :customers) i;
SELECT rnd.events(1.0) \g /dev/null
SET work_mem = '64kB';  -- capture must do with it
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT customer_id, event_type, event_data, occurred_at FROM rnd.event WHERE chunk < 60;
SET work_mem = '64MB';
DO $$
DECLARE
    e record;
BEGIN
    FOR e IN SELECT * FROM rnd.event WHERE chunk BETWEEN 60 AND 62 LOOP
        INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
        VALUES (e.customer_id, e.event_type, e.event_data, e.occurred_at);
    END LOOP;
    FOR e IN SELECT * FROM rnd.event WHERE chunk = 63 LOOP
        PERFORM chs_record_event(e.customer_id, e.event_type, e.event_data, e.occurred_at);
    END LOOP;
END
$$;
SELECT rnd.zone() \g /dev/null
BEGIN;
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT customer_id, event_type, event_data, occurred_at FROM rnd.event WHERE chunk BETWEEN 64 AND 80;
SAVEPOINT s;
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT customer_id, event_type, event_data, occurred_at FROM rnd.event WHERE chunk < 20;
ROLLBACK TO s;
SELECT * FROM compare.live('unfolded, own transaction');
COMMIT;
SELECT format('# %s customers, %s events', (SELECT count(*) FROM chs.customers), (SELECT count(*) FROM chs.customer_events));
ANALYZE chs.customers;
ANALYZE chs.customer_events;

SELECT rnd.zone() \g /dev/null
SELECT * FROM compare.live('unfolded');
SELECT * FROM compare.past('unfolded', 1, 35);
SELECT chs_process_queue() \g /dev/null
SELECT rnd.zone() \g /dev/null
SELECT * FROM compare.live('folded');
SELECT * FROM compare.stored('folded');
SELECT * FROM compare.past('folded', -20, -1, 1, 7, 30, 89, 90, 400);

\echo # changes of the data
BEGIN;
SELECT rnd.change() \g /dev/null
SELECT * FROM compare.live('changed, own transaction');
SELECT chs_process_queue() \g /dev/null
SELECT * FROM compare.live('changed and folded, own transaction');
ROLLBACK;
SELECT * FROM compare.live('rolled back');
SELECT rnd.change() \g /dev/null
SELECT * FROM compare.live('changed, unfolded');
SELECT chs_process_queue(40) \g /dev/null
SELECT rnd.zone() \g /dev/null
SELECT * FROM compare.live('changed, partly folded');
SELECT * FROM tap.none('SELECT customer_id, score, s FROM oracle.health, LATERAL chs_recalculate(customer_id) s
    WHERE back = 0 AND customer_id % 3 = 0 AND s::numeric IS DISTINCT FROM score', 'chs_recalculate of some customers');
SELECT * FROM tap.none('SELECT customer_id FROM chs.customers, LATERAL chs_rebuild(customer_id) n WHERE customer_id % 7 = 0 AND n <> 1', 'chs_rebuild of some');
SELECT * FROM compare.live('changed, some recalculated, some rebuilt');
SELECT chs_process_queue() \g /dev/null
SELECT * FROM compare.live('changed, folded');
SELECT * FROM compare.stored('changed, folded');
SELECT * FROM compare.past('changed, folded', rnd.whole(1, 120));

\echo # other scorecards: volume_only, and one with every aggregate
INSERT INTO chs.scorecards (scorecard, min_coverage, healthy_from, at_risk_from, grace, trend_days, trend_band)
VALUES ('extra', 0.6, 60, 40, true, 30, 0.5) ON CONFLICT DO NOTHING;
INSERT INTO chs.factors (scorecard, factor, position, weight)
VALUES ('extra', 'usage', 5, 3), ('extra', 'money', 2, 1), ('extra', 'care', 9, 0.7), ('extra', 'for_show', 1, 0), ('extra', 'empty', 7, 0.3) ON CONFLICT DO NOTHING;
INSERT INTO chs.metrics (scorecard, factor, metric, position, event_type, aggregate, measure, field, filter, base_filter,
                         window_days, curve, weight, missing, missing_score) VALUES
    ('extra', 'usage', 'days', 1, 'api_call', 'active_days', 'count', NULL, NULL, NULL, 14, '0:0 7:80 14:100', 2, 'zero', NULL),
    ('extra', 'usage', 'last_login', 2, 'login', 'days_since_last', 'count', NULL, NULL, NULL, 60, '0:100 60:0', 1, 'score', 10),
    ('extra', 'usage', 'more_calls', 3, 'api_call', 'growth', 'count', NULL, NULL, NULL, 30, '-1:0 0:50 1:100', 1, 'missing', NULL),
    ('extra', 'usage', 'more_bad_endpoints', 4, 'api_call', 'growth', 'distinct', 'endpoint',
        '$.status_code >= 400 || $.response_code >= 400', NULL, 7, '-1:100 0:50 1:0', 0.5, 'zero', NULL),
    ('extra', 'usage', 'calls_of_usual', 6, 'api_call', 'of_usual', 'count', NULL, NULL, NULL, 5, '0:0 1:80 2:100', 1.5, 'missing', NULL),
    ('extra', 'usage', 'users_of_usual', 7, 'login', 'of_usual', 'distinct', 'user_id', NULL, NULL, 9, '0:0 1:100', 0.4, 'zero', NULL),
    ('extra', 'money', 'money_of_usual', 5, 'payment', 'of_usual', 'sum', 'amount', NULL, NULL, 14, '0:0 1:100', 0.8, 'score', 40),
    ('extra', 'money', 'outstanding', 1, 'payment', 'sum', 'count', 'amount',
        '$.status == "overdue" || $.status == "failed" || $.status == "pending"', NULL, 45, '0:100 1000:0', 1, 'zero', NULL),
    ('extra', 'money', 'more_money', 2, 'payment', 'growth', 'sum', 'amount', NULL, NULL, 30, '-1:0 1:100', 1, 'score', 55),
    ('extra', 'money', 'mean_failed', 3, 'payment', 'avg', 'count', 'amount', '$.status == "failed"', NULL, 90, '0:0 500:100', 1, 'zero', NULL),
    ('extra', 'money', 'weightless', 4, 'payment', 'count', 'count', NULL, NULL, NULL, 10, '0:0 1:100', 0, 'zero', NULL),
    ('extra', 'care', 'urgent_per_high', 1, 'support_ticket', 'ratio', 'sum', 'resolution_time',
        '$.priority == "urgent"', '$.priority == "high"', 120, '0:100 2:0', 1, 'missing', NULL),
    ('extra', 'care', 'today', 2, 'support_ticket', 'count', 'count', NULL, NULL, NULL, 1, '0:0 1:100', 0.2, 'missing', NULL),
    ('extra', 'care', 'features_a_year', 3, 'feature_use', 'distinct', 'count', 'feature_name', '$.tier == "advanced"', NULL, 365, '0:0 1:100', 1, 'zero', NULL),
    ('extra', 'care', 'quiet_days', 4, 'support_ticket', 'days_since_last', 'count', NULL, '$.priority == "high"', NULL, 20, '0:0 20:100', 1, 'zero', NULL),
    ('extra', 'for_show', 'users', 1, 'login', 'distinct', 'count', 'user_id', NULL, NULL, 7, '0:0 3:60 12:100', 1, 'missing', NULL)
ON CONFLICT DO NOTHING;
INSERT INTO chs.metrics (scorecard, factor, metric, position, event_type, aggregate, filter, window_days, penalty) VALUES
    ('extra', 'care', 'urgent', 5, 'support_ticket', 'count', '$.priority == "urgent"', 40, 7.5),
    ('extra', 'usage', 'tickets', 5, 'support_ticket', 'count', NULL, 3, 0.001) ON CONFLICT DO NOTHING;
INSERT INTO chs.targets (scorecard, factor, metric, segment, target) VALUES
    ('extra', 'care', 'features_a_year', 'startup', 4), ('extra', 'usage', 'days', NULL, 0.7) ON CONFLICT DO NOTHING;
UPDATE chs.scorecards SET is_default = false;
UPDATE chs.scorecards SET is_default = true WHERE scorecard = 'extra';
UPDATE chs.segments SET scorecard = CASE segment WHEN 'smb' THEN 'volume_only' WHEN 'startup' THEN 'extra' ELSE 'default' END;
SET client_min_messages = warning;
SELECT chs_publish('other scorecards') \g /dev/null
-- It waits.  The oracle goes by the draft, so that is what is live, for a while.
CREATE TABLE compare.draft AS SELECT chs_scorecard_export() AS document;
CREATE FUNCTION compare.draft_is_live(yes boolean) RETURNS void LANGUAGE sql AS $$
    SELECT chs_scorecard_import(CASE WHEN yes THEN chs_scorecard_export((SELECT max(version) FROM chs.scorecard_versions WHERE live_at IS NOT NULL))
                                ELSE (SELECT document FROM compare.draft) END)
$$;
SELECT compare.draft_is_live(true) \g /dev/null
SELECT * FROM compare.live('waiting');
SELECT rnd.change() \g /dev/null
SELECT rnd.zone() \g /dev/null
SELECT * FROM compare.live('waiting and changed, unfolded');
SELECT chs_process_queue(40) \g /dev/null
SELECT chs_recalculate(customer_id) FROM chs.customers WHERE customer_id % 4 = 0 \g /dev/null
SELECT * FROM compare.live('waiting and changed, partly counted');
SELECT chs_process_queue() \g /dev/null
SELECT * FROM compare.live('waiting and changed, folded');
SELECT compare.draft_is_live(false) \g /dev/null
SELECT * FROM tap.none('TABLE chs.draft_changes', 'the draft is what waits again');
CALL chs_recalculate_all();
SELECT * FROM compare.live('published and changed, folded');
SELECT * FROM compare.stored('published and changed, folded');
SELECT * FROM compare.past('published and changed, folded', 1, rnd.whole(2, 120));

\echo # random scorecards, with windows longer and shorter than those that activities were kept for
UPDATE chs.segments SET scorecard = 'extra';
SELECT rnd.scorecard('extra') \g /dev/null
SELECT chs_publish('random') \g /dev/null
SELECT rnd.change() \g /dev/null
SELECT chs_process_queue() \g /dev/null
SELECT chs_recalculate(customer_id) FROM chs.customers WHERE customer_id % 4 = 1 \g /dev/null
SELECT rnd.scorecard('extra') \g /dev/null
SELECT chs_publish('another') \g /dev/null
UPDATE compare.draft SET document = chs_scorecard_export();
SELECT compare.draft_is_live(true) \g /dev/null
SELECT rnd.change() \g /dev/null
SELECT * FROM compare.live('another waits, partly counting for the one before');
SELECT * FROM compare.past('another waits', rnd.whole(1, 60));
SELECT chs_recalculate(customer_id) FROM chs.customers WHERE customer_id % 4 > 1 \g /dev/null
SELECT chs_process_queue() \g /dev/null
SELECT * FROM compare.live('another waits, partly counted');
SELECT compare.draft_is_live(false) \g /dev/null
CALL chs_recalculate_all();
SELECT * FROM compare.live('another, recalculated');
SELECT * FROM compare.stored('another, recalculated');

\echo # everyone on volume_only
UPDATE chs.scorecards SET is_default = false;
UPDATE chs.scorecards SET is_default = true WHERE scorecard = 'volume_only';
UPDATE chs.segments SET scorecard = 'volume_only';
SELECT chs_publish('volume_only') \g /dev/null
CALL chs_recalculate_all();
SELECT * FROM compare.live('volume_only');
SELECT * FROM compare.stored('volume_only');
SELECT * FROM compare.past('volume_only', 10);

\echo # rebuilt, and as shipped again
UPDATE chs.scorecards SET is_default = false;
UPDATE chs.scorecards SET is_default = true WHERE scorecard = 'default';
UPDATE chs.segments SET scorecard = 'default';
SELECT chs_publish('as shipped again') \g /dev/null
CALL chs_rebuild();
SELECT * FROM compare.live('rebuilt');
SELECT * FROM compare.stored('rebuilt');
TRUNCATE chs.customer_events;
SELECT * FROM compare.live('truncated, unfolded');
SELECT chs_process_queue() \g /dev/null
SELECT * FROM compare.stored('truncated, folded');
SELECT tap.plan();
