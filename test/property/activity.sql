-- Properties of the activity: what it is does not depend on the way it was made.
--
--     psql -XqAt -v ON_ERROR_STOP=1 -v seed=42 -f test/property/activity.sql
--
-- in a database with the extension.  Prints TAP.  Activities are compared by
-- their text, that is bit for bit.
\if :{?seed}
\else
    \set seed 1
\endif
\setenv PGHOST :HOST
\setenv PGPORT :PORT
\setenv PGUSER :USER
\setenv PGDATABASE :DBNAME
\ir tap.sql
\ir random.sql
SELECT set_config('tap.note', format('seed %s', :'seed'), false), setseed(:seed::bigint % 1000003 / 1000003.0) \g /dev/null
SET jit = off;

DROP SCHEMA IF EXISTS prop CASCADE;
CREATE SCHEMA prop;
CREATE TABLE prop.doc AS SELECT document AS doc FROM chs.scorecard_versions WHERE live_at IS NOT NULL ORDER BY version DESC LIMIT 1;

-- The value of the only metric of a document, as of the day of a moment.
CREATE FUNCTION prop.value(activity chs_activity, doc jsonb, as_of timestamptz) RETURNS double precision LANGUAGE sql AS $$
    SELECT value FROM chs.activity_explain(activity, doc, NULL, 'epoch', as_of) WHERE metric = 'only'
