-- What the views say, compared with plain SQL over the tables and with made-up
-- histories; and that lists page without reading everything.

\ir begin.psql
SET LOCAL timezone = 'America/New_York';
SELECT (now() AT TIME ZONE 'UTC')::date AS today \gset

-- An index by parts of names, where there is the extension for it.  Here, for it is not used in a transaction that has
-- updated rows before it was made.
SELECT count(*) > 0 AS has_trgm FROM pg_available_extensions WHERE name = 'pg_trgm' \gset
\if :has_trgm
CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA public;
CREATE INDEX by_part_of_name ON chs.customers USING gin (name public.gin_trgm_ops);
\endif

-- Counts -----------------------------------------------------------------------

CREATE FUNCTION pg_temp.agree(what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM public.chs_process_queue();
    RETURN NEXT results_eq('SELECT total, healthy, at_risk, critical, unknown, average_score::numeric FROM chs.dashboard_stats',
        $q$SELECT count(*), count(*) FILTER (WHERE status = 'healthy'), count(*) FILTER (WHERE status = 'at_risk'),
                  count(*) FILTER (WHERE status = 'critical'), count(*) FILTER (WHERE status = 'unknown'), round(avg(score::numeric), 2)
           FROM chs.customer_health WHERE active$q$, 'dashboard_stats ' || what);
    RETURN NEXT results_eq('SELECT segment, total, healthy, at_risk, critical, unknown, average_score::numeric, healthy_percent::numeric FROM chs.segment_stats ORDER BY 1',
        $q$SELECT s.segment, count(h), count(*) FILTER (WHERE status = 'healthy'), count(*) FILTER (WHERE status = 'at_risk'),
                  count(*) FILTER (WHERE status = 'critical'), count(*) FILTER (WHERE status = 'unknown'), round(avg(score::numeric), 2),
                  round(100.0 * count(*) FILTER (WHERE status = 'healthy') / nullif(count(h), 0), 1)
           FROM (SELECT segment FROM chs.segments UNION SELECT c.segment FROM chs.customers c JOIN chs.customer_health h USING (customer_id) WHERE h.active) s
           LEFT JOIN (SELECT c.segment, h, h.score, h.status FROM chs.customers c JOIN chs.customer_health h USING (customer_id) WHERE h.active) c
               ON c.segment IS NOT DISTINCT FROM s.segment
           GROUP BY s.segment ORDER BY s.segment$q$, 'segment_stats ' || what);
    RETURN NEXT results_eq('SELECT score_from, customers FROM chs.score_distribution WHERE customers <> 0 ORDER BY 1',
        $q$SELECT CASE WHEN score = 100 THEN 95 ELSE 5 * floor(score / 5) END AS score_from, count(*) FROM chs.customer_health WHERE active AND score >= 0 GROUP BY 1 ORDER BY 1$q$,
        'score_distribution ' || what);
    RETURN NEXT is_empty('SELECT * FROM chs_verify()', 'chs_verify ' || what);
END $$;

SELECT is((SELECT total FROM chs.dashboard_stats), 0::bigint, 'without customers nothing is counted');
SELECT is((SELECT average_score FROM chs.dashboard_stats), NULL, 'and there is no average');
SELECT is((SELECT count(*) FROM chs.segment_stats), 3::bigint, 'the segments are there all the same');

INSERT INTO chs.customers (customer_id, external_id, name, segment, created_at)
SELECT i, 'x' || i, 'c' || i, (ARRAY['smb', 'enterprise', 'startup', NULL])[1 + i % 4], '2020-01-01' FROM generate_series(1, 3000) i;
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT 1 + (i * 7919) % 2900, t.type, '{"endpoint": "/", "ip_address": "::1", "amount": 5, "feature_name": "f"}', now() - i % 50 * interval '1 day'
FROM generate_series(1, 4000) i, LATERAL (SELECT (ARRAY['api_call', 'login', 'payment', 'feature_use', 'support_ticket'])[1 + i % 5] AS type) t;
-- A healthy one.
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
SELECT 2999, t, jsonb_build_object('endpoint', i, 'ip_address', '::1', 'amount', 5, 'feature_name', i, 'user_id', i, 'session_duration', 900, 'tier', 'advanced')
FROM generate_series(1, 1000) i, unnest('{api_call,login,payment,feature_use}'::text[]) t WHERE t = 'api_call' OR i <= 25;
SELECT pg_temp.agree('at first');
UPDATE chs.customers SET segment = 'smb' WHERE customer_id BETWEEN 100 AND 150;
SELECT pg_temp.agree('when customers change their segment');
DELETE FROM chs.customers WHERE customer_id BETWEEN 151 AND 160;
SELECT pg_temp.agree('when customers are deleted');
UPDATE chs.customers SET churned_at = now() - interval '5 days' WHERE customer_id BETWEEN 161 AND 170;
SELECT pg_temp.agree('when customers churn');
UPDATE chs.customers SET churned_at = NULL WHERE customer_id BETWEEN 161 AND 165;
SELECT pg_temp.agree('and come back');
SELECT pg_sleep(1.1) \g /dev/null
UPDATE chs.customers SET created_at = created_at + interval '1 day' WHERE customer_id = 170;
SELECT pg_temp.agree('when only one who has churned is scored');
SELECT cmp_ok((SELECT last_updated FROM chs.dashboard_stats), '>=', (SELECT max(calculated_at) FROM chs.customer_health) - interval '1 second', 'last_updated tells of that, too');
UPDATE chs.segments SET segment = 'small' WHERE segment = 'smb';
SELECT pg_temp.agree('when a segment gets another name');
UPDATE chs.customer_health SET score = 99, status = 'healthy' WHERE customer_id = 7;
SELECT is((SELECT healthy FROM chs.dashboard_stats), (SELECT count(*) FROM chs.customer_health WHERE active AND status = 'healthy'), 'a change by hand counts');
SELECT chs_recalculate(7) \g /dev/null
-- More segments than are counted at once, and more rows than are left unsummed.
INSERT INTO chs.segments (segment) SELECT 'segment ' || i FROM generate_series(1, 70) i;
UPDATE chs.customers SET segment = 'segment ' || 1 + customer_id % 70 WHERE customer_id BETWEEN 200 AND 1000;
SELECT pg_temp.agree('with many segments');
UPDATE chs.customers SET created_at = created_at + interval '1 day' WHERE customer_id BETWEEN 200 AND 1000;
SELECT pg_temp.agree('and again');
SELECT is((SELECT count(DISTINCT calculated_at) FROM chs.customer_health WHERE customer_id BETWEEN 200 AND 1000), 1::bigint, 'a batch has one time');
DO $$ BEGIN FOR i IN 1 .. 60 LOOP
    UPDATE chs.customers SET churned_at = CASE WHEN i % 2 = 0 THEN now() END WHERE customer_id = 1001 + i % 5;
    PERFORM public.chs_process_queue();
END LOOP; END $$;
SELECT pg_temp.agree('after many batches');
SELECT cmp_ok((SELECT count(*) FROM chs.health_counts), '<', 300::bigint, 'the rows are summed up now and then');

SELECT is((SELECT count(*) FROM chs.score_distribution), 20::bigint, 'score_distribution has rows also where nobody is');
SELECT is((SELECT score_to FROM chs.score_distribution ORDER BY score_to DESC LIMIT 1), 100::double precision, 'up to 100');

-- Lists ------------------------------------------------------------------------

SELECT results_eq('SELECT customer_id, score, status, trend FROM chs.customer_list ORDER BY 1',
    'SELECT customer_id, score, COALESCE(status, ''unknown''), trend FROM chs.customers LEFT JOIN chs.customer_health USING (customer_id) ORDER BY 1', 'customer_list has everyone');
INSERT INTO chs.customers (customer_id, name) VALUES (5000, 'new');
SELECT results_eq('SELECT status, score FROM chs.customer_list WHERE customer_id = 5000', $$VALUES ('unknown', NULL::double precision)$$, 'also who has no score yet');
DELETE FROM chs.customers WHERE customer_id = 5000;
SELECT results_eq('SELECT customer_id, score FROM chs.at_risk_customers ORDER BY score, customer_id',
    $$SELECT customer_id, score FROM chs.customer_health WHERE active AND status IN ('at_risk', 'critical') ORDER BY 2, 1$$, 'at_risk_customers has all that are');
SELECT is_empty($$SELECT customer_id FROM chs.at_risk_customers a WHERE weakest_factor IS DISTINCT FROM
    (SELECT factor_name FROM chs.factor_breakdown b WHERE b.customer_id = a.customer_id AND b.score IS NOT NULL ORDER BY effective_weight * (100 - b.score) DESC, position LIMIT 1)$$,
    'with the factor that costs most');
SELECT results_eq('SELECT customer_id, external_id, name, segment, score, status, trend, coverage, active, as_of FROM chs.scored_customers ORDER BY 1',
    'SELECT customer_id, c.external_id, c.name, c.segment, h.score, h.status, h.trend, h.coverage, h.active, h.as_of FROM chs.customers c JOIN chs.customer_health h USING (customer_id) ORDER BY 1',
    'scored_customers has everyone with health');
SELECT is_empty($$SELECT customer_id FROM chs.scored_customers s WHERE weakest_factor IS DISTINCT FROM
    (SELECT factor_name FROM chs.factor_breakdown b WHERE b.customer_id = s.customer_id AND b.score IS NOT NULL ORDER BY effective_weight * (100 - b.score) DESC, position LIMIT 1)$$,
    'with the factor that costs most, too');
SELECT results_eq('SELECT customer_id, event_type, day, events FROM chs.daily_activity WHERE customer_id IN (1, 2, 2999) ORDER BY 1, 2, 3',
    $$SELECT customer_id, event_type, (occurred_at AT TIME ZONE 'UTC')::date, count(*) FROM chs.customer_events
      WHERE customer_id IN (1, 2, 2999) AND (occurred_at AT TIME ZONE 'UTC')::date > (now() AT TIME ZONE 'UTC')::date - 90 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3$$, 'daily_activity counts events');
SELECT results_eq('SELECT day, events FROM chs_daily_activity(1, 10) ORDER BY event_type, day',
    $$SELECT (occurred_at AT TIME ZONE 'UTC')::date, count(*) FROM chs.customer_events
      WHERE customer_id = 1 AND (occurred_at AT TIME ZONE 'UTC')::date > (now() AT TIME ZONE 'UTC')::date - 10 GROUP BY event_type, 1 ORDER BY event_type, 1$$, 'of the days that are asked for');

-- Who looks after customers, and what they are worth: also of those who have no score yet, but not of those who have left.
UPDATE chs.customers SET owner = CASE WHEN customer_id % 1000 = 7 THEN 'chs_tap_rare' WHEN customer_id % 3 > 0 THEN 'chs_tap_often' END, value = CASE WHEN customer_id % 5 > 0 THEN customer_id + 0.25 END;
INSERT INTO chs.customers (customer_id, value, churned_at) VALUES (5000, 1e6, NULL), (5001, 5, now() - interval '3 days');
SELECT results_eq('SELECT segment, status, customers, value, without_value FROM chs.value_stats ORDER BY 1, 2', $$
    SELECT segment, status, count(*), coalesce(sum(value), 0), count(*) - count(value) FROM chs.customer_list
    WHERE customer_id < 5000 AND (SELECT active FROM chs.customer_health h WHERE h.customer_id = customer_list.customer_id) OR customer_id = 5000 GROUP BY 1, 2 ORDER BY 1, 2$$, 'value_stats adds up values');
SELECT is((SELECT sum(customers)::bigint FROM chs.value_stats), (SELECT total + 1 FROM chs.dashboard_stats), 'of everybody who counts');
SELECT results_eq($$SELECT sum(value) FROM chs.at_risk_customers WHERE segment = 'startup'$$, $$SELECT sum(value) FROM chs.value_stats WHERE segment = 'startup' AND status IN ('at_risk', 'critical')$$, 'so much is at risk');
SELECT throws_ok($$UPDATE chs.customers SET value = 'NaN' WHERE customer_id = 5000$$, '23514', NULL, 'a value is a number');
SELECT throws_ok($$UPDATE chs.customers SET value = -1e15 WHERE customer_id = 5000$$, '23514', NULL, 'of a magnitude that anybody can add up');
DELETE FROM chs.customers WHERE customer_id >= 5000;

-- How a page is read: without reading and sorting everything.
ANALYZE chs.customers, chs.customer_health, chs.health_scores;
CREATE FUNCTION pg_temp.plan(query text) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT JSON) ' || query INTO plan;
    RETURN plan -> 0 -> 'Plan';
