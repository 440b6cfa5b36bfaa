-- Fitting: rules that would have predicted better who leaves.

CREATE FUNCTION chs.fit_transition(internal, bigint, boolean, double precision, double precision[], double precision[],
        double precision[], double precision[], double precision[], double precision[], double precision[])
    RETURNS internal
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'chs_fit_transition';
CREATE FUNCTION chs.fit_final(internal) RETURNS jsonb
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'chs_fit_final';
COMMENT ON FUNCTION chs.fit_transition(internal, bigint, boolean, double precision, double precision[], double precision[],
        double precision[], double precision[], double precision[], double precision[], double precision[])
    IS 'internal: transition function of chs.fit_agg';
COMMENT ON FUNCTION chs.fit_final(internal) IS 'internal: final function of chs.fit_agg';

-- A row is a customer on a past day.  Of each metric: its score (NULL: none) and, for a penalty, its events.  The same in
-- every row: the factor of each metric (from 1 on), its coefficients (1, or the ramps of its curve; 0 for a penalty), what
-- a penalty takes off per event; today's share of each coefficient; and the ridges to choose from, largest first.
CREATE AGGREGATE chs.fit_agg(customer_id bigint, has_left boolean, today double precision, scores double precision[],
        events double precision[], factors double precision[], ramps double precision[], penalties double precision[],
        start double precision[], ridges double precision[]) (
    SFUNC = chs.fit_transition,
    STYPE = internal,
    FINALFUNC = chs.fit_final
);
COMMENT ON AGGREGATE chs.fit_agg(bigint, boolean, double precision, double precision[], double precision[],
        double precision[], double precision[], double precision[], double precision[], double precision[])
    IS 'internal: coefficients, none of them negative, by which scores of metrics predict who leaves; see src/score/fit.c';

CREATE TABLE chs.fits (
    fit          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    what         text NOT NULL,
    outcome      text NOT NULL,
    horizon      integer NOT NULL,
    gap          integer NOT NULL,
    scorecard    text NOT NULL,
    first_origin date NOT NULL,
    test_from    date NOT NULL,
    last_origin  date NOT NULL,
    customers    bigint NOT NULL,
    left_count   bigint NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    created_by   name NOT NULL DEFAULT current_user,
    today        jsonb NOT NULL,
    proposed     jsonb NOT NULL,
    details      jsonb,
    figures      jsonb NOT NULL
);
COMMENT ON TABLE chs.fits IS 'what chs_fit() proposed, and how it would do; delete what is no longer wanted';
COMMENT ON COLUMN chs.fits.fit IS 'its number';
COMMENT ON COLUMN chs.fits.what IS 'what was fitted: weights, curves or bounds';
COMMENT ON COLUMN chs.fits.outcome IS 'what was to be predicted';
COMMENT ON COLUMN chs.fits.horizon IS 'within how many days';
COMMENT ON COLUMN chs.fits.gap IS 'how many days ahead, at least';
COMMENT ON COLUMN chs.fits.scorecard IS 'the scorecard whose rules were fitted';
COMMENT ON COLUMN chs.fits.first_origin IS 'the first day as of which customers were scored, to learn from';
COMMENT ON COLUMN chs.fits.test_from IS 'the first of the days that the fit has not seen, nor anything that happened after them';
COMMENT ON COLUMN chs.fits.last_origin IS 'the last one';
COMMENT ON COLUMN chs.fits.customers IS 'how many customers it learned from';
COMMENT ON COLUMN chs.fits.left_count IS 'how many of them left';
COMMENT ON COLUMN chs.fits.created_at IS 'when it was made';
COMMENT ON COLUMN chs.fits.created_by IS 'who made it';
COMMENT ON COLUMN chs.fits.today IS 'the document that it began with';
COMMENT ON COLUMN chs.fits.proposed IS 'the document that it returned';
COMMENT ON COLUMN chs.fits.details IS 'of weights and curves: the coefficients, and the ridges that were tried, each with its gain of log loss on customers left out and the standard error of that';
COMMENT ON COLUMN chs.fits.figures IS 'what the view chs.fit_figures shows';
COMMENT ON SEQUENCE chs.fits_fit_seq IS 'numbers chs.fits';

