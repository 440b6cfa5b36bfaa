-- Outcomes: who was at risk of what and had it, as plain SQL says from the raw rows; then what is refused, and who may what.
\set VERBOSITY terse
SET client_min_messages = warning;
SET datestyle TO iso;
INSERT INTO chs.customers (customer_id, name, segment, created_at, churned_at) OVERRIDING SYSTEM VALUE
SELECT n, 'c-' || n, CASE WHEN n % 3 = 0 THEN 'smb' END, '2025-01-01'::timestamptz + n % 90 * interval '1 day',
       CASE WHEN n % 11 = 0 THEN '2025-04-15 12:00+00'::timestamptz + n % 200 * interval '1 day' END
FROM generate_series(1, 300) n;
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT n, CASE WHEN k % 4 = 0 THEN 'payment' ELSE 'login' END, '{"ip_address": "::1", "amount": 5}',
       -- each stops at some time, and pauses before
       '2025-01-03 09:00+00'::timestamptz + (k * (1 + n % 23) + hashint4(n * 1000 + k) % 17) * interval '1 day' + hashint4(k) % 500 * interval '1 minute'
FROM generate_series(1, 290) n, generate_series(0, 40) k WHERE k * (1 + n % 23) < 380 AND k < 3 + n % 37;
INSERT INTO chs.outcomes (customer_id, outcome, happened_at, amount)
SELECT n, o, '2025-03-01 23:30+00'::timestamptz + (hashint4(n) & 255) * interval '1 day' + k * interval '20 days', n
FROM generate_series(1, 300, 7) n, generate_series(0, 1) k, unnest('{downgraded,churned}'::text[]) o;
CREATE FUNCTION regress_chs_day(t timestamptz) RETURNS date LANGUAGE sql IMMUTABLE AS $$ SELECT (t AT TIME ZONE 'UTC')::date $$;
-- The definition, word by word, for each customer and origin by itself.
CREATE FUNCTION regress_chs_risk(outcome text, horizon integer, gap integer, days date[], OUT origin date, OUT customer_id bigint, OUT score double precision,
    OUT leaves boolean, OUT left_on date, OUT age integer, OUT since_last integer, OUT events bigint) RETURNS SETOF record LANGUAGE sql AS $$
    SELECT t, c.customer_id, chs_score(c.customer_id, t::timestamp AT TIME ZONE 'UTC', 1),
           CASE WHEN gone <= t + gap THEN NULL
                WHEN outcome NOT LIKE 'no:%' THEN CASE WHEN had <= t + gap THEN NULL ELSE COALESCE(had <= t + gap + horizon, false) END
                WHEN e.before = 0 THEN NULL
                ELSE e.inside = 0 END,
           CASE WHEN outcome NOT LIKE 'no:%' THEN CASE WHEN had <= t + gap + horizon THEN had END
                WHEN e.inside = 0 THEN e.last_before + horizon END,
           t - least(regress_chs_day(c.created_at), e.first), t - e.last, e.events
    FROM chs.customers c CROSS JOIN unnest(days) t
    CROSS JOIN LATERAL (
        SELECT regress_chs_day(c.churned_at) AS gone,
               least((SELECT min(regress_chs_day(o.happened_at)) FROM chs.outcomes o WHERE (o.customer_id, o.outcome) = (c.customer_id, $1)),
                     CASE WHEN outcome = 'churned' THEN regress_chs_day(c.churned_at) END) AS had) x
    CROSS JOIN LATERAL (
        SELECT min(d) AS first, max(d) FILTER (WHERE d <= t) AS last, count(*) FILTER (WHERE d <= t) AS events, max(d) FILTER (WHERE d <= t + gap) AS last_before,
               count(*) FILTER (WHERE d > t - horizon AND d <= t) AS lately, count(*) FILTER (WHERE d > t + gap - horizon AND d <= t + gap) AS before,
               count(*) FILTER (WHERE d > t + gap AND d <= t + gap + horizon) AS inside
        FROM (SELECT regress_chs_day(v.occurred_at) FROM chs.customer_events v
              WHERE v.customer_id = c.customer_id AND (outcome NOT LIKE 'no:%' OR 'no:' || v.event_type = outcome)) v(d)) e
    WHERE t >= (SELECT least(regress_chs_day(c.created_at), min(regress_chs_day(v.occurred_at))) FROM chs.customer_events v WHERE v.customer_id = c.customer_id)
      AND (gone > t OR gone IS NULL)
      AND CASE WHEN outcome LIKE 'no:%' THEN e.lately > 0 ELSE had > t OR had IS NULL END