END $$;
CREATE FUNCTION pg_temp.pages_well(query text, what text, blocks bigint DEFAULT 600) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    plan json := pg_temp.plan(query);
BEGIN
    RETURN NEXT cmp_ok((plan ->> 'Shared Hit Blocks')::bigint + (plan ->> 'Shared Read Blocks')::bigint, '<', blocks, what || ' reads few blocks');
    -- nor are all customers hashed who may be seen
    RETURN NEXT ok(plan::text !~ 'hashed SubPlan|"Seq Scan",\s+"Parent Relationship": "[A-Za-z]+",\s+"Parallel Aware": (true|false),\s+"Async Capable": (true|false),\s+"Relation Name": "(customers|customer_health)"[^}]*"Actual Loops": [1-9]',
                   what || ' goes by indexes');
END $$;
-- Values that many have, few, and nobody.
CREATE TEMP TABLE filters (list, filter) AS VALUES
    ('scored_customers', $$status = 'critical'$$), ('scored_customers', $$status = 'healthy'$$), ('scored_customers', $$status = 'unknown'$$),
    ('scored_customers', $$status = 'healthy' AND trend = 'improving'$$), ('scored_customers', $$status = 'unknown' AND trend = 'none'$$),
    ('customer_list', $$segment = 'startup'$$), ('customer_list', $$segment = 'segment 1'$$), ('customer_list', $$segment = 'none'$$),
    ('customer_list', $$owner = 'chs_tap_often'$$), ('customer_list', $$owner = 'chs_tap_rare'$$), ('customer_list', $$owner = 'nobody'$$);