$$;
-- A document with one metric.
CREATE FUNCTION prop.one_metric(metric jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('default', 's', 'segments', '{}'::jsonb, 'scorecards', jsonb_build_object('s', jsonb_build_object(
        'min_coverage', 0, 'healthy_from', 75, 'at_risk_from', 50, 'grace', true, 'trend_days', 7, 'trend_band', 2,
        'factors', jsonb_build_array(jsonb_build_object('factor', 'f', 'weight', 1, 'metrics', jsonb_build_array(
            '{"metric": "only", "event_type": "api_call", "measure": "count", "window_days": 90, "curve": "0:0 1:100", "weight": 1,
              "missing": "missing"}' || metric))))))
$$;

SELECT rnd.nobody() \g /dev/null
INSERT INTO chs.customers (customer_id, segment, created_at) SELECT i, rnd.segment(), rnd.on_day(rnd.whole(0, 200)) FROM generate_series(1, least(:customers, 60)) i;
SELECT rnd.events(1.5) \g /dev/null
CREATE TABLE prop.event AS
    SELECT row_number() OVER () AS id, customer_id, event_type, event_data, occurred_at, rnd.whole(1, 9) AS part FROM rnd.event;
ALTER TABLE prop.event SET (parallel_workers = 3);
ANALYZE prop.event;
SELECT format('# %s events', count(*)) FROM prop.event;

CREATE TABLE prop.whole AS
    SELECT customer_id, chs_activity_agg(doc, event_type, event_data, occurred_at) AS activity
    FROM prop.event, prop.doc GROUP BY 1;
CREATE TABLE prop.part AS
    SELECT customer_id, part, chs_activity_agg(doc, event_type, event_data, occurred_at) AS activity
    FROM prop.event, prop.doc GROUP BY 1, 2;
ANALYZE prop.whole;
ANALYZE prop.part;

-- Test point: the query, of customer_id and activity, gives prop.whole.
CREATE FUNCTION prop.same(query text, name text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT * FROM tap.none(format(
        'SELECT customer_id, left(w.activity::text, 300) AS whole, left(g.activity::text, 300) AS other
         FROM prop.whole w FULL JOIN (%s) g USING (customer_id)
         WHERE (w.activity::text, chs.activity_send(w.activity)) IS DISTINCT FROM (g.activity::text, chs.activity_send(g.activity))', query), name)
$$;

\echo # order, splits and nesting
SELECT * FROM prop.same('SELECT customer_id, chs_activity_agg(doc, event_type, event_data, occurred_at ORDER BY random()) AS activity
    FROM prop.event, prop.doc GROUP BY 1', 'the order of events does not matter');
SELECT * FROM prop.same('SELECT customer_id, chs.activity_merge_agg(activity ORDER BY random()) AS activity FROM prop.part GROUP BY 1',
    'parts merged in any order are the whole');
CREATE FUNCTION prop.nested(parts chs_activity[]) RETURNS chs_activity LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    i integer;
    j integer;
BEGIN
    WHILE cardinality(parts) > 1 LOOP
        i := rnd.whole(1, cardinality(parts));
        j := 1 + (i - 1 + rnd.whole(1, cardinality(parts) - 1)) % cardinality(parts);
        parts[i] := chs_activity_merge(parts[i], parts[j]);
        parts := parts[:j - 1] || parts[j + 1:];
    END LOOP;
    RETURN parts[1];
END
$$;
SELECT * FROM prop.same('SELECT customer_id, prop.nested(array_agg(activity)) AS activity FROM prop.part GROUP BY 1',
    'parts merged in any nesting are the whole');
SELECT * FROM prop.same('SELECT customer_id, prop.nested(array_agg(activity)) AS activity FROM (
        SELECT customer_id, chs_activity_agg(doc, event_type, event_data, occurred_at) AS activity
        FROM (SELECT *, rnd.whole(1, 40) AS scattered FROM prop.event) e, prop.doc GROUP BY customer_id, scattered) p GROUP BY 1',
    'so are many small parts of another split');
CREATE TABLE prop.triple AS
    SELECT a.activity AS a, b.activity AS b, c.activity AS c
    FROM (SELECT activity, row_number() OVER (ORDER BY random()) AS n FROM prop.part) a
    JOIN (SELECT activity, row_number() OVER (ORDER BY random()) AS n FROM prop.part) b USING (n)
    JOIN (SELECT activity, row_number() OVER (ORDER BY random()) AS n FROM prop.part) c USING (n);
SELECT * FROM tap.none('SELECT left(a::text, 300) AS a, left(b::text, 300) AS b FROM prop.triple
    WHERE chs_activity_merge(a, b)::text <> chs_activity_merge(b, a)::text', 'merging is commutative');
SELECT * FROM tap.none('SELECT left(a::text, 300) AS a, left(b::text, 300) AS b, left(c::text, 300) AS c FROM prop.triple
    WHERE chs_activity_merge(chs_activity_merge(a, b), c)::text <> chs_activity_merge(a, chs_activity_merge(b, c))::text', 'merging is associative');
SELECT * FROM prop.same('SELECT customer_id, chs_activity_merge(activity, nothing) AS activity
    FROM prop.whole, (SELECT chs_activity_agg(doc, ''no such type'', ''{}'', now()) AS nothing FROM prop.doc) n',
    'merging with the activity of nothing that counts changes nothing');

\echo # uses of the aggregate
SELECT * FROM prop.same('SELECT customer_id, chs_activity_merge(chs_activity_agg(doc, event_type, event_data, occurred_at) FILTER (WHERE part < 4),
           chs_activity_agg(doc, event_type, event_data, occurred_at) FILTER (WHERE part >= 4)) AS activity
    FROM prop.event, prop.doc GROUP BY 1 HAVING bool_or(part < 4) AND bool_or(part >= 4)
    UNION ALL SELECT w.* FROM prop.whole w WHERE 2 > (SELECT count(DISTINCT part < 4) FROM prop.event e WHERE e.customer_id = w.customer_id)',
    'FILTER');
SELECT * FROM tap.none('WITH twice AS (SELECT * FROM (TABLE prop.event UNION ALL TABLE prop.event) e, prop.doc WHERE customer_id <= ' || greatest(1, least(:customers / 10, 5)) || ')
    SELECT customer_id FROM (SELECT customer_id, chs_activity_agg(DISTINCT doc, event_type, event_data, occurred_at) AS a FROM twice GROUP BY 1) a
    JOIN (SELECT customer_id, chs_activity_agg(doc, event_type, event_data, occurred_at) AS b
          FROM (SELECT DISTINCT customer_id, doc, event_type, event_data, occurred_at FROM twice) t GROUP BY 1) b USING (customer_id)
    WHERE a::text <> b::text', 'DISTINCT');
SELECT * FROM prop.same('SELECT DISTINCT ON (customer_id) customer_id, activity
    FROM (SELECT customer_id, row_number() OVER w AS n, chs_activity_agg(doc, event_type, event_data, occurred_at) OVER w AS activity
          FROM prop.event e, prop.doc WINDOW w AS (PARTITION BY customer_id ORDER BY id ROWS UNBOUNDED PRECEDING)) r
    ORDER BY customer_id, n DESC', 'a running window ends with the whole');
CREATE TABLE prop.moving AS
    SELECT customer_id, row_number() OVER w AS n, chs_activity_agg(doc, event_type, event_data, occurred_at) OVER w AS activity,
           array_agg(id) OVER w AS ids
    FROM (SELECT * FROM prop.event WHERE customer_id <= 40 ORDER BY random() LIMIT 400) e, prop.doc
    WINDOW w AS (PARTITION BY customer_id ORDER BY occurred_at ROWS BETWEEN 5 PRECEDING AND CURRENT ROW);
SELECT * FROM tap.none('SELECT m.customer_id, m.n FROM prop.moving m, LATERAL (
        SELECT chs_activity_agg(doc, event_type, event_data, occurred_at) AS activity FROM prop.event, prop.doc WHERE id = ANY (m.ids)) f
    WHERE m.activity::text <> f.activity::text', 'each row of a moving window has the activity of its frame');
SELECT * FROM tap.none('SELECT * FROM (SELECT chs_activity_agg(doc, event_type, event_data, occurred_at) AS a FROM prop.event, prop.doc WHERE false) z
    WHERE a IS NOT NULL', 'no rows are NULL, as for any aggregate');
SELECT * FROM tap.none('SELECT * FROM (SELECT chs.activity_merge_agg(a) AS a, chs.activity_merge_agg(a) FILTER (WHERE false) AS b
                                       FROM (VALUES (NULL::chs_activity), (NULL)) v(a)) z
    WHERE a IS NOT NULL OR b IS NOT NULL', 'merging nothing but NULL is NULL');
SELECT * FROM prop.same('SELECT customer_id, chs_activity_agg(d, t, j, o) AS activity FROM (
        SELECT customer_id, doc AS d, event_type AS t, event_data AS j, occurred_at AS o FROM prop.event, prop.doc
        UNION ALL SELECT customer_id, CASE WHEN n <> 1 THEN doc END, CASE WHEN n <> 2 THEN event_type END, CASE WHEN n <> 3 THEN event_data END,
                         CASE WHEN n <> 4 THEN occurred_at END FROM prop.event, prop.doc, generate_series(1, 4) n) e GROUP BY 1',
    'rows with a NULL argument are passed over');
SELECT * FROM prop.same('SELECT customer_id, chs.activity_merge_agg(activity) AS activity FROM (
        SELECT customer_id, activity FROM prop.part UNION ALL SELECT customer_id, NULL FROM prop.part) p GROUP BY 1', 'NULL activities are passed over');
SELECT * FROM tap.none('SELECT 1 FROM prop.whole WHERE chs_activity_merge(activity, NULL) IS NOT NULL OR chs_activity_merge(NULL, activity) IS NOT NULL',
    'chs_activity_merge is strict');

\echo # parallel plans
SELECT CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'debug_parallel_query' ELSE 'force_parallel_mode' END AS force \gset
SET :force = on;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 4;
CREATE FUNCTION prop.parallel(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    line text;
    plan text := '';
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (VERBOSE, COSTS OFF) ' || query LOOP
        plan := plan || line || E'\n';
    END LOOP;
    RETURN QUERY SELECT * FROM tap.ok(plan ~ 'Partial' AND plan ~ 'Gather', 'the plan is parallel: ' || left(query, 90), plan);
    RETURN QUERY SELECT * FROM prop.same(query, 'it gives the same');
END
$$;
SELECT * FROM prop.parallel('SELECT customer_id, chs_activity_agg((TABLE prop.doc), event_type, event_data, occurred_at) AS activity FROM prop.event GROUP BY 1');
SET enable_hashagg = off;
SET parallel_leader_participation = off;
SELECT * FROM prop.parallel('SELECT customer_id, chs_activity_agg((TABLE prop.doc), event_type, event_data, occurred_at) AS activity FROM prop.event GROUP BY 1');
ALTER TABLE prop.part SET (parallel_workers = 3);
SELECT * FROM prop.parallel('SELECT customer_id, chs.activity_merge_agg(activity) AS activity FROM prop.part GROUP BY 1');
RESET ALL;
SELECT set_config('tap.note', format('seed %s', :'seed'), false) \g /dev/null
SET jit = off;

\echo # input, output, storage
SELECT * FROM prop.same('SELECT customer_id, activity::text::chs_activity AS activity FROM prop.whole', 'text round trip');
CREATE TABLE prop.copied (customer_id bigint, activity chs_activity);
\! psql -Xqc "COPY prop.whole TO STDOUT (FORMAT binary)" | psql -Xqc "COPY prop.copied FROM STDIN (FORMAT binary)"
SELECT * FROM prop.same('TABLE prop.copied', 'COPY BINARY round trip');
TRUNCATE prop.copied;
\! psql -Xqc "COPY prop.whole TO STDOUT" | psql -Xqc "COPY prop.copied FROM STDIN"
SELECT * FROM prop.same('TABLE prop.copied', 'COPY text round trip');
CREATE FUNCTION prop.stored() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    how text;
BEGIN
    FOREACH how IN ARRAY '{plain,main,external,extended}'::text[] LOOP
        TRUNCATE prop.copied;
        EXECUTE format('ALTER TABLE prop.copied ALTER activity SET STORAGE %s', how);
        -- plain values must fit into a page
        INSERT INTO prop.copied SELECT * FROM prop.whole WHERE how <> 'plain' OR length(chs.activity_send(activity)) < 7000;
        RETURN QUERY SELECT * FROM prop.same(format(
            'SELECT customer_id, chs.activity_merge_agg(activity) AS activity FROM prop.copied GROUP BY 1
             UNION ALL SELECT * FROM prop.whole WHERE customer_id NOT IN (SELECT customer_id FROM prop.copied)', how), 'storage ' || how);
        RETURN QUERY SELECT * FROM tap.none('SELECT * FROM prop.copied c JOIN prop.whole w USING (customer_id)
            WHERE c.activity::text <> w.activity::text', 'the aggregate leaves the stored values alone, storage ' || how);
    END LOOP;
END
$$;
SELECT * FROM prop.stored();

\echo # pruning
CREATE TABLE prop.pruned AS
    SELECT w.customer_id, w.activity, d.early, d.late, c.segment, c.created_at, doc,
           chs.activity_prune(w.activity, doc, d.early) AS pruned_early, chs.activity_prune(w.activity, doc, d.late) AS pruned_late
    FROM (SELECT customer_id, rnd.on_day(late + gap) AS early, rnd.on_day(late) AS late
          FROM (SELECT customer_id, rnd.whole(-10, 140) AS late, rnd.whole(0, 60) AS gap FROM chs.customers) g) d
    JOIN chs.customers c USING (customer_id) JOIN prop.whole w USING (customer_id), prop.doc;
SELECT * FROM tap.none('SELECT customer_id FROM prop.pruned WHERE chs.activity_prune(pruned_early, doc, early)::text <> pruned_early::text', 'pruning twice is pruning once');
SELECT * FROM tap.none('SELECT customer_id FROM prop.pruned WHERE chs.activity_prune(pruned_early, doc, late)::text <> pruned_late::text', 'pruning later takes what was left');
SELECT * FROM tap.none('SELECT customer_id FROM prop.pruned WHERE chs.activity_prune(pruned_late, doc, early)::text <> pruned_late::text', 'pruning earlier brings nothing back');
SELECT * FROM tap.none('SELECT p.customer_id FROM prop.pruned p JOIN prop.whole w USING (customer_id), LATERAL (
        SELECT chs.activity_prune(chs.activity_merge_agg(CASE WHEN part % 2 = 0 THEN chs.activity_prune(q.activity, doc, early) ELSE q.activity END), doc, late) AS merged
        FROM prop.part q WHERE q.customer_id = p.customer_id) m
    WHERE m.merged::text <> p.pruned_late::text', 'parts pruned, merged and pruned are the whole pruned');
SELECT * FROM tap.none('SELECT customer_id, c.* FROM prop.pruned, LATERAL (
        SELECT * FROM chs.activity_cells(pruned_late) EXCEPT ALL SELECT * FROM chs.activity_cells(activity)) c', 'pruning adds no cells');
SELECT * FROM tap.none('SELECT customer_id, c.* FROM prop.pruned, LATERAL (
        SELECT * FROM chs.activity_cells(activity) EXCEPT ALL SELECT * FROM chs.activity_cells(pruned_late)) c
    WHERE day > (late AT TIME ZONE ''UTC'')::date - (SELECT min(window_days) FROM chs.metrics)', 'pruning keeps at least the shortest window');
SELECT * FROM tap.none('SELECT customer_id, c.* FROM prop.pruned, LATERAL chs.activity_cells(pruned_late) c
    WHERE day <= (late AT TIME ZONE ''UTC'')::date - (
        SELECT max(1 + trend_days + CASE aggregate WHEN ''growth'' THEN 2 WHEN ''of_usual'' THEN 7 ELSE 1 END * window_days) FROM chs.metrics JOIN chs.scorecards USING (scorecard))', 'pruning keeps nothing older than the longest window and the trend, which is that of the day before');
SELECT * FROM tap.none('SELECT customer_id, n, a, b FROM prop.pruned,
        LATERAL (SELECT n FROM unnest(''{0,1,6,7,8,22,23,24,29,30,31,82,83,84,89,90,97}''::integer[]) n) n,
        LATERAL (SELECT late + n * interval ''24 hours'' AS day) d,
        LATERAL (SELECT chs_activity_score(activity, doc, segment, created_at, day)::text || jsonb_agg(e) AS a
                 FROM chs.activity_explain(activity, doc, segment, created_at, day) e) x,
        LATERAL (SELECT chs_activity_score(pruned_late, doc, segment, created_at, day)::text || jsonb_agg(e) AS b
                 FROM chs.activity_explain(pruned_late, doc, segment, created_at, day) e) y
    WHERE a <> b', 'pruning changes no score and no explanation from its day on');
SELECT * FROM tap.none('SELECT customer_id FROM prop.pruned JOIN prop.whole USING (customer_id) WHERE pruned_late IS NULL', 'pruning all leaves an activity');

\echo # distinct values of a day
SELECT prop.one_metric('{"aggregate": "distinct", "field": "x"}') AS distinct_x, prop.one_metric('{"aggregate": "sum", "field": "x"}') AS sum_x \gset
CREATE TABLE prop.many AS           -- each of n values twice, on any of so many days
    SELECT s.n, s.days, random() < 0.5 AS first, rnd.on_day(rnd.whole(1, s.days)) AS at, jsonb_build_object('x',
               CASE s.n % 3 WHEN 0 THEN to_jsonb(v) WHEN 1 THEN to_jsonb(md5(v::text)) ELSE jsonb_build_array(v) END) AS data
    FROM (SELECT *, rnd.whole(1, 1000000) AS base
          FROM (VALUES (1, 1), (2, 3), (255, 1), (256, 1), (256, 5), (257, 1), (300, 1), (1000, 1), (1000, 30), (least(20000, :customers * 200), 1), (least(20000, :customers * 200), 7)) s(n, days)) s,
         generate_series(base + 1, base + s.n) v, generate_series(1, 2);
CREATE TABLE prop.counted AS
    SELECT m.*, per_day, e.value, (e.details ->> 'estimated')::boolean AS estimated
    FROM (SELECT n, days, chs_activity_agg(:'distinct_x', 'api_call', data, at) AS activity,
                 chs_activity_merge(chs_activity_agg(:'distinct_x', 'api_call', data, at ORDER BY random()) FILTER (WHERE first),
                                    chs_activity_agg(:'distinct_x', 'api_call', data, at ORDER BY random()) FILTER (WHERE NOT first)) AS merged
          FROM prop.many GROUP BY 1, 2 HAVING bool_or(first) AND NOT bool_and(first)) m    -- one value may be on one side
    JOIN (SELECT n, days, max(v) AS per_day FROM (SELECT n, days, count(DISTINCT data) AS v FROM prop.many
          GROUP BY n, days, (at AT TIME ZONE 'UTC')::date) d GROUP BY 1, 2) d USING (n, days),
    LATERAL chs.activity_explain(activity, :'distinct_x', NULL, 'epoch', now()) e WHERE e.metric = 'only';
SELECT * FROM tap.none('SELECT n, days, per_day, value FROM prop.counted WHERE per_day <= 256 AND (value <> n OR estimated)', 'up to 256 values a day are counted exactly');
SELECT * FROM tap.none('SELECT n, days, per_day, value FROM prop.counted
    WHERE per_day > 256 AND (estimated IS NOT TRUE OR abs(value - n) > 0.35 * n)', 'more are estimated, and said to be');
SELECT * FROM tap.none('SELECT n, days FROM prop.counted WHERE activity::text <> merged::text', 'both are the same, whatever the order and split');
SELECT * FROM tap.none('SELECT m.n, days, c.day, count(*) FROM prop.counted m, LATERAL chs.activity_cells(activity) c
    GROUP BY 1, 2, 3 HAVING count(*) > 257', 'a day never holds more than 257 values');
SELECT * FROM tap.none(format('SELECT * FROM (VALUES (''1'', ''1.0'', 1), (''1'', ''1e0'', 1), (''1'', ''"1"'', 2), (''true'', ''"true"'', 2), (''0'', ''-0'', 1),
        (''{"a": 1, "b": 2}'', ''{"b": 2, "a": 1.00}'', 1), (''[1, 2]'', ''[2, 1]'', 2), (''""'', ''"\u0020"'', 2), (''[]'', ''{}'', 2), (''[1]'', ''1'', 2),
        (''[1]'', ''[[1]]'', 2), (''[[1], 2]'', ''[[1, 2]]'', 2), (''{"a": [1]}'', ''{"a": 1}'', 2), (''{"a": {"b": 1}}'', ''{"a": ["b", 1]}'', 2), (''["a", "b"]'', ''{"a": "b"}'', 2),
        (''null'', ''1'', 1), (''[null]'', ''1'', 2), (''100'', ''1e2'', 1), (''0.10'', ''0.1'', 1)) v(a, b, n),
        LATERAL (SELECT prop.value(chs_activity_agg(%1$L, ''api_call'', jsonb_build_object(''x'', x::jsonb), now()), %1$L, now()) AS value FROM unnest(ARRAY[a, b]) x) c
    WHERE value <> n', :'distinct_x'), 'values are the same where jsonb says so');

\echo # sums
CREATE TABLE prop.number AS
    SELECT rnd.whole(1, 40) AS s, random() < 0.5 AS first, rnd.on_day(rnd.whole(1, 3)) AS at,
           CASE rnd.whole(1, 4) WHEN 1 THEN rnd.whole(-1000, 1000)::numeric
                                WHEN 2 THEN (random()::numeric - 0.5) * 10::numeric ^ rnd.whole(-10, 27)
                                WHEN 3 THEN (rnd.whole(-9, 9) || 'e' || rnd.whole(-40, 40))::numeric
                                ELSE (rnd.whole(-1000, 1000) + 0.5) / 1000000 END AS x
    FROM generate_series(1, least(:customers * 40, 4000));
INSERT INTO prop.number SELECT 41 + n, n % 2 = 0, now(), x FROM unnest('{0.0000005,-0.0000005,0.00000049999,999999999999999999999999,1e24,-1e24,
    999999999999999999999999.9999994,0.1,1e-100,1e1000}'::numeric[]) WITH ORDINALITY v(x, n);
CREATE TABLE prop.summed AS
    SELECT s, chs_activity_agg(:'sum_x', 'api_call', jsonb_build_object('x', x), at) AS activity,
           chs.activity_merge_agg(one) AS merged,
           sum(round(x, 6)) FILTER (WHERE abs(x) < 1e24) AS total, count(*) FILTER (WHERE abs(x) < 1e24) AS n
    FROM (SELECT *, (SELECT chs_activity_agg(:'sum_x', 'api_call', v.data, v.at) FROM (VALUES (jsonb_build_object('x', x), at)) v(data, at)) AS one
          FROM prop.number) n GROUP BY 1;
SELECT * FROM tap.none('SELECT s, total, n, c.* FROM prop.summed LEFT JOIN LATERAL (
        SELECT sum(c.total) AS cells_total, sum(c.n) AS cells_n FROM chs.activity_cells(activity) c) c ON true
    WHERE (coalesce(cells_total, 0), coalesce(cells_n, 0)) IS DISTINCT FROM (coalesce(total, 0), n)', 'sums of millionths are exact');
SELECT * FROM tap.none(format('SELECT s, total, value FROM prop.summed, LATERAL (SELECT prop.value(activity, %L, now()) AS value) v
    WHERE n > 0 AND (value IS NULL OR abs(value - total::double precision) > 4e-16 * abs(total::double precision)) OR n = 0 AND value IS NOT NULL', :'sum_x'),
    'and read as the nearest doubles');
SELECT * FROM tap.none('SELECT s FROM prop.summed WHERE activity::text <> merged::text', 'and the same whatever the order');

\echo # incremental is rebuilt
CREATE FUNCTION prop.same_rebuilt(label text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    -- What is queued and what is stored together are the activity of all events.
    RETURN QUERY SELECT * FROM tap.none($q$
        SELECT customer_id, left(g.merged::text, 300) AS merged, left(r.activity::text, 300) AS from_events
        FROM (SELECT customer_id, chs.activity_prune(chs.activity_merge_agg(activity), (TABLE prop.doc), now()) AS merged
              FROM (SELECT customer_id, activity FROM chs.activity UNION ALL SELECT customer_id, delta FROM chs.queue) a
              WHERE customer_id NOT IN (SELECT customer_id FROM chs.queue WHERE rebuild) GROUP BY 1) g
        JOIN (SELECT customer_id, chs.activity_prune(chs_activity_agg(doc, event_type, event_data, occurred_at), doc, now()) AS activity
              FROM chs.customer_events, prop.doc GROUP BY customer_id, doc) r USING (customer_id)
        WHERE g.merged::text IS DISTINCT FROM r.activity::text$q$, label || ': stored and queued are all events');
    PERFORM chs_process_queue();
    CREATE TEMP TABLE before AS SELECT customer_id, activity::text FROM chs.activity;
    CALL chs_rebuild();
    RETURN QUERY SELECT * FROM tap.none('SELECT customer_id, left(b.activity, 300) AS incremental, left(a.activity::text, 300) AS rebuilt
        FROM before b FULL JOIN chs.activity a USING (customer_id) WHERE b.activity IS DISTINCT FROM a.activity::text', label || ': incremental is rebuilt');
    DROP TABLE before;
END
$$;
DO $$
BEGIN
    FOR n IN 1..9 LOOP
        INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
        SELECT customer_id, event_type, event_data, occurred_at FROM prop.event WHERE part = n;
        IF n IN (2, 3, 6) THEN
            PERFORM chs_process_queue(CASE n WHEN 2 THEN 17 END);
        END IF;
    END LOOP;
END
$$;
SELECT * FROM prop.same_rebuilt('in parts');
SELECT rnd.change() \g /dev/null
SELECT * FROM prop.same_rebuilt('after changes');
SELECT tap.plan();
