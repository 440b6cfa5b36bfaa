-- What a fit must find out about a company whose truth is known.
\ir ../property/tap.sql
\ir company.sql

CREATE TABLE public.proposal AS
SELECT chs_fit('churned', 28, since => '2024-04-15', until => '2025-01-06', every => '14 days', test_from => '2024-11-01', what => 'weights') AS document;
SELECT tap.ok((w ->> 'usual')::numeric > 0.6 AND (w ->> 'care')::numeric <= 0.05, 'a fit finds what tells who leaves, and drops what says nothing', w::text)
FROM (SELECT jsonb_object_agg(f ->> 'factor', f -> 'weight') AS w FROM proposal, jsonb_array_elements(document #> '{scorecards,default,factors}') f) x;
SELECT tap.ok(gain > 0.1 AND low > 0 AND verdict = 'proven', 'and gains much on origins that it has not seen', to_jsonb(f)::text) FROM chs.fit_figures f WHERE figure = 'auc';
CREATE TABLE public.row AS
SELECT r.origin, r.customer_id, r.leaves, r.score, a.kind, r.metric_scores, r.metric_values
FROM proposal p, chs.outcome_rows('churned', 28, 0, ARRAY(SELECT '2024-11-04'::date + 14 * k FROM generate_series(0, 4) k), p.document, ARRAY(SELECT customer_id FROM chs.customers), true) r
JOIN account a ON a.n = r.customer_id WHERE r.leaves IS NOT NULL AND r.score IS NOT NULL;
SELECT tap.ok(bool_and(CASE x.kind WHEN 'fading' THEN x.auc > 0.9 WHEN 'silent' THEN x.auc - 2.6 * x.error > 0.5
                           WHEN 'sudden' THEN x.auc - 2.6 * x.error < 0.5 AND x.auc + 2.6 * x.error > 0.5 END),
              'whoever fades or falls silent is foreseen, who leaves without warning is not', string_agg(format('%s %s +- %s', x.kind, x.auc, x.error), E'\n'))
FROM (SELECT k.kind, (chs.auc(array_agg(r.origin), array_agg(r.customer_id), array_agg(r.leaves), array_agg(r.score))).auc,
             (chs.auc(array_agg(r.origin), array_agg(r.customer_id), array_agg(r.leaves), array_agg(r.score))).standard_error AS error
      FROM (VALUES ('fading'), ('silent'), ('sudden')) k(kind) JOIN row r ON NOT r.leaves OR r.kind = k.kind GROUP BY k.kind) x;
SELECT tap.ok(x.other_auc + 0.05 < x.auc AND x.auc > 0.75, 'among accounts of different size the share of the usual tells more than the number', to_jsonb(x)::text)
FROM (SELECT (chs.auc(array_agg(origin), array_agg(customer_id), array_agg(leaves), array_agg(metric_scores[2]), array_agg(metric_scores[1]))).* FROM row WHERE metric_scores[2] IS NOT NULL) x;

-- What a dead band would save and cost, by going from day to day.
-- By the fitted weights, of a fifth of the accounts.
CREATE TABLE public.few AS SELECT array_agg(n ORDER BY n) AS customers FROM account WHERE n % 5 = 0;
CREATE TABLE public.day AS
SELECT r.* FROM proposal p, few, chs.outcome_rows('churned', 28, 0, ARRAY(SELECT '2024-08-01'::date + k FROM generate_series(0, 183) k), p.document, few.customers, false) r
WHERE r.score IS NOT NULL;
CREATE INDEX ON day (customer_id, left_on);
ANALYZE day;
CREATE FUNCTION public.calm(points integer, OUT changes double precision, OUT warned double precision) LANGUAGE plpgsql AS $$
DECLARE
    r       record;
    id      bigint;
    last    date;
    healthy boolean;  -- NULL: not yet outside of the band
    alive   boolean;
    now     text;
    was     text;
    n       integer := 0;
    years   integer := 0;
    leavers integer := 0;
    alarmed integer := 0;
BEGIN
    FOR r IN SELECT o.customer_id, o.origin, o.score, o.left_on FROM day o ORDER BY 1, 2 LOOP
        IF r.customer_id IS DISTINCT FROM id THEN
            healthy := NULL;
            alive := NULL;
        END IF;
        healthy := CASE WHEN r.score >= 75 + points THEN true WHEN r.score < 75 - points THEN false ELSE healthy END;
        alive := CASE WHEN r.score >= 50 + points THEN true WHEN r.score < 50 - points THEN false ELSE alive END;
        now := CASE WHEN COALESCE(healthy, r.score >= 75) THEN 'healthy' WHEN COALESCE(alive, r.score >= 50) THEN 'at_risk' ELSE 'critical' END;
        IF r.customer_id = id AND r.origin = last + 1 THEN
            years := years + 1;
            n := n + (now <> was)::integer;
        END IF;
        IF EXISTS (SELECT FROM day d WHERE d.customer_id = r.customer_id AND d.left_on = r.origin + 30 AND d.left_on <= '2025-01-31') THEN
            leavers := leavers + 1;
            alarmed := alarmed + (now <> 'healthy')::integer;
        END IF;
        id := r.customer_id;
        last := r.origin;
        was := now;
    END LOOP;
    changes := n * 365.25 / years;
    warned := alarmed / leavers::double precision;
END
$$;
SELECT * FROM tap.none($$SELECT c.*, n.* FROM proposal p, few, chs.backtest_calm('churned', 28, 0, '2024-08-01', '2025-01-31', p.document, few.customers, few.customers) c, calm(c.points) n
    WHERE abs(c.changes - n.changes) > 1e-9 OR abs(c.warned - n.warned) > 1e-9$$, 'a dead band saves and costs what it does from day to day');
SELECT tap.ok(count(*) = 6 AND max(changes) FILTER (WHERE points = 8) < max(changes) FILTER (WHERE points = 0) AND bool_and(warned BETWEEN 0 AND 1), 'and it saves changes', string_agg(c::text, E'\n'))
FROM proposal p, few, chs.backtest_calm('churned', 28, 0, '2024-08-01', '2025-01-31', p.document, few.customers, few.customers) c;

-- Where nothing can be found, nothing is: outcomes that are drawn by lot.
INSERT INTO chs.outcomes (customer_id, outcome, happened_at)
SELECT n, 'drawn', week_begins(16 + floor(44 * u(n, 9))::integer) FROM account WHERE leaves_in IS NULL AND u(n, 8) < 0.6;
SELECT tap.ok(chs_fit('drawn', 28, since => '2024-04-15', until => '2025-01-06', every => '14 days', test_from => '2024-11-01')
              = (SELECT document FROM chs.scorecard_versions WHERE live_at IS NOT NULL ORDER BY version DESC LIMIT 1), 'outcomes drawn by lot: today''s rules are kept');
SELECT tap.ok(bool_and(verdict = 'kept'), 'and it says so', string_agg(to_jsonb(f)::text, E'\n')) FROM chs.fit_figures f WHERE outcome = 'drawn' AND figure IN ('auc', 'left_out');
SELECT tap.plan();