GRANT SELECT ON filters TO PUBLIC;
CREATE ROLE chs_tap_reader;
SELECT chs_grant('chs_tap_reader', 'read') \g /dev/null
GRANT USAGE ON SCHEMA tap TO PUBLIC;
SELECT pg_temp.pages_well('SELECT * FROM chs.customer_list WHERE customer_id > 1500 ORDER BY customer_id LIMIT 50', 'a page by customer_id');
SELECT pg_temp.pages_well('SELECT * FROM chs.customer_list ORDER BY name, customer_id LIMIT 50', 'a page by name');
SELECT pg_temp.pages_well('SELECT * FROM chs.customer_list WHERE (name, customer_id) < (''c2'', 5) ORDER BY name DESC, customer_id DESC LIMIT 50', 'a page by name, backward');
SELECT pg_temp.pages_well('SELECT * FROM chs.customer_list WHERE customer_id < 1500 ORDER BY customer_id DESC LIMIT 50', 'a page by customer_id, backward');
SELECT pg_temp.pages_well('SELECT * FROM chs.at_risk_customers WHERE (score, customer_id) < (30, 1500) ORDER BY score DESC, customer_id DESC LIMIT 50', 'a page by score, backward');
SELECT pg_temp.pages_well('SELECT * FROM chs.at_risk_customers WHERE owner = ''chs_tap_rare'' ORDER BY score, customer_id LIMIT 50', 'the lowest scores of an owner');
SELECT pg_temp.pages_well('SELECT * FROM chs.' || list || ' WHERE ' || filter || ' AND customer_id > 1500 ORDER BY customer_id LIMIT 50', 'a page of ' || list || ' where ' || filter)
FROM filters;
SELECT pg_temp.pages_well('SELECT * FROM chs.at_risk_customers ORDER BY score, customer_id LIMIT 50', 'the lowest scores');
SELECT pg_temp.pages_well('SELECT * FROM chs.at_risk_customers WHERE (score, customer_id) > (30, 1500) ORDER BY score, customer_id LIMIT 50', 'a page by score');
SELECT pg_temp.pages_well('SELECT * FROM chs.daily_scores WHERE customer_id = 1500', 'the scores of a customer');
SELECT pg_temp.pages_well('SELECT * FROM chs.status_changes WHERE customer_id = 1500', 'the changes of a customer');
SELECT pg_temp.pages_well('SELECT * FROM chs.health_trend WHERE customer_id = 1500', 'the trend of a customer');
SELECT pg_temp.pages_well('SELECT * FROM chs.dashboard_stats', 'dashboard_stats');
SELECT pg_temp.pages_well('SELECT * FROM chs.segment_stats', 'segment_stats');
SET LOCAL ROLE chs_tap_reader;
SELECT pg_temp.pages_well('SELECT * FROM chs.customer_list WHERE customer_id > 1500 ORDER BY customer_id LIMIT 50', 'a reader''s page by customer_id');
SELECT pg_temp.pages_well('SELECT * FROM chs.customer_list ORDER BY name, customer_id LIMIT 50', 'a reader''s page by name');
SELECT pg_temp.pages_well('SELECT * FROM chs.' || list || ' WHERE ' || filter || ' AND customer_id > 1500 ORDER BY customer_id LIMIT 50', 'a reader''s page of ' || list || ' where ' || filter)
FROM filters;
SELECT pg_temp.pages_well('SELECT * FROM chs.at_risk_customers ORDER BY score, customer_id LIMIT 50', 'a reader''s lowest scores');
SELECT pg_temp.plan('SELECT FROM chs_status_changes(pg_current_snapshot())') \g /dev/null
SELECT cmp_ok((p ->> 'Shared Hit Blocks')::bigint + (p ->> 'Shared Read Blocks')::bigint, '<', 20::bigint, 'a reader''s latest changes read nothing else')
FROM pg_temp.plan('SELECT FROM chs_status_changes(pg_current_snapshot())') p;
SELECT pg_temp.pages_well('SELECT * FROM chs.dashboard_stats', 'a reader''s dashboard_stats');
SELECT pg_temp.pages_well('SELECT * FROM chs.segment_stats', 'a reader''s segment_stats');
RESET ROLE;
-- Whom row-level security limits to few customers, or to many.
ALTER TABLE chs.customers ENABLE ROW LEVEL SECURITY;
CREATE ROLE chs_tap_rare;
CREATE ROLE chs_tap_often;
CREATE ROLE chs_tap_small;
SELECT chs_grant(r, 'read') FROM unnest('{chs_tap_rare,chs_tap_often,chs_tap_small}'::text[]) r \g /dev/null
CREATE POLICY own ON chs.customers TO chs_tap_rare, chs_tap_often USING (owner = current_user);
CREATE POLICY small ON chs.customers TO chs_tap_small USING (segment = 'small');
CREATE FUNCTION pg_temp.pages_all_well(what text, blocks bigint DEFAULT 600) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT t.line FROM filters f, pg_temp.pages_well('SELECT * FROM chs.' || f.list || ' WHERE ' || f.filter || ' AND customer_id > 1500 ORDER BY customer_id LIMIT 50',
                                                     what || ' page of ' || f.list || ' where ' || f.filter, blocks) t(line)
    UNION ALL
    SELECT t.line FROM unnest('{customer_list,scored_customers}'::text[]) l, (VALUES ('> 1500', 'ASC'), ('< 1500', 'DESC')) d(compared, direction),
        pg_temp.pages_well(format('SELECT * FROM chs.%s WHERE customer_id %s ORDER BY customer_id %s LIMIT 50', l, d.compared, d.direction), what || ' page of ' || l, blocks) t(line)
    UNION ALL
    SELECT t.line FROM (VALUES ('>', 'ASC'), ('<', 'DESC')) d(compared, direction), pg_temp.pages_well(format(
        'SELECT * FROM chs.at_risk_customers WHERE (score, customer_id) %s (30, 1500) ORDER BY score %s, customer_id %2$s LIMIT 50', d.compared, d.direction), what || ' page by score', blocks) t(line)