$$;
CREATE FUNCTION regress_chs_differ(outcome text, horizon integer, gap integer, OUT rows bigint, OUT leaves bigint, OUT in_gap bigint, OUT differ bigint, OUT missing bigint) LANGUAGE sql AS $$
    WITH f AS MATERIALIZED (SELECT r.origin, r.customer_id, r.score, r.leaves, r.left_on, r.age, r.since_last, r.events
                            FROM chs.outcome_rows(outcome, horizon, gap, '{2025-02-28,2025-05-31,2025-07-15}', (SELECT document FROM chs.scorecard_versions WHERE version = 1),
                                                  ARRAY(SELECT c.customer_id FROM chs.customers c), false) r),
         p AS MATERIALIZED (SELECT * FROM regress_chs_risk(outcome, horizon, gap, '{2025-02-28,2025-05-31,2025-07-15}'))
    SELECT (SELECT count(*) FROM f), (SELECT count(*) FILTER (WHERE f.leaves) FROM f), (SELECT count(*) FILTER (WHERE f.leaves IS NULL) FROM f),
           (SELECT count(*) FROM (TABLE f EXCEPT ALL TABLE p) d), (SELECT count(*) FROM (TABLE p EXCEPT ALL TABLE f) d)
$$;
SELECT o, h, g, d.* FROM (VALUES ('churned', 90, 0), ('churned', 30, 20), ('downgraded', 60, 10), ('no:payment', 90, 0), ('no:payment', 60, 30), ('no:login', 30, 0)) v(o, h, g),
    regress_chs_differ(o, h, g) d;
-- Only listed customers; values and scores of metrics as chs_explain says.
SELECT customer_id, count(*), bool_and(cardinality(metric_values) = cardinality(metric_scores)) FROM chs.outcome_rows('churned', 90, 0, '{2025-03-31,2025-04-30}',
    (SELECT document FROM chs.scorecard_versions WHERE version = 1), '{7,290,1000}', true) GROUP BY 1 ORDER BY 1;
CREATE FUNCTION regress_chs_metrics(days date[], listed bigint[], OUT rows bigint, OUT differ bigint) LANGUAGE sql AS $$
    SELECT count(*), count(*) FILTER (WHERE (h.metric_values, h.metric_scores) IS DISTINCT FROM (e.metric_values, e.metric_scores) OR h.trend IS NOT NULL
        OR h.score IS DISTINCT FROM chs_score(h.customer_id, h.day::timestamp AT TIME ZONE 'UTC', 1))
    FROM chs.score_history(days, by_version => 1, customers => listed, metrics => true) h
    CROSS JOIN LATERAL (SELECT array_agg(x.value ORDER BY x.ordinality) AS metric_values, array_agg(x.score ORDER BY x.ordinality) AS metric_scores
        FROM chs_explain(h.customer_id, h.day::timestamp AT TIME ZONE 'UTC', 1) WITH ORDINALITY x WHERE x.metric IS NOT NULL) e
