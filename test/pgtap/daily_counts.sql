-- Counts by day: what is counted is what the history says, by an oracle that shares no code; whatever changes the past has
-- the days counted again, in slices of any size; counts of the deleted stay; chs_verify() finds what is wrong.

\ir begin.psql
SELECT setseed(0.26) \g /dev/null
SELECT (now() AT TIME ZONE 'UTC')::date AS today \gset

-- Forty customers with rows of history on some of 130 days, several on some; one in five leaves, on any day.
INSERT INTO chs.customers (customer_id, segment, created_at, value, churned_at)
SELECT 7 * i, (ARRAY['smb', 'enterprise', 'startup', NULL])[1 + i % 4], '2020-01-01', i * 1.5,
       CASE WHEN i % 5 = 0 THEN (:'today'::date - i * 3 % 97)::timestamp + random() * interval '1 day' END
FROM generate_series(1, 40) i;
SELECT chs_process_queue() \g /dev/null
CREATE FUNCTION pg_temp.score(customer bigint, days_ago integer, kind text DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    s double precision := CASE WHEN random() < 0.9 THEN round((random() * 100)::numeric, 2) END;
BEGIN
    INSERT INTO chs.health_scores (customer_id, segment, score, status, coverage, factor_scores, scorecard, version, as_of, calculated_at)
    SELECT customer, COALESCE(kind, (ARRAY[c.segment, 'smb'])[1 + (random() < 0.1)::integer]), s,
           CASE WHEN s >= 75 THEN 'healthy' WHEN s >= 50 THEN 'at_risk' WHEN s >= 0 THEN 'critical' ELSE 'unknown' END, 1, '{}', 'default', 1,
           (now() AT TIME ZONE 'UTC')::date - days_ago, now()
    FROM chs.customers c WHERE c.customer_id = customer;
END $$;
SELECT pg_temp.score(7 * (1 + random() * 39)::integer, (random() * 130)::integer) FROM generate_series(1, 1500) \g /dev/null

CREATE TEMP VIEW ends AS
SELECT DISTINCT ON (s.customer_id, d.day) s.customer_id, d.day, c.value, s.segment, s.score,
       CASE WHEN c.churned_at < (d.day + 1)::timestamp AT TIME ZONE 'UTC' THEN 'churned' ELSE s.status END AS status
FROM chs.health_scores s JOIN chs.customers c USING (customer_id)
JOIN (SELECT current_date - n AS day FROM generate_series(0, 250) n) d ON s.as_of <= d.day
ORDER BY s.customer_id, d.day, s.as_of DESC, s.health_score_id DESC;
CREATE FUNCTION pg_temp.oracle(from_days date[], to_days date[])
    RETURNS TABLE (day date, span integer, segment text, from_status text, to_status text, customers bigint, points numeric, value numeric) LANGUAGE sql AS $$
    WITH e AS MATERIALIZED (SELECT * FROM ends WHERE day = ANY (from_days || to_days))
    SELECT p.day, p.day - p.from_day, CASE t.status WHEN 'churned' THEN f.segment ELSE t.segment END, COALESCE(f.status, 'none'), t.status, count(*),
           COALESCE(sum(t.score::numeric) FILTER (WHERE t.status <> 'churned'), 0), sum(t.value)
    FROM unnest(from_days, to_days) p (from_day, day)
    JOIN e t ON t.day = p.day LEFT JOIN e f ON f.customer_id = t.customer_id AND f.day = p.from_day
    WHERE NOT (t.status = 'churned' AND COALESCE(f.status, 'churned') = 'churned') GROUP BY 1, 2, 3, 4, 5 $$;
-- What is stored of the counted days and is not what the oracle says, or the other way round.
CREATE TEMP VIEW wrong AS
WITH stored AS (
    SELECT day, span, segment, from_status, to_status, customers, score_hundredths / 100.0 AS points, value FROM chs.daily_counts
), right_ones AS MATERIALIZED (
    SELECT o.*
    FROM (SELECT array_agg(p.day - p.span) AS from_days, array_agg(p.day) AS to_days
          FROM (SELECT day, 1 AS span FROM chs.counted_days UNION ALL SELECT max(day), unnest('{7,30,90}'::integer[]) FROM chs.counted_days) p) q
    CROSS JOIN LATERAL pg_temp.oracle(q.from_days, q.to_days) o
)
(TABLE stored EXCEPT TABLE right_ones) UNION ALL (TABLE right_ones EXCEPT TABLE stored);

SELECT is(chs_count_days(), 1::bigint, 'at first only yesterday is counted');
SELECT is((SELECT array_agg(day) FROM chs.counted_days), ARRAY[:'today'::date - 1], 'that is, the last UTC day that is over');
SELECT is_empty('TABLE wrong', 'as the oracle says');
SELECT is(chs_count_days(), 0::bigint, 'and not a second time');
SELECT is(chs_count_days(:'today'::date - 100), 100::bigint, 'on request, earlier days');
SELECT is_empty('TABLE wrong', 'as the oracle says');
SELECT cmp_ok((SELECT count(*) FROM chs.daily_counts), '>', 1000::bigint, '(there are many)');
SELECT set_eq('SELECT DISTINCT span, day FROM chs.daily_counts WHERE span > 1',
    format('SELECT span, date %L - 1 FROM unnest(''{7,30,90}''::integer[]) span', :'today'), 'longer spans of the latest day');
SELECT is_empty('SELECT * FROM chs_verify() WHERE difference LIKE ''daily%''', 'chs_verify() agrees');
SELECT throws_ok(format('SELECT chs_count_days(%L)', :'today'), '22023', NULL, 'today is not over');

-- Slices of any size, each its own piece of work; nothing shows before the last one.
CREATE TEMP TABLE before AS SELECT day, span, segment, from_status, to_status, customers, score_hundredths, value, customers_hash FROM chs.daily_counts;
UPDATE chs.daily_counts SET customers = customers + 1000;
INSERT INTO chs.recounts (from_day) VALUES (:'today'::date - 100);
DO $$
BEGIN
    FOR i IN 1 .. 1000000 LOOP
        EXIT WHEN NOT chs.count_days_slice((random() * 200)::integer, true);
        -- all of it changes when a part of the days is done
        IF EXISTS (SELECT FROM chs.day_count WHERE first_day = (now() AT TIME ZONE 'UTC')::date - 100)
           AND EXISTS (SELECT FROM chs.daily_counts WHERE day = (now() AT TIME ZONE 'UTC')::date - 100 AND customers < 1000) THEN
            RAISE 'a part of a day is shown';
        END IF;
    END LOOP;
END $$;
SELECT set_eq('SELECT day, span, segment, from_status, to_status, customers, score_hundredths, value, customers_hash FROM chs.daily_counts', 'TABLE before', 'slices of any size add up to the same');
SELECT is_empty('TABLE chs.recounts', 'all is done');
SELECT is_empty('TABLE chs.partial_counts', 'and nothing left over');

-- Views and functions read these counts, or count the history, which is the same.
SELECT set_eq(format('SELECT * FROM chs_status_movements(date %1$L - %2$s - 1, date %1$L - 1)', :'today', span),
    format('SELECT from_status, to_status, sum(customers)::bigint FROM pg_temp.oracle(ARRAY[date %1$L - %2$s - 1], ARRAY[date %1$L - 1]) GROUP BY 1, 2', :'today', span),
    'moves within ' || span || ' days') FROM unnest('{0,1,2,7,29,30,90,100}'::integer[]) span;
SELECT set_eq(format('SELECT * FROM chs_status_movements(date %1$L - %2$s - 37, date %1$L - 37)', :'today', span),
    format('SELECT from_status, to_status, sum(customers)::bigint FROM pg_temp.oracle(ARRAY[date %1$L - %2$s - 37], ARRAY[date %1$L - 37]) GROUP BY 1, 2', :'today', span),
    'moves within ' || span || ' days up to an earlier one') FROM unnest('{1,30}'::integer[]) span;
SELECT set_eq('TABLE chs.status_movements', format('SELECT * FROM chs_status_movements(date %1$L - 31, date %1$L - 1)', :'today'), 'status_movements is of the 30 days up to yesterday');
-- (what is stored is read: it shows what it says, right or wrong)
SAVEPOINT a;
UPDATE chs.daily_counts SET customers = 4711;
SELECT cmp_ok((SELECT min(customers) FROM chs.status_movements), '>=', 4711::bigint, 'from the counters');
SELECT cmp_ok((SELECT max(customers) FROM chs_status_movements(:'today'::date - 32, :'today'::date - 1)), '<', 41::bigint, 'where there are some');
ROLLBACK TO a;
SELECT set_eq($$
    SELECT day, segment, total, healthy, at_risk, critical, unknown, average_score::numeric, value::numeric, value_at_risk::numeric FROM chs.daily_stats WHERE total > 0$$, $$
    SELECT e.day, e.segment, count(*) AS a, count(*) FILTER (WHERE e.status = 'healthy') AS b, count(*) FILTER (WHERE e.status = 'at_risk') AS c, count(*) FILTER (WHERE e.status = 'critical') AS d,
           count(*) FILTER (WHERE e.status = 'unknown') AS e, round(avg(e.score::numeric), 2),
           sum(e.value) AS f, COALESCE(sum(e.value) FILTER (WHERE e.status IN ('at_risk', 'critical')), 0) AS g
    FROM ends e JOIN chs.counted_days USING (day) WHERE e.status <> 'churned' GROUP BY 1, 2$$, 'daily_stats: who was there at the end of each day');
SELECT set_eq($$
    SELECT day, sum(arrivals) AS a, sum(departures) AS b, sum(improved) AS c, sum(worsened) AS d FROM chs.daily_stats GROUP BY day$$, $$
    WITH e AS MATERIALIZED (SELECT * FROM ends),
         moves AS (SELECT t.day, f.status AS f, t.status AS t, array_position('{critical,at_risk,healthy}', f.status) AS fp, array_position('{critical,at_risk,healthy}', t.status) AS tp
                   FROM e t LEFT JOIN e f ON f.customer_id = t.customer_id AND f.day = t.day - 1 JOIN chs.counted_days d ON d.day = t.day)
    SELECT day, CASE WHEN day > (SELECT min(day) FROM chs.counted_days) THEN count(*) FILTER (WHERE f IS NULL AND t <> 'churned')::numeric END AS a,
           count(*) FILTER (WHERE f <> 'churned' AND t = 'churned')::numeric AS b, count(*) FILTER (WHERE tp > fp)::numeric AS c, count(*) FILTER (WHERE tp < fp)::numeric AS d
    FROM moves GROUP BY day$$, 'and how they got there');

-- The past changes: somebody had left earlier than was known, or later, or not at all.
UPDATE chs.customers SET churned_at = (:'today'::date - 12)::timestamp AT TIME ZONE 'UTC' WHERE customer_id IN (21, 28);
SELECT is((SELECT min(from_day) FROM chs.recounts), :'today'::date - 12, 'the days since then are to be counted again');
SELECT isnt_empty('TABLE wrong', 'they are wrong');
SELECT is_empty('SELECT * FROM chs_verify() WHERE difference LIKE ''daily%''', 'which chs_verify() knows');
SELECT is(chs_count_days(), 12::bigint, 'they are counted');
SELECT is_empty('TABLE wrong', 'and right');
SELECT is(chs_count_days(), 0::bigint, 'once');
UPDATE chs.customers SET churned_at = churned_at + interval '5 days' WHERE customer_id = 21;
UPDATE chs.customers SET churned_at = NULL WHERE customer_id = 28;
SELECT is(chs_count_days(), 12::bigint, 'again when it was not so');
SELECT is_empty('TABLE wrong', 'and right');
UPDATE chs.customers SET churned_at = churned_at + interval '1 second' WHERE customer_id = 21;
UPDATE chs.customers SET churned_at = now() + interval '1 day', name = 'x' WHERE customer_id = 14;
UPDATE chs.customers SET churned_at = now() WHERE customer_id = 14;
UPDATE chs.customers SET segment = 'startup' WHERE customer_id = 28;
SELECT is_empty('TABLE chs.recounts', 'what changes no day that is over has nothing counted again');
-- Long before the first day that is counted.
UPDATE chs.customers SET churned_at = '2021-01-01' WHERE customer_id = 49;
SELECT is(chs_count_days(), 100::bigint, 'further back than has been counted nothing is counted');
SELECT is_empty('TABLE wrong', 'and right');
-- A past that is computed afterwards.
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT 7 * (1 + random() * 39)::integer, 'login', '{"ip_address": "::1"}', now() - random() * interval '150 days' FROM generate_series(1, 300);
CALL chs_backfill_history(:'today'::date - 120);
SELECT is((SELECT count(*) FROM chs.counted_days), 120::bigint, 'chs_backfill_history() counts the days that it stores');
SELECT is_empty('TABLE wrong', 'as the oracle says');
UPDATE chs.health_scores SET version = 999 WHERE backfilled AND as_of = :'today'::date - 15;
CALL chs_rebuild();
SELECT is((SELECT min(from_day) FROM chs.recounts), :'today'::date - 15, 'what a rebuild removes is noted');
SELECT is(chs_count_days(), 15::bigint, 'and counted again');
SELECT is_empty('TABLE wrong', 'as the oracle says');

-- Damage.
SELECT is_empty('SELECT * FROM chs_verify() WHERE difference LIKE ''daily%''', 'chs_verify() finds nothing');
CREATE FUNCTION pg_temp.finds(what text, statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
BEGIN
    BEGIN
        EXECUTE statement;
        n := (SELECT count(*) FROM chs_verify() WHERE difference LIKE 'daily_counts of %');
        RAISE SQLSTATE 'CH001';
    EXCEPTION WHEN SQLSTATE 'CH001' THEN
        NULL;
    END;
    RETURN NEXT cmp_ok(n, '>', 0::bigint, 'chs_verify() finds ' || what);
END $$;
SELECT pg_temp.finds(what, statement) FROM (VALUES
    ('one too many', 'UPDATE chs.daily_counts SET customers = customers + 1 WHERE ctid = (SELECT ctid FROM chs.daily_counts WHERE day = current_date - 33 AND from_status = to_status ORDER BY customers DESC LIMIT 1)'),
    ('one too few', 'UPDATE chs.daily_counts SET customers = customers - 1 WHERE ctid = (SELECT ctid FROM chs.daily_counts WHERE day = current_date - 33 AND from_status = to_status ORDER BY customers DESC LIMIT 1)'),
    ('wrong points', 'UPDATE chs.daily_counts SET score_hundredths = score_hundredths + 1 WHERE (day, span, from_status, to_status) = (current_date - 1, 30, ''critical'', ''critical'') AND segment = ''smb'''),
    ('a count in the wrong place', 'UPDATE chs.daily_counts SET to_status = ''nowhere'' WHERE (day, span, from_status, to_status) = (current_date - 1, 90, ''critical'', ''critical'') AND segment = ''smb'''),
    ('a history that has changed', 'DELETE FROM chs.health_scores WHERE as_of = current_date - 60 AND customer_id < 100')) d(what, statement);

-- Counts are of nobody in particular: they stay when customers go.
CREATE TEMP TABLE counted AS SELECT day, span, segment, from_status, to_status, customers FROM chs.daily_counts;
SELECT chs_purge_customer(35) \g /dev/null
DELETE FROM chs.customers WHERE customer_id = 70;
SELECT set_eq('SELECT day, span, segment, from_status, to_status, customers FROM chs.daily_counts', 'TABLE counted', 'a purge and a deletion leave the counts as they are');
SELECT is_empty('SELECT * FROM chs_verify() WHERE difference LIKE ''daily%''', 'which chs_verify() accepts');
SELECT pg_temp.finds('that there are fewer than are found',
    'UPDATE chs.daily_counts SET customers = 0 WHERE ctid = (SELECT ctid FROM chs.daily_counts WHERE day = current_date - 33 AND from_status = to_status ORDER BY customers DESC LIMIT 1)');
DELETE FROM chs.health_scores WHERE as_of < :'today'::date - 60;
SELECT set_eq('SELECT day, span, segment, from_status, to_status, customers FROM chs.daily_counts', 'TABLE counted', 'nor does retention change any');
SELECT is_empty('SELECT * FROM chs_verify() WHERE difference LIKE ''daily%''', 'which chs_verify() accepts');
SELECT chs_count_days(:'today'::date - 20) \g /dev/null
SELECT is_empty(format('SELECT * FROM wrong WHERE day >= date %L - 20', :'today'), 'counted again, it is what is left');

-- With every customer gone there are days without counts, which are not counted over and over.
DELETE FROM chs.customers;
SELECT is(chs_count_days(:'today'::date - 3), 3::bigint, 'days of nobody');
SELECT is_empty(format('SELECT FROM chs.daily_stats WHERE day >= date %L - 3', :'today'), 'have no counts');
SELECT is(chs_count_days(), 0::bigint, 'and are counted once');

SELECT * FROM finish();
ROLLBACK;