$$;
SET LOCAL ROLE chs_tap_rare;
SELECT pg_temp.pages_all_well('one who sees three customers: a');
SET LOCAL ROLE chs_tap_small;
-- one in eight, who are looked for among the others
SELECT pg_temp.pages_all_well('one who sees a segment: a', 2400);
RESET ROLE;
ALTER TABLE chs.customers DISABLE ROW LEVEL SECURITY;
\if :has_trgm
-- with so few customers it is hardly worthwhile
SET LOCAL enable_seqscan = off;
SELECT matches(pg_temp.plan($$SELECT * FROM chs.customer_list WHERE name ILIKE '%C299%'$$)::text, 'by_part_of_name', 'a part of a name is found by a trigram index');
SET LOCAL enable_seqscan = on;
\endif

-- What these indexes must not cost: an update is heap-only if no column of any index changes, and otherwise writes an
-- entry in each index that has the row.
CREATE FUNCTION pg_temp.indexes_of(what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    i record;
    has boolean;
BEGIN
    FOR i IN SELECT indexrelid::regclass::text AS name, COALESCE(pg_get_expr(indpred, indrelid), 'true') AS condition
             FROM pg_index WHERE indrelid = 'chs.customer_health'::regclass LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM chs.customer_health WHERE (%s) AND (%s))', what, i.condition) INTO has;
        IF has THEN
            RETURN NEXT i.name;
        END IF;
    END LOOP;