$$;
SELECT * FROM regress_chs_metrics('{2025-03-31,2025-04-30,2025-06-01}', NULL);
-- Those of a list, be they neighbours or scattered, and none twice.
SELECT * FROM regress_chs_metrics('{2025-03-31}', '{5,6,7,6}');
SELECT * FROM regress_chs_metrics('{2025-03-31}', '{5,290}');
SELECT count(metric_values), count(metric_scores), count(trend) > 0 AS trend FROM chs.score_history('{2025-03-31}', customers => '{5,6}');
-- What is refused.
SELECT count(*) FROM chs.outcome_rows('lost', 90, 0, '{2025-03-31}', NULL, '{1}', false);
SELECT count(*) FROM chs.outcome_rows('no:fun', 90, 0, '{2025-03-31}', NULL, '{1}', false);
SELECT count(*) FROM chs.outcome_rows(NULL, 90, 0, '{2025-03-31}', NULL, '{1}', false);
\set VERBOSITY default
SELECT chs.check_outcome('lost');
SELECT chs.check_outcome('no:fun');
\set VERBOSITY terse
INSERT INTO chs.outcomes (customer_id, outcome) VALUES (1, 'no:fun');
INSERT INTO chs.outcomes (customer_id, outcome) VALUES (1, '');
INSERT INTO chs.outcomes (customer_id, outcome, happened_at) VALUES (1, 'lost', 'infinity');
INSERT INTO chs.outcomes (customer_id, outcome) VALUES (1000, 'lost');
-- They follow the customer, who may be renumbered, and go with it.
UPDATE chs.customers SET customer_id = 1001 WHERE customer_id = 8;
SELECT customer_id, outcome FROM chs.outcomes WHERE customer_id IN (8, 1001) ORDER BY 1, 2, happened_at;
DELETE FROM chs.customers WHERE customer_id = 1001;
SELECT count(*) FROM chs.outcomes WHERE customer_id = 1001;
-- Whoever records needs to see no customers; who sees some sees theirs, also through the functions.
CREATE ROLE regress_chs_recorder;
CREATE ROLE regress_chs_smb;
SELECT chs_grant('regress_chs_recorder', 'record');
SELECT chs_grant('regress_chs_smb', 'read');
SELECT chs_grant('regress_chs_smb', 'administer');
ALTER TABLE chs.customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY smb ON chs.customers TO regress_chs_smb USING (segment = 'smb');
SET ROLE regress_chs_recorder;
INSERT INTO chs.outcomes (customer_id, outcome, happened_at) VALUES (2, 'lost', '2025-06-01 00:00+00'), (3, 'lost', '2025-06-01 00:00+00');
SELECT * FROM chs.outcomes;
DELETE FROM chs.outcomes;
SET ROLE regress_chs_smb;
DELETE FROM chs.outcomes;
RESET ROLE;
GRANT DELETE ON chs.outcomes TO regress_chs_smb;
SET ROLE regress_chs_smb;
SELECT customer_id FROM chs.outcomes WHERE outcome = 'lost';
DELETE FROM chs.outcomes WHERE customer_id = 2;
SELECT customer_id, leaves FROM chs.outcome_rows('lost', 90, 0, '{2025-05-01}', (SELECT document FROM chs.scorecard_versions WHERE version = 1), '{2,3,6}', false) ORDER BY 1;
RESET ROLE;
SELECT customer_id FROM chs.outcomes WHERE outcome = 'lost' ORDER BY 1;
DROP POLICY smb ON chs.customers;
ALTER TABLE chs.customers DISABLE ROW LEVEL SECURITY;
DROP OWNED BY regress_chs_recorder, regress_chs_smb;
DROP ROLE regress_chs_recorder, regress_chs_smb;
-- How well a number tells who leaves: pair by pair, and the error customer by customer.
CREATE TABLE regress_chs_rows AS
SELECT '2025-01-31'::date + o AS origin, (n % 40)::bigint AS customer_id, hashint4(n * 7 + o) % 5 > 1 AS leaves,
       (abs(hashint4(n + o)) % 12)::float8 AS a, (abs(hashint4(n * 3 + o)) % 1000)::float8 - CASE WHEN hashint4(n * 7 + o) % 5 > 1 THEN 300 ELSE 0 END AS b
FROM generate_series(0, 2) o, generate_series(1, 60) n;
CREATE FUNCTION regress_chs_auc(OUT rows bigint, OUT pairs bigint, OUT auc float8, OUT standard_error float8, OUT other_auc float8, OUT other_error float8, OUT difference_error float8) LANGUAGE sql AS $$
    WITH r AS (SELECT row_number() OVER () AS i, * FROM regress_chs_rows WHERE a IS NOT NULL AND b <> 'NaN'),
         p AS (SELECT l.i AS l, s.i AS s, l.customer_id AS cl, s.customer_id AS cs,
                      CASE WHEN l.a < s.a THEN 1 WHEN l.a = s.a THEN 0.5 ELSE 0 END::numeric AS a, CASE WHEN l.b < s.b THEN 1 WHEN l.b = s.b THEN 0.5 ELSE 0 END::numeric AS b
               FROM r l JOIN r s ON l.origin = s.origin AND l.leaves AND NOT s.leaves),
         t AS (SELECT avg(a) AS a, avg(b) AS b, count(*)::numeric AS n FROM p),
         c AS (SELECT customer_id, COALESCE((SELECT sum(p.a - t.a) FROM p, t WHERE cl = customer_id), 0) / n AS la, COALESCE((SELECT sum(p.a - t.a) FROM p, t WHERE cs = customer_id), 0) / n AS sa,
                      COALESCE((SELECT sum(p.b - t.b) FROM p, t WHERE cl = customer_id), 0) / n AS lb, COALESCE((SELECT sum(p.b - t.b) FROM p, t WHERE cs = customer_id), 0) / n AS sb,
                      bool_or(leaves) AS leaves, bool_or(NOT leaves) AS stays
               FROM r, t GROUP BY customer_id, n),
         k AS (SELECT count(*) FILTER (WHERE leaves)::numeric AS m, count(*) FILTER (WHERE stays)::numeric AS n, count(*)::numeric AS c FROM c),
         v AS (SELECT m / (m - 1) * sum(la * la) + n / (n - 1) * sum(sa * sa) + 2 * k.c / (k.c - 1) * sum(la * sa) AS a, m / (m - 1) * sum(lb * lb) + n / (n - 1) * sum(sb * sb) + 2 * k.c / (k.c - 1) * sum(lb * sb) AS b,
                      m / (m - 1) * sum((la - lb) ^ 2) + n / (n - 1) * sum((sa - sb) ^ 2) + 2 * k.c / (k.c - 1) * sum((la - lb) * (sa - sb)) AS d FROM c, k GROUP BY m, n, k.c)
    SELECT (SELECT count(*) FROM r), t.n::bigint, t.a::float8, sqrt(v.a)::float8, t.b::float8, sqrt(v.b)::float8, sqrt(v.d)::float8 FROM t, v
