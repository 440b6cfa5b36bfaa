-- Whose score moved most: what is found while a day is counted, in slices of any size, is what plain SQL over the
-- history says; it shows when the day does, and goes with the customer.

\ir begin.psql
SELECT setseed(0.3) \g /dev/null
SELECT (now() AT TIME ZONE 'UTC')::date AS today \gset

-- More of each segment and direction than are kept, equal changes among them; some leave, or had no score.
INSERT INTO chs.customers (customer_id, name, segment, created_at, owner, churned_at)
SELECT i, 'c' || i, (ARRAY['smb', 'startup', NULL])[1 + i % 3], '2020-01-01', 'o' || i % 7, CASE WHEN i % 50 = 0 THEN now() - i % 9 * interval '1 day' END
FROM generate_series(1, 1000) i;
SELECT chs_process_queue() \g /dev/null
TRUNCATE chs.health_scores;
INSERT INTO chs.health_scores (customer_id, segment, score, status, coverage, factor_scores, scorecard, version, as_of, calculated_at)
SELECT i, (ARRAY['smb', 'startup', NULL])[1 + i % 3], s.score, CASE WHEN s.score >= 75 THEN 'healthy' WHEN s.score >= 50 THEN 'at_risk' WHEN s.score >= 0 THEN 'critical' ELSE 'unknown' END,
       1, ARRAY[s.score, s.score / 2, 0, 0, 0], 'default', 1, d.as_of, d.as_of
FROM generate_series(1, 1000) i, unnest('{0,1,3,8,8,20,31,91,120}'::integer[]) ago,
     LATERAL (SELECT :'today'::date - ago AS as_of) d, LATERAL (SELECT CASE WHEN random() < 0.95 THEN round((random() * 100 + 0 * (i + ago))::numeric) END AS score) s
WHERE random() < 0.8;

CREATE TEMP VIEW right_ones AS
WITH ends AS MATERIALIZED (
    SELECT DISTINCT ON (s.customer_id, d.day) s.customer_id, d.day, s.score, s.status, s.segment
    FROM chs.health_scores s JOIN (SELECT :'today'::date - 1 - n AS day FROM unnest('{0,7,30,90}'::integer[]) n) d ON s.as_of <= d.day
    ORDER BY s.customer_id, d.day, s.as_of DESC, s.health_score_id DESC
)
SELECT m.days, :'today'::date - 1 AS day, m.customer_id, c.name, m.segment, c.owner, m.status, m.previous_status, m.score, m.previous_score, m.change
FROM (SELECT n.days, t.customer_id, t.segment, t.status, f.status AS previous_status, t.score, f.score AS previous_score, t.score - f.score AS change,
             rank() OVER (PARTITION BY n.days, t.segment, sign(t.score - f.score) ORDER BY -abs(t.score - f.score), t.customer_id) AS place
      FROM unnest('{7,30,90}'::integer[]) n(days) JOIN ends t ON t.day = :'today'::date - 1 JOIN ends f ON f.customer_id = t.customer_id AND f.day = t.day - n.days
      JOIN chs.customers o ON o.customer_id = t.customer_id
      WHERE t.score <> f.score AND NOT COALESCE(o.churned_at < :'today'::date::timestamp AT TIME ZONE 'UTC', false)) m
JOIN chs.customers c USING (customer_id)
WHERE m.place <= 100;
CREATE TEMP VIEW shown AS SELECT days, day, customer_id, name, segment, owner, status, previous_status, score, previous_score, change FROM chs.movers;

SELECT is_empty('TABLE chs.movers', 'nobody, before a day has been counted');
SELECT chs_count_days() \g /dev/null
SELECT set_eq('TABLE shown', 'TABLE right_ones', 'who moved most in 7, 30 and 90 days');
SELECT results_eq('SELECT days, segment, change > 0, count(*) FROM chs.movers GROUP BY 1, 2, 3 HAVING count(*) <> 100 ORDER BY 1, 2', 'SELECT days, segment, change > 0, count(*) FROM right_ones GROUP BY 1, 2, 3 HAVING count(*) <> 100 ORDER BY 1, 2', 'a hundred of each kind');
SELECT cmp_ok((SELECT count(*) FROM chs.movers), '>', 1500::bigint, '(there are many)');
SELECT is((SELECT count(*) FROM chs.movers WHERE moved_most IS DISTINCT FROM 'api_usage'), 0::bigint, 'and by which factor');

-- Again, in slices; what there was is shown until the last one.
CREATE TEMP TABLE before AS TABLE shown;
UPDATE chs.health_scores SET score = 100 - score WHERE customer_id % 2 = 0;
INSERT INTO chs.recounts (from_day) VALUES (:'today'::date - 1);
INSERT INTO chs.daily_movers (span, day, customer_id, change, score, previous_score, partial) VALUES (7, :'today'::date - 2, 1, 100, 100, 0, true);
CREATE TEMP TABLE looks (same boolean);
DO $$ BEGIN
    FOR i IN 1 .. 100000 LOOP
        EXIT WHEN NOT chs.count_days_slice((random() * 800)::integer, true);
        INSERT INTO looks SELECT NOT EXISTS (TABLE shown EXCEPT TABLE before) FROM chs.day_count;
    END LOOP;
END $$;
SELECT is((SELECT bool_and(same) FROM looks), true, 'nothing shows before the last slice');
SELECT cmp_ok((SELECT count(*) FROM looks), '>', 5::bigint, '(there were several)');
SELECT set_eq('TABLE shown', 'TABLE right_ones', 'slices of any size find the same');
SELECT is((SELECT count(*) FROM chs.daily_movers WHERE partial), 0::bigint, 'and nothing is left over');

-- A page of them is found at once, and as far as the reader may see the customers.
CREATE ROLE chs_tap_reader;
SELECT chs_grant('chs_tap_reader', 'read') \g /dev/null
GRANT USAGE ON SCHEMA tap TO PUBLIC;
CREATE POLICY own ON chs.customers TO chs_tap_reader USING (owner = 'o3');
ALTER TABLE chs.customers ENABLE ROW LEVEL SECURITY;
CREATE TEMP TABLE expected AS TABLE right_ones;
GRANT SELECT ON expected, shown TO PUBLIC;
SET LOCAL ROLE chs_tap_reader;
SELECT set_eq('SELECT customer_id, days FROM chs.movers', $$SELECT customer_id, days FROM expected WHERE owner = 'o3'$$, 'a reader sees only his own customers among them');
RESET ROLE;

SELECT customer_id AS first FROM chs.movers ORDER BY abs(change) DESC LIMIT 1 \gset
SELECT chs_purge_customer(:first) \g /dev/null
SELECT is((SELECT count(*) FROM chs.daily_movers WHERE customer_id = :first), 0::bigint, 'one who is purged is gone');
SELECT customer_id AS second FROM chs.movers ORDER BY abs(change) DESC LIMIT 1 \gset
DELETE FROM chs.customers WHERE customer_id = :second;
SELECT is((SELECT count(*) FROM chs.daily_movers WHERE customer_id = :second), 0::bigint, 'and so is one who is deleted');
SELECT customer_id AS third FROM chs.movers ORDER BY abs(change) DESC LIMIT 1 \gset
UPDATE chs.customers SET customer_id = 5003 WHERE customer_id = :third;
SELECT isnt((SELECT count(*) FROM chs.movers WHERE customer_id = 5003), 0::bigint, 'one who is renumbered stays');

SELECT * FROM finish();
ROLLBACK;