END $$;
SELECT is((SELECT array_agg(DISTINCT a.attname::text)
           FROM pg_index i JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND d.refobjid = i.indrelid
           JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
           WHERE i.indrelid = 'chs.customer_health'::regclass),
    '{customer_id,risk_score,status,trend}', 'what changes with each score of a healthy customer is in no index');
SELECT set_eq($$SELECT pg_temp.indexes_of('risk_score IS NOT NULL')$$, '{chs.customer_health_pkey,chs.customer_health_risk_score_idx}'::text[],
    'a customer at risk is in no more than two');

-- The past ----------------------------------------------------------------------

DELETE FROM chs.customers;
SELECT chs_process_queue() \g /dev/null
INSERT INTO chs.customers (customer_id, name, created_at) SELECT i, 'c' || i, '2020-01-01' FROM generate_series(1, 8) i;
SELECT chs_process_queue() \g /dev/null
TRUNCATE chs.health_scores;
-- A score at a time of a day that is some days before today.
CREATE FUNCTION pg_temp.scored(customer bigint, ago integer, at time, points double precision, known_status text DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
    INSERT INTO chs.health_scores (customer_id, score, status, coverage, factor_scores, scorecard, version, as_of, calculated_at)
    SELECT customer, points, COALESCE(known_status, CASE WHEN points IS NULL THEN 'unknown' WHEN points >= 75 THEN 'healthy' WHEN points >= 50 THEN 'at_risk' ELSE 'critical' END),
           1, ARRAY[points, NULL, 100], 'default', 1, d.day, (d.day + at) AT TIME ZONE 'UTC'
    FROM (SELECT (now() AT TIME ZONE 'UTC')::date - ago AS day) d
$$;
-- 1: improves by half a point a day, and dives today, when most of its events are missing;
-- 2: declines; 3: as good as stable; 4: too short; 5: unknown most of the time; 6: two scores a day.
SELECT pg_temp.scored(1, ago, '12:00', 60 - ago * 0.5) FROM generate_series(1, 40) ago \g /dev/null
SELECT pg_temp.scored(1, 0, '00:01', 30) \g /dev/null
SELECT pg_temp.scored(2, ago, '12:00', 60 + ago * 0.2) FROM generate_series(1, 28) ago \g /dev/null
SELECT pg_temp.scored(3, ago, '12:00', 60 - ago * 0.05) FROM generate_series(1, 28) ago \g /dev/null
SELECT pg_temp.scored(4, ago, '12:00', 60 - ago) FROM generate_series(1, 6) ago \g /dev/null
SELECT pg_temp.scored(5, ago, '12:00', CASE WHEN ago > 20 THEN 90 - ago END) FROM generate_series(1, 28) ago \g /dev/null
SELECT pg_temp.scored(6, ago, '00:01', 10), pg_temp.scored(6, ago, '18:00', 60) FROM generate_series(1, 28) ago \g /dev/null
SELECT results_eq('SELECT customer_id, round(slope::numeric, 6), trend, days FROM chs.health_trend ORDER BY 1', $$VALUES
    (1::bigint, 0.5, 'improving', 28::bigint), (2, -0.2, 'declining', 28), (3, 0.05, 'stable', 28), (4, NULL, NULL, 6),
    (5, 1, 'improving', 8), (6, 0, 'stable', 28)$$, 'health_trend: the slope, whatever today is like');
SELECT results_eq('SELECT first_day, last_day FROM chs.health_trend WHERE customer_id = 1', format('VALUES (date %L - 28, date %L - 1)', :'today', :'today'), 'over the 28 days before today');
SELECT results_eq('SELECT customer_id, day, score FROM chs.daily_scores ORDER BY 1, 2',
    $$SELECT customer_id, as_of, score FROM (SELECT *, row_number() OVER (PARTITION BY customer_id, as_of ORDER BY health_score_id DESC) AS n FROM chs.health_scores) s
      WHERE n = 1 ORDER BY 1, 2$$, 'daily_scores: the last one of each day');
SELECT results_eq($$SELECT factor_name, f.score, weight FROM chs.daily_scores JOIN chs.factor_scores f USING (customer_id, health_score_id) WHERE customer_id = 6 AND day = '$$ || :'today' || $$'::date - 3 ORDER BY factor_name COLLATE "C"$$,
    $$VALUES ('api_usage', 60::double precision, 0.30::double precision), ('feature_adoption', NULL, 0.15), ('login_frequency', NULL, 0.20),
             ('payment_timeliness', 100, 0.25), ('support_tickets', NULL, 0.10)$$, 'factor_scores: its factors');

-- 7: healthy for ten days, at risk for two and a half, critical since; one row was added later.
SELECT pg_temp.scored(7, 20, '00:00', 80), pg_temp.scored(7, 15, '00:00', 90), pg_temp.scored(7, 10, '00:00', 60),
       pg_temp.scored(7, 8, '12:00', 40), pg_temp.scored(7, 1, '12:00', 30) \g /dev/null
SELECT results_eq('SELECT previous_status, status, score, (started_at AT TIME ZONE ''UTC'')::date - current_date, ended_at IS NULL, round(lasted_days::numeric, 3)
                   FROM chs.status_changes WHERE customer_id = 7 ORDER BY started_at',
    format($$VALUES (NULL, 'healthy', 80::double precision, date %1$L - 20 - current_date, false, 10.000), ('healthy', 'at_risk', 60, date %1$L - 10 - current_date, false, 2.500),
             ('at_risk', 'critical', 40, date %1$L - 8 - current_date, true, round((extract(epoch FROM now() - (date %1$L - 8 + time '12:00') AT TIME ZONE 'UTC') / 86400)::numeric, 3))$$, :'today'),
    'status_changes: what followed what, and how long it lasted');
INSERT INTO chs.health_scores (customer_id, score, status, coverage, factor_scores, scorecard, version, as_of, calculated_at)
VALUES (7, 20, 'critical', 1, '{}', 'default', 1, :'today'::date - 30, now());
SELECT results_eq('SELECT status, round(lasted_days::numeric, 3) FROM chs.status_changes WHERE customer_id = 7 ORDER BY started_at LIMIT 2',
    $$VALUES ('critical', 9.000), ('healthy', 10.000)$$, 'a row made afterwards is for the end of its day');
UPDATE chs.customers SET churned_at = (:'today'::date - 3)::timestamp AT TIME ZONE 'UTC' WHERE customer_id = 7;
SELECT is((SELECT lasted_days FROM chs.status_changes WHERE customer_id = 7 AND ended_at IS NULL), 4.5::double precision, 'the last one lasts until the customer churned');

SELECT is_empty('SELECT * FROM chs_status_movements(current_date - 3650, current_date - 3600)', 'before there was anything, nobody had a status');
SELECT throws_ok('SELECT * FROM chs_status_movements(''2026-02-02'', ''2026-02-01'')', '22023', '"from_day" (2026-02-02) must not be after "to_day" (2026-02-01)',
    'it looks forward');
SELECT results_eq(format('SELECT from_status, to_status, customers FROM chs_status_movements(date %L - 12, date %L - 9) ORDER BY 1, 2', :'today', :'today'),
    $$VALUES ('at_risk', 'at_risk', 4::bigint), ('healthy', 'at_risk', 1), ('unknown', 'unknown', 1)$$, 'status_movements: who went from where to where');
SELECT is((SELECT customers FROM chs.status_movements WHERE from_status = 'critical' AND to_status = 'churned'), 1::bigint, 'or left');
SELECT is((SELECT sum(customers) FROM chs.status_movements), 7::numeric, 'everyone who has ever had a status is somewhere');

-- What moved since last week.
UPDATE chs.customer_health SET score = 70, factor_scores = '{80,NULL,50}', status = 'at_risk' WHERE customer_id IN (1, 2, 7);
UPDATE chs.customer_health SET score = NULL, status = 'unknown' WHERE customer_id = 3;
SELECT results_eq('SELECT customer_id, previous_score, previous_status, change, moved_most FROM chs.score_changes WHERE customer_id IN (1, 2, 3, 8) ORDER BY 1',
    $$VALUES (1::bigint, 56.5::double precision, 'at_risk', 13.5::double precision, 'api_usage'), (2, 61.4, 'at_risk', 70 - 61.4::double precision, 'api_usage'), (3, 59.65, 'at_risk', NULL, NULL)$$,
    'score_changes: since when, by how much, by what');
SELECT is((SELECT previous_day FROM chs.score_changes WHERE customer_id = 1), :'today'::date - 7, 'against the end of the day a week ago');
SELECT is_empty('SELECT FROM chs.score_changes WHERE customer_id = 7 AND NOT EXISTS (SELECT FROM chs.customer_health h WHERE h.customer_id = 7 AND h.active)', 'without who has left');

SELECT * FROM finish();
ROLLBACK;