$$;
CREATE FUNCTION regress_chs_agree() RETURNS boolean LANGUAGE sql AS $$
    SELECT (x.rows, x.pairs) = (y.rows, y.pairs) AND abs(x.auc - y.auc) < 1e-12 AND abs(x.standard_error - y.standard_error) < 1e-12 AND abs(x.other_auc - y.other_auc) < 1e-12
           AND abs(x.other_error - y.other_error) < 1e-12 AND abs(x.difference_error - y.difference_error) < 1e-12
    FROM (SELECT (chs.auc(array_agg(origin), array_agg(customer_id), array_agg(leaves), array_agg(a), array_agg(b))).* FROM regress_chs_rows) x, regress_chs_auc() y
$$;
SELECT round(auc::numeric, 4) AS auc, round(standard_error::numeric, 4) AS error, rows, pairs FROM regress_chs_auc();
SELECT regress_chs_agree();
-- The same bits in any order, and whatever the numbers of the customers; what is not known does not count.
SELECT count(DISTINCT f) FROM generate_series(1, 5) k CROSS JOIN LATERAL (
    SELECT chs.auc(array_agg(origin ORDER BY o), array_agg(hashint8extended(customer_id, k) ORDER BY o), array_agg(leaves ORDER BY o), array_agg(a ORDER BY o), array_agg(b ORDER BY o)) AS f
    FROM (SELECT *, hashint4(k * 1000 + (row_number() OVER ())::integer) AS o FROM regress_chs_rows) r) x;
UPDATE regress_chs_rows SET a = NULL WHERE a = 3;
UPDATE regress_chs_rows SET b = 'NaN' WHERE b BETWEEN 0 AND 20;
SELECT count(*) FILTER (WHERE b = 'NaN') > 0 AS some FROM regress_chs_rows;
SELECT regress_chs_agree();
UPDATE regress_chs_rows SET b = 0 WHERE b = 'NaN';
-- Everybody twice, as somebody else: the same area, an error 1 / sqrt(2) as large, but for the corrections.
SELECT x.auc = y.auc, round((x.standard_error / y.standard_error)::numeric, 2)
FROM (SELECT (chs.auc(array_agg(origin), array_agg(customer_id), array_agg(leaves), array_agg(a))).* FROM regress_chs_rows) x,
     (SELECT (chs.auc(array_agg(origin), array_agg(customer_id), array_agg(leaves), array_agg(a))).*
      FROM (SELECT * FROM regress_chs_rows UNION ALL SELECT origin, customer_id + 1000, leaves, a, b FROM regress_chs_rows) r) y;
-- Perfect, and not defined.
SELECT (chs.auc('{2025-01-01,2025-01-01,2025-01-01,2025-01-01}', '{1,2,3,4}', '{t,t,f,f}', '{1,2,3,4}')).*;
SELECT (chs.auc('{2025-01-01,2025-01-01}', '{1,2}', '{t,f}', '{1,1}')).*;
SELECT (chs.auc('{2025-01-01,2025-01-01}', '{1,2}', '{t,t}', '{1,1}')).*;
SELECT (chs.auc('{}', '{}', '{}', '{}')).*;
SELECT chs.auc('{2025-01-01}', '{1,2}', '{t}', '{1}');
DROP TABLE regress_chs_rows;
DROP FUNCTION regress_chs_auc, regress_chs_agree;
DROP FUNCTION regress_chs_differ, regress_chs_risk, regress_chs_metrics, regress_chs_day;
DROP EXTENSION chs;
CREATE EXTENSION chs;