CREATE VIEW chs.fit_figures WITH (security_invoker) AS
SELECT f.fit, f.what, f.outcome, x.figure, x.today, x.proposed, x.gain, x.low, x.high, x.verdict
FROM chs.fits f
CROSS JOIN LATERAL jsonb_to_recordset(f.figures)
    x(figure text, today double precision, proposed double precision, gain double precision, low double precision, high double precision, verdict text);
COMMENT ON VIEW chs.fit_figures IS 'today''s rules and those that chs_fit() proposed, side by side, on origins that the fit has not seen';
COMMENT ON COLUMN chs.fit_figures.fit IS 'the number of the row in chs.fits';
COMMENT ON COLUMN chs.fit_figures.what IS 'what was fitted';
COMMENT ON COLUMN chs.fit_figures.outcome IS 'what was to be predicted';
COMMENT ON COLUMN chs.fit_figures.figure IS 'auc: how well the score tells who leaves; capture: the share of those who leave among the tenth of the lowest scores; without_score: the share of rows whose score is unknown; healthy_rate, critical_rate: how many of those with that status leave; critical_share: how many have it; left_out: log loss on customers left out of the fit, on the days it learned from';
COMMENT ON COLUMN chs.fit_figures.today IS 'by today''s rules';
COMMENT ON COLUMN chs.fit_figures.proposed IS 'by those that are proposed';
COMMENT ON COLUMN chs.fit_figures.gain IS 'proposed less today; of a loss, the other way round';
COMMENT ON COLUMN chs.fit_figures.low IS 'the gain is from here, by its 95 % interval, paired, by customer';
COMMENT ON COLUMN chs.fit_figures.high IS 'to here';
COMMENT ON COLUMN chs.fit_figures.verdict IS 'proven, not proven, or worse; kept: today''s rules are the proposal, because customers left out were not predicted better by a standard error';

-- Shares of 1, in hundredths that sum to 1: the largest remainders are rounded up.
CREATE FUNCTION chs.hundredths(shares double precision[]) RETURNS numeric[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT array_agg(trim_scale((h.floor + (h.rank <= 100 - h.given)::integer)::numeric / 100) ORDER BY h.n)
    FROM (SELECT p.n, p.floor, sum(p.floor) OVER () AS given, row_number() OVER (ORDER BY p.rest DESC, p.n) AS rank
          FROM (SELECT u.n, floor(s.share) AS floor, s.share - floor(s.share) AS rest
                FROM unnest($1) WITH ORDINALITY u(share, n)
                CROSS JOIN LATERAL (SELECT round((100 * u.share / (SELECT nullif(sum(v), 0) FROM unnest($1) v))::numeric, 9) AS share) s) p) h;
END;
COMMENT ON FUNCTION chs.hundredths(double precision[]) IS 'internal: numbers as shares of their sum, in hundredths that sum to 1';

-- The metrics of a scorecard in the order of metric_scores, and which of them can have another curve: one that has two
-- knots, rises or falls, and gives no fixed score to those without data.
CREATE FUNCTION chs.fit_metrics(document jsonb, scorecard text,
        OUT n integer, OUT factor integer, OUT place integer, OUT weight double precision, OUT penalty double precision,
        OUT curve text, OUT rises boolean, OUT bends boolean, OUT targets jsonb)
    RETURNS SETOF record
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE ROWS 20
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT (row_number() OVER (ORDER BY f.n, m.n))::integer, f.n::integer, m.n::integer,
           -- today's share of the score; of a factor without weight, none
           COALESCE((f.value ->> 'weight')::double precision / nullif(sum((f.value ->> 'weight')::double precision) FILTER (WHERE m.n = 1) OVER (), 0)
                    * (m.value ->> 'weight')::double precision / nullif(sum((m.value ->> 'weight')::double precision) OVER (PARTITION BY f.n), 0), 0),
           COALESCE((m.value ->> 'penalty')::double precision, 0), m.value ->> 'curve', c.rises,
           COALESCE(m.value ->> 'missing' <> 'score' AND (c.rises OR c.falls) AND c.rises <> c.falls, false),
           jsonb_build_object('by_segment', COALESCE(m.value -> 'targets', '{}'), 'other', m.value -> 'target')
    FROM jsonb_array_elements($1 -> 'scorecards' -> $2 -> 'factors') WITH ORDINALITY f(value, n)
    CROSS JOIN LATERAL jsonb_array_elements(f.value -> 'metrics') WITH ORDINALITY m(value, n)
    CROSS JOIN LATERAL (
        SELECT COALESCE(bool_and(p.step >= 0), false) AS rises, COALESCE(bool_and(p.step <= 0), false) AS falls
        FROM (SELECT split_part(k.point, ':', 2)::double precision - lag(split_part(k.point, ':', 2)::double precision) OVER (ORDER BY k.n) AS step
              FROM regexp_split_to_table(btrim(m.value ->> 'curve'), '\s+') WITH ORDINALITY k(point, n)) p WHERE p.step IS NOT NULL) c;
END;
COMMENT ON FUNCTION chs.fit_metrics(jsonb, text) IS 'internal: the metrics of a scorecard as a fit sees them';

-- A document whose scorecard has other weights, and other curves, by the metrics of chs.fit_metrics.  Factors that
-- get no weight keep those of their metrics.
CREATE FUNCTION chs.with_rules(document jsonb, scorecard text, weights double precision[], curves text[]) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH metric AS (
        SELECT m.factor, m.place, m.penalty > 0 AS is_penalty, ($3)[m.n] AS weight, ($4)[m.n] AS curve
        FROM chs.fit_metrics($1, $2) m
    ), factor AS (
        SELECT g.factor, (chs.hundredths(array_agg(COALESCE(g.weight, 0)) OVER (ORDER BY g.factor ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)))[
                   row_number() OVER (ORDER BY g.factor)] AS weight
        FROM (SELECT m.factor, sum(m.weight) AS weight FROM metric m GROUP BY m.factor) g
    ), within AS (
        SELECT m.factor, m.place, m.curve,
               CASE WHEN NOT m.is_penalty AND sum(m.weight) OVER (PARTITION BY m.factor) > 0 THEN (chs.hundredths(
                   array_agg(COALESCE(m.weight, 0)) OVER (PARTITION BY m.factor ORDER BY m.place ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)))[m.place] END AS weight
        FROM metric m
    )
    SELECT jsonb_set($1, ARRAY['scorecards', $2, 'factors'], (
        SELECT jsonb_agg(f.value
                         || CASE WHEN $3 IS NOT NULL AND g.weight IS NOT NULL THEN jsonb_build_object('weight', g.weight) ELSE '{}' END
                         || jsonb_build_object('metrics', (
                             SELECT COALESCE(jsonb_agg(m.value || jsonb_strip_nulls(jsonb_build_object('weight', CASE WHEN $3 IS NOT NULL THEN w.weight END, 'curve', w.curve)) ORDER BY m.n), '[]')
                             FROM jsonb_array_elements(f.value -> 'metrics') WITH ORDINALITY m(value, n)
                             LEFT JOIN within w ON w.factor = f.n AND w.place = m.n)) ORDER BY f.n)
        FROM jsonb_array_elements($1 -> 'scorecards' -> $2 -> 'factors') WITH ORDINALITY f(value, n)
        LEFT JOIN factor g ON g.factor = f.n));
END;
COMMENT ON FUNCTION chs.with_rules(jsonb, text, double precision[], text[]) IS 'internal: a document with other weights, to the hundredth, and other curves, where these are not NULL';

-- A curve through points that ascend, without those within a level part.
CREATE FUNCTION chs.curve_of(knots numeric[], scores double precision[]) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT string_agg(trim_scale(k.knot)::text || ':' || k.score::text, ' ' ORDER BY k.n)
    FROM (SELECT p.n, p.knot, p.score, lag(p.score, 1, p.score) OVER (ORDER BY p.n) <> p.score OR lead(p.score, 1, p.score) OVER (ORDER BY p.n) <> p.score AS bends
          FROM unnest($1, $2) WITH ORDINALITY p(knot, score, n)) k
    WHERE k.bends;
END;
COMMENT ON FUNCTION chs.curve_of(numeric[], double precision[]) IS 'internal: the text of a curve';

-- Two significant digits, so that people can read a curve.
CREATE FUNCTION chs.two_digits(value double precision) RETURNS numeric
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN value = 0 THEN 0 ELSE round(value::numeric, 1 - floor(log(abs(value)))::integer) END;
COMMENT ON FUNCTION chs.two_digits(double precision) IS 'internal: a number rounded to two significant digits';

-- Knots for the curve of each metric that can have another one: quantiles of what customers had, as value or value/target.
CREATE FUNCTION chs.fit_knots(document jsonb, scorecard text, outcome text, horizon integer, gap integer, days date[], customers bigint[],
        OUT n integer, OUT knots numeric[])
    RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 20
    SET search_path = pg_catalog, pg_temp SET jit = off
BEGIN ATOMIC
    WITH x AS (
        SELECT m.n, v.value / CASE WHEN m.targets = '{"other": null, "by_segment": {}}' THEN 1
                                   ELSE COALESCE((m.targets -> 'by_segment' ->> r.segment)::double precision, (m.targets ->> 'other')::double precision) END AS value
        FROM chs.outcome_rows($3, $4, $5, $6, $1, chs.some_customers($7, 2000), true) r
        CROSS JOIN chs.fit_metrics($1, $2) m
        CROSS JOIN LATERAL (SELECT r.metric_values[m.n] AS value) v
        WHERE m.bends AND m.penalty = 0
    ), quantile AS (
        SELECT x.n, percentile_disc('{0,0.15,0.3,0.45,0.6,0.75,0.85,0.92,0.97,0.99}'::double precision[]) WITHIN GROUP (ORDER BY x.value) AS quantiles
        FROM x WHERE x.value IS NOT NULL GROUP BY x.n
    )
    SELECT q.n, k.knots
    FROM quantile q
    CROSS JOIN LATERAL (SELECT array_agg(DISTINCT chs.two_digits(u) ORDER BY chs.two_digits(u)) AS knots FROM unnest(q.quantiles) u) k
    WHERE cardinality(k.knots) > 1;
END;
COMMENT ON FUNCTION chs.fit_knots(jsonb, text, text, integer, integer, date[], bigint[])
    IS 'internal: knots for the curves of a scorecard: rounded quantiles of what customers at risk had on some days';

-- Weights, or weights and curves.
CREATE FUNCTION chs.fit_rules(what text, outcome text, horizon integer, gap integer, days date[], customers bigint[], document jsonb, scorecard text,
        OUT fitted jsonb, OUT proposed jsonb)
    RETURNS record
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET jit = off AS $$
#variable_conflict use_column
DECLARE
    ridges  CONSTANT double precision[] := '{1,0.1,0.03,0.01,0.003,0.001}';
    measure jsonb := document;  -- scores by curves that rise evenly from knot to knot
    factors double precision[];
    ramps   double precision[];
    penalties double precision[];
    start   double precision[];
    knots   jsonb := '{}';
    weights double precision[];
    curves  text[];
    steps   double precision[];
    at      integer := 0;
    m       record;
    k       numeric[];
BEGIN
    IF what = 'curves' THEN
        SELECT COALESCE(jsonb_object_agg(q.n, q.knots), '{}') INTO knots FROM chs.fit_knots(document, scorecard, outcome, horizon, gap, days, customers) q;
    END IF;
    FOR m IN SELECT * FROM chs.fit_metrics(document, scorecard) ORDER BY n LOOP
        k := ARRAY(SELECT u::numeric FROM jsonb_array_elements_text(knots -> m.n::text) u);
        factors := factors || m.factor::double precision;
        penalties := penalties || m.penalty;
        ramps := ramps || CASE WHEN m.penalty > 0 THEN 0 ELSE greatest(cardinality(k) - 1, 1) END::double precision;
        curves := curves || CASE WHEN cardinality(k) > 1 THEN chs.curve_of(k, ARRAY(
            SELECT 100 * (CASE WHEN m.rises THEN i ELSE cardinality(k) - 1 - i END)::double precision / (cardinality(k) - 1) FROM generate_series(0, cardinality(k) - 1) i)) END;
        -- what today's curve adds from knot to knot, from the worst on
        start := start || CASE WHEN m.penalty > 0 THEN '{}'::double precision[] WHEN cardinality(k) < 2 THEN ARRAY[m.weight]
            ELSE ARRAY(SELECT m.weight * abs(chs.curve(m.curve, k[i + 1]::double precision) - chs.curve(m.curve, k[i]::double precision)) / 100
                       FROM generate_series(1, cardinality(k) - 1) i ORDER BY CASE WHEN m.rises THEN i ELSE -i END) END;
    END LOOP;
    IF knots = '{}' THEN
        SELECT chs.fit_agg(r.customer_id, r.leaves, r.score, r.metric_scores, r.metric_values, factors, ramps, penalties, start, ridges)
        INTO fitted FROM chs.outcome_rows(outcome, horizon, gap, days, document, customers, true) r;
    ELSE
        measure := chs.with_rules(document, scorecard, NULL, curves);
        SELECT chs.fit_agg(r.customer_id, r.leaves, r.score, s.metric_scores, s.metric_values, factors, ramps, penalties, start, ridges)
        INTO fitted
        FROM chs.outcome_rows(outcome, horizon, gap, days, document, customers, false) r
        JOIN chs.outcome_rows(outcome, horizon, gap, days, measure, customers, true) s USING (origin, customer_id);
    END IF;
    proposed := document;
    IF NOT COALESCE((fitted ->> 'proven')::boolean, false) THEN
        RETURN;
    END IF;
    curves := NULL;
    FOR m IN SELECT * FROM chs.fit_metrics(document, scorecard) ORDER BY n LOOP
        steps := ARRAY(SELECT (fitted -> 'coefficients' ->> (at + i))::double precision FROM generate_series(0, ramps[m.n]::integer - 1) i);
        at := at + ramps[m.n]::integer;
        weights := weights || (SELECT COALESCE(sum(s), 0) FROM unnest(steps) s);
        k := ARRAY(SELECT u::numeric FROM jsonb_array_elements_text(knots -> m.n::text) u);
        curves := curves || CASE WHEN cardinality(k) > 1 AND weights[m.n] > 0 THEN chs.curve_of(k, ARRAY(
            SELECT round(100 * (SELECT COALESCE(sum(steps[j]), 0) FROM generate_series(1, i) j) / weights[m.n])
            FROM generate_series(0, cardinality(k) - 1) i ORDER BY CASE WHEN m.rises THEN i ELSE -i END)) END;
    END LOOP;
    IF (SELECT sum(w) FROM unnest(weights) w) > 0 THEN
        proposed := chs.with_rules(document, scorecard, weights, curves);
    END IF;
END
$$;
COMMENT ON FUNCTION chs.fit_rules(text, text, integer, integer, date[], bigint[], jsonb, text)
    IS 'internal: what chs.fit_agg finds, and a document with the weights, and curves, that follow from it';

-- Where the scores that there are should be called healthy, and critical, in whole points.
CREATE FUNCTION chs.fit_bounds(outcome text, horizon integer, gap integer, days date[], customers bigint[], document jsonb, scorecard text, callable double precision)
    RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET jit = off
BEGIN ATOMIC
    WITH counted AS (
        SELECT floor(r.score) AS points, count(*) AS rows, count(*) FILTER (WHERE r.leaves) AS leaving
        FROM chs.outcome_rows($1, $2, $3, $4, $6, $5, false) r WHERE r.leaves IS NOT NULL AND r.score IS NOT NULL GROUP BY floor(r.score)
    ), bound AS (
        SELECT b.points, sum(c.rows) FILTER (WHERE c.points >= b.points) AS above, sum(c.leaving) FILTER (WHERE c.points >= b.points) AS leaving,
               COALESCE(sum(c.rows) FILTER (WHERE c.points < b.points), 0) / sum(c.rows) AS share_below, sum(c.leaving) / sum(c.rows) AS base_rate
        FROM generate_series(0, 100) b(points) CROSS JOIN counted c GROUP BY b.points
    ), fitted AS (
        SELECT (SELECT max(b.points) FROM bound b WHERE b.share_below <= $8) AS at_risk_from,
               COALESCE((SELECT min(b.points) FROM bound b WHERE b.above > 0 AND b.leaving <= b.above * b.base_rate / 2),
                        ($6 #>> ARRAY['scorecards', $7, 'healthy_from'])::double precision) AS healthy_from
    )
    SELECT jsonb_set($6, ARRAY['scorecards', $7], ($6 #> ARRAY['scorecards', $7]) || jsonb_build_object(
        'healthy_from', greatest(f.healthy_from, f.at_risk_from), 'at_risk_from', f.at_risk_from)) FROM fitted f;
END;
COMMENT ON FUNCTION chs.fit_bounds(text, integer, integer, date[], bigint[], jsonb, text, double precision)
    IS 'internal: a document with healthy_from the lowest score above which at most half as many leave as on the whole, and at_risk_from so high that no more than a share of the customers is critical';

-- Both documents on the origins that the fit has not seen.
CREATE FUNCTION chs.fit_compare(outcome text, horizon integer, gap integer, days date[], customers bigint[], today jsonb, proposed jsonb, kept boolean)
    RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    figures jsonb;
BEGIN
    WITH r AS MATERIALIZED (
        SELECT t.origin, t.customer_id, t.leaves, t.score AS today, p.score AS proposed, t.status AS today_status, p.status AS proposed_status
        FROM chs.outcome_rows(outcome, horizon, gap, days, fit_compare.today, customers, false) t
        JOIN chs.outcome_rows(outcome, horizon, gap, days, fit_compare.proposed, customers, false) p USING (origin, customer_id)
        WHERE t.leaves IS NOT NULL
    ), a AS (
        SELECT x.* FROM (SELECT array_agg(r.origin) AS origins, array_agg(r.customer_id) AS customers, array_agg(r.leaves) AS leaves,
                                array_agg(r.proposed) AS proposed, array_agg(r.today) AS today
                         FROM r WHERE r.today IS NOT NULL AND r.proposed IS NOT NULL) v
        CROSS JOIN LATERAL chs.auc(v.origins, v.customers, v.leaves, v.proposed, v.today) x
    ), f(n, figure, today, proposed, error) AS (
        SELECT 1, 'auc', a.other_auc, a.auc, a.difference_error FROM a
        UNION ALL
        SELECT 2, 'capture', avg(l.today), avg(l.proposed), NULL
        FROM (SELECT (percent_rank() OVER (PARTITION BY r.origin ORDER BY r.today) < 0.1)::integer AS today,
                     (percent_rank() OVER (PARTITION BY r.origin ORDER BY r.proposed) < 0.1)::integer AS proposed, r.leaves
              FROM r WHERE r.today IS NOT NULL AND r.proposed IS NOT NULL) l WHERE l.leaves
        UNION ALL
        SELECT 3, 'without_score', avg((r.today IS NULL)::integer), avg((r.proposed IS NULL)::integer), NULL FROM r
        UNION ALL
        SELECT 4, 'healthy_rate', avg(r.leaves::integer) FILTER (WHERE r.today_status = 'healthy'), avg(r.leaves::integer) FILTER (WHERE r.proposed_status = 'healthy'), NULL FROM r
        UNION ALL
        SELECT 5, 'critical_rate', avg(r.leaves::integer) FILTER (WHERE r.today_status = 'critical'), avg(r.leaves::integer) FILTER (WHERE r.proposed_status = 'critical'), NULL FROM r
        UNION ALL
        SELECT 6, 'critical_share', avg((r.today_status = 'critical')::integer), avg((r.proposed_status = 'critical')::integer), NULL FROM r
    )
    SELECT jsonb_agg(jsonb_build_object('figure', f.figure, 'today', f.today, 'proposed', f.proposed, 'gain', g.gain,
                                        'low', g.gain - 1.959963984540054 * f.error, 'high', g.gain + 1.959963984540054 * f.error,
                                        'verdict', CASE WHEN f.figure <> 'auc' OR f.error = 0 AND NOT kept THEN NULL WHEN kept THEN 'kept' WHEN g.gain - 1.959963984540054 * f.error > 0 THEN 'proven'
                                                        WHEN g.gain + 1.959963984540054 * f.error < 0 THEN 'worse' ELSE 'not proven' END) ORDER BY f.n)
    INTO figures FROM f CROSS JOIN LATERAL (SELECT f.proposed - f.today AS gain) g;
    RETURN figures;
END
$$;
COMMENT ON FUNCTION chs.fit_compare(text, integer, integer, date[], bigint[], jsonb, jsonb, boolean)
    IS 'internal: figures of today''s rules and of those proposed, on the same rows';

CREATE FUNCTION @extschema@.chs_fit(outcome text DEFAULT 'churned', horizon integer DEFAULT 90, gap integer DEFAULT 0, since date DEFAULT NULL, until date DEFAULT NULL,
        every interval DEFAULT '1 month', what text DEFAULT 'weights', test_from date DEFAULT NULL, document jsonb DEFAULT NULL,
        sample double precision DEFAULT NULL, callable double precision DEFAULT 0.15)
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET jit = off AS $$
#variable_conflict use_variable
DECLARE
    today     jsonb := COALESCE(document, (SELECT v.document FROM chs.scorecard_versions v WHERE v.live_at IS NOT NULL ORDER BY v.version DESC LIMIT 1));
    scorecard text := today ->> 'default';
    customers bigint[];
    origins   date[];
    learn     date[];
    test      date[];
    learned   bigint;
    left_count bigint;
    fitted     jsonb;
    proposed  jsonb;
    figures   jsonb;
    r         record;
    known_as  text := current_setting('application_name');
BEGIN
    IF what IS NULL OR what NOT IN ('weights', 'curves', 'bounds') THEN
        RAISE EXCEPTION '"what" must be weights, curves or bounds: %', what USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF callable IS NULL OR NOT (callable > 0 AND callable < 1) THEN
        RAISE EXCEPTION '"callable" must be a share of the customers, between 0 and 1: %', callable
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Of how many can the team take care?  0.15 is 15 of 100.';
    END IF;
    -- who is scored by the default scorecard, with its weights
    SELECT COALESCE(array_agg(c.customer_id ORDER BY c.customer_id), '{}') INTO customers
    FROM unnest(chs.backtest_customers(NULL, sample)) u(customer_id) JOIN chs.customers c USING (customer_id)
    WHERE COALESCE(today -> 'segments' -> c.segment ->> 'scorecard', scorecard) = scorecard
      AND NOT jsonb_path_exists(today -> 'scorecards' -> scorecard, '$.factors[*].**.weights.keyvalue() ? (@.key == $segment)', jsonb_build_object('segment', c.segment));
    SELECT o.origins INTO origins FROM chs.backtest_origins(outcome, horizon, gap, since, until, every, today, customers) o;
    test_from := COALESCE(test_from, origins[cardinality(origins) - greatest(1, cardinality(origins) / 4) + 1]);
    test := ARRAY(SELECT d FROM unnest(origins) d WHERE d >= test_from ORDER BY d);
    -- only what was known on the first day of the test
    learn := ARRAY(SELECT d FROM unnest(origins) d WHERE d + gap + horizon < test_from ORDER BY d);
    IF cardinality(learn) = 0 OR cardinality(test) = 0 THEN
        RAISE EXCEPTION 'there are no origins to learn from, or none to judge by'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = format('There are origins from %s to %s; it learns from those whose outcomes were known before %s, and is judged by those from then on.',
                                  origins[1], origins[cardinality(origins)], test_from),
                  HINT = 'A shorter horizon, an earlier "since" or another "test_from" may do.';
    END IF;
    PERFORM set_config('application_name'::text, format('chs_fit: scores of %s customers', cardinality(customers)), true);
    SELECT count(DISTINCT o.customer_id), count(DISTINCT o.customer_id) FILTER (WHERE o.leaves) INTO learned, left_count
    FROM chs.outcome_rows(outcome, horizon, gap, learn, today, customers, false) o WHERE o.leaves IS NOT NULL AND o.score IS NOT NULL;
    IF left_count < 50 OR learned = left_count THEN
        RAISE EXCEPTION 'only % of % customers left: too few to learn from', left_count, learned
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = CASE WHEN learned = left_count THEN 'Somebody must have stayed.' ELSE 'At least 50 are needed. Earlier origins, or a longer horizon, may have more.' END;
    END IF;
    IF what = 'curves' AND learned < 500 OR what = 'bounds' AND learned < 200 THEN
        RAISE EXCEPTION '% customers are too few to fit %', learned, what
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Bounds can be fitted from 200 customers on, curves from 500; weights from 50 who left.';
    END IF;

    PERFORM set_config('application_name'::text, format('chs_fit: %s of %s customers', what, learned), true);
    IF what = 'bounds' THEN
        proposed := chs.fit_bounds(outcome, horizon, gap, learn, customers, today, scorecard, callable);
    ELSE
        SELECT f.fitted, f.proposed INTO fitted, proposed FROM chs.fit_rules(what, outcome, horizon, gap, learn, customers, today, scorecard) f;
    END IF;
    PERFORM set_config('application_name'::text, 'chs_fit: figures'::text, true);
    figures := chs.fit_compare(outcome, horizon, gap, test, customers, today, proposed, proposed = today);
    IF fitted IS NOT NULL THEN
        figures := figures || jsonb_build_object('figure', 'left_out', 'today', fitted -> 'loss_of_today', 'proposed', fitted -> 'loss', 'gain', fitted -> 'gain',
            'low', (fitted ->> 'gain')::double precision - 1.959963984540054 * (fitted ->> 'error')::double precision,
            'high', (fitted ->> 'gain')::double precision + 1.959963984540054 * (fitted ->> 'error')::double precision,
            'verdict', CASE WHEN (fitted ->> 'proven')::boolean THEN 'better by a standard error' ELSE 'kept' END);
    END IF;
    INSERT INTO chs.fits (what, outcome, horizon, gap, scorecard, first_origin, test_from, last_origin, customers, left_count, today, proposed, details, figures)
    VALUES (what, outcome, horizon, gap, scorecard, learn[1], test_from, test[cardinality(test)], learned, left_count, today, proposed, fitted, figures);
    SELECT x.* INTO r FROM jsonb_to_recordset(figures) x(figure text, today double precision, proposed double precision, gain double precision, low double precision, high double precision, verdict text)
    WHERE x.figure = CASE what WHEN 'bounds' THEN 'healthy_rate' ELSE 'auc' END;
    RAISE NOTICE '%', CASE what
            WHEN 'bounds' THEN format('bounds of %s: of the healthy %s %% leave on origins that the fit has not seen, instead of %s %%', scorecard,
                                      round((100 * r.proposed)::numeric, 1), round((100 * r.today)::numeric, 1))
            ELSE format('%s of %s: AUC %s instead of %s (%s%s [%s %s]) on origins that the fit has not seen: %s', what, scorecard, round(r.proposed::numeric, 4), round(r.today::numeric, 4),
                        CASE WHEN r.gain >= 0 THEN '+' END, round(r.gain::numeric, 4), round(r.low::numeric, 4), round(r.high::numeric, 4), r.verdict) END
        USING DETAIL = format('It learned from %s customers, of whom %s left.', learned, left_count), HINT = 'chs.fit_figures shows both side by side.';
    PERFORM set_config('application_name'::text, known_as, true);
    RETURN proposed;
END
$$;
COMMENT ON FUNCTION @extschema@.chs_fit(text, integer, integer, date, date, interval, text, date, jsonb, double precision, double precision)
    IS 'proposes weights, weights and curves, or bounds of the default scorecard that tell better who will have an outcome: a document for chs_scorecard_import(), chs_simulate() or another fit; stores the proposal, with what it gains on origins that the fit has not seen, in chs.fits; changes no rules';
REVOKE EXECUTE ON FUNCTION @extschema@.chs_fit(text, integer, integer, date, date, interval, text, date, jsonb, double precision, double precision) FROM PUBLIC;
