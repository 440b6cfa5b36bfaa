-- Back-test: does the score predict?  Everybody is scored as of many days, and compared with what happened then
-- (chs.outcome_rows); doc/prediction.md says how to read the report, and how each figure is defined.

CREATE TABLE chs.backtests (
    backtest     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    outcome      text NOT NULL,
    horizon      integer NOT NULL,
    gap          integer NOT NULL,
    first_origin date NOT NULL,
    last_origin  date NOT NULL,
    every        interval NOT NULL,
    segment      text,
    sample       double precision,
    min_age      integer NOT NULL,
    version      integer,
    document     jsonb NOT NULL,
    customers    bigint NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    created_by   name NOT NULL DEFAULT current_user,
    report       jsonb NOT NULL
);
COMMENT ON TABLE chs.backtests IS 'reports of chs_backtest(); delete what is no longer wanted';
COMMENT ON COLUMN chs.backtests.backtest IS 'the number of the report';
COMMENT ON COLUMN chs.backtests.outcome IS 'what was to be predicted';
COMMENT ON COLUMN chs.backtests.horizon IS 'within how many days';
COMMENT ON COLUMN chs.backtests.gap IS 'how many days ahead, at least';
COMMENT ON COLUMN chs.backtests.first_origin IS 'the first day as of which customers were scored';
COMMENT ON COLUMN chs.backtests.last_origin IS 'the last one';
COMMENT ON COLUMN chs.backtests.every IS 'how far apart these days are';
COMMENT ON COLUMN chs.backtests.segment IS 'only customers of this segment; NULL: all';
COMMENT ON COLUMN chs.backtests.sample IS 'only so many customers, or a fraction of them; NULL: all';
COMMENT ON COLUMN chs.backtests.min_age IS 'only customers who had been there for so many days at an origin';
COMMENT ON COLUMN chs.backtests.version IS 'the version of the rules; NULL: a document that was given';
COMMENT ON COLUMN chs.backtests.document IS 'the rules';
COMMENT ON COLUMN chs.backtests.customers IS 'how many customers were looked at: those whom its author saw';
COMMENT ON COLUMN chs.backtests.created_at IS 'when it was made';
COMMENT ON COLUMN chs.backtests.created_by IS 'who made it';
COMMENT ON COLUMN chs.backtests.report IS 'what the views chs.backtest_figures, _origins, _bands, _statuses and _metrics show';
COMMENT ON SEQUENCE chs.backtests_backtest_seq IS 'numbers chs.backtests';

-- A number of customers, by hash, to look at more closely what would take too long for all.
CREATE FUNCTION chs.some_customers(customers bigint[], n integer) RETURNS bigint[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT COALESCE(array_agg(s.customer_id ORDER BY s.customer_id), '{}')
    FROM (SELECT c.customer_id FROM unnest($1) c(customer_id) ORDER BY hashint8extended(c.customer_id, 1), c.customer_id LIMIT $2) s;
END;
COMMENT ON FUNCTION chs.some_customers(bigint[], integer) IS 'internal: so many of the customers, the same ones each time';

CREATE FUNCTION chs.late_events(customers bigint[], from_day date, to_day date, OUT events bigint, OUT late bigint)
    RETURNS record
    LANGUAGE c STABLE PARALLEL UNSAFE COST 10000 AS 'MODULE_PATHNAME', 'chs_late_events';
COMMENT ON FUNCTION chs.late_events(bigint[], date, date)
    IS 'internal: how many rows of chs.customer_events the customers have between two days, both included, and how many of these were recorded more than a day late';
REVOKE EXECUTE ON FUNCTION chs.late_events(bigint[], date, date) FROM PUBLIC;

-- The customers to be judged: those whom the caller sees.
CREATE FUNCTION chs.backtest_customers(segment text, sample double precision) RETURNS bigint[]
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF segment IS NOT NULL AND NOT EXISTS (SELECT FROM chs.segments s WHERE s.segment = backtest_customers.segment) THEN
        RAISE EXCEPTION 'segment "%" does not exist', segment
            USING ERRCODE = 'undefined_object', HINT = format('There are: %s.', (SELECT string_agg(s.segment, ', ' ORDER BY s.segment) FROM chs.segments s));
    END IF;
    RETURN (SELECT COALESCE(array_agg(c.customer_id ORDER BY c.customer_id), '{}') FROM chs.customers c
            WHERE (backtest_customers.segment IS NULL OR c.segment = backtest_customers.segment)
              AND (sample IS NULL OR c.customer_id IN (SELECT s FROM chs.sample_customers(sample) s)));
END
$$;
COMMENT ON FUNCTION chs.backtest_customers(text, double precision) IS 'internal: the customers of a segment, if one is named, or of a sample, ascending';

-- The days as of which customers are scored, the last one with a window that is over.  What is known ends with the last
-- day on which any of a thousand customers had an event, or with the last outcome, and with yesterday: nobody who was
-- silent after the data end has left.  By default the origins begin where the longest window can be full, and
-- are at most 24.
CREATE FUNCTION chs.backtest_origins(outcome text, horizon integer, gap integer, since date, until date, every interval, document jsonb,
        customers bigint[], OUT origins date[], OUT known_from date, OUT known_to date)
    RETURNS record
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    today   date := (now() AT TIME ZONE 'UTC')::date;
    kept    date := (SELECT r.kept_from FROM chs.retention r WHERE r.kind = 'events');
    needed  date;
    longest integer := (SELECT max((w #>> '{}')::numeric)::integer FROM jsonb_path_query(document, '$.scorecards.*.factors[*].metrics[*].window_days') w);
    last    date;
    first   date;
BEGIN
    IF horizon IS NULL OR horizon NOT BETWEEN 1 AND 3650 THEN
        RAISE EXCEPTION '"horizon" must be from 1 to 3650 days: %', horizon USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF gap IS NULL OR gap NOT BETWEEN 0 AND 3650 THEN
        RAISE EXCEPTION '"gap" must be from 0 to 3650 days: %', gap USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF every IS NULL OR every < interval '1 day' OR every > interval '10 years' THEN
        RAISE EXCEPTION '"every" must be from a day to ten years: %', every USING ERRCODE = 'invalid_parameter_value', HINT = 'For example ''1 month'' or ''14 days''.';
    END IF;
    IF NOT COALESCE(isfinite(since), true) OR NOT COALESCE(isfinite(until), true) OR since > until THEN
        RAISE EXCEPTION '"since" (%) must not be after "until" (%), and both be finite', since, until USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM chs.check_outcome(outcome);
    SELECT min(e.days[1]), max(e.days[cardinality(e.days)]) INTO known_from, known_to
    FROM chs.event_days(chs.counting_document(ARRAY(SELECT t.event_type FROM chs.event_types t)),
                        chs.some_customers(customers, 1000), '0001-01-01'::date, (today - 1)::date) e;
    IF known_from IS NULL THEN
        RAISE EXCEPTION 'there are no events of these customers'
            USING ERRCODE = 'no_data_found', HINT = 'A back-test needs a past: load it, each event with its own occurred_at.';
    END IF;
    IF outcome NOT LIKE 'no:%' THEN
        known_to := least(today - 1, greatest(known_to,
            (SELECT max((o.happened_at AT TIME ZONE 'UTC')::date) FROM chs.outcomes o WHERE o.outcome = backtest_origins.outcome AND o.happened_at < now()),
            (SELECT max((c.churned_at AT TIME ZONE 'UTC')::date) FROM chs.customers c WHERE backtest_origins.outcome = 'churned' AND c.churned_at < now())));
    END IF;
    needed := kept + chs.document_reach(document) - 1;
    IF since < needed THEN
        RAISE EXCEPTION 'scores as of % need events that have been deleted', since
            USING ERRCODE = 'object_not_in_prerequisite_state', DETAIL = format('Events of days before %s have been deleted.', kept),
                  HINT = format('The first possible day is %s.', needed);
    END IF;
    last := least(COALESCE(until, known_to), known_to - gap - horizon);
    first := since;
    IF first IS NULL THEN
        first := greatest(needed, known_from + longest - 1);
        -- a past that is shorter than the longest window
        IF first > (last - 3 * every)::date THEN
            first := greatest(needed, known_from + horizon);
        END IF;
        first := greatest(first, (last - 23 * every)::date);
    END IF;
    IF first > last THEN
        RAISE EXCEPTION 'no origin has an outcome window that is over'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = format('Events are known up to %s, and outcomes are looked for in %s days%s after each origin.', known_to, horizon,
                                  CASE WHEN gap > 0 THEN format(' that begin %s days', gap) ELSE '' END),
                  HINT = format('The first window that is asked for will be over on %s. A shorter horizon needs less of a past.', first + gap + horizon + 1);
    END IF;
    IF (last - 1000 * every)::date > first THEN
        RAISE EXCEPTION 'more than 1000 origins, one every %, from % to %', every, first, last USING ERRCODE = 'program_limit_exceeded', HINT = 'Set "since" to a later day, or "every" to more.';
    END IF;
    origins := ARRAY(SELECT o.day FROM (SELECT (last - k * every)::date AS day FROM generate_series(0, 1000) k) o WHERE o.day >= first ORDER BY o.day);
END
$$;
COMMENT ON FUNCTION chs.backtest_origins(text, integer, integer, date, date, interval, jsonb, bigint[])
    IS 'internal: the origins of a back-test, ascending; and between which days there are data';

-- The functions below read the rows of a back-test, which are in a temporary table.
CREATE FUNCTION chs.backtest_begin() RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
BEGIN
    DROP TABLE IF EXISTS pg_temp.chs_backtest_rows;
    CREATE TEMP TABLE chs_backtest_rows (
        origin        date NOT NULL,
        customer_id   bigint NOT NULL,
        score         double precision,
        status        text NOT NULL,
        leaves        boolean,
        age           integer NOT NULL,
        since_last    integer,
        events        bigint NOT NULL,
        metric_scores double precision[]
    ) ON COMMIT DROP;
END
$$;
COMMENT ON FUNCTION chs.backtest_begin() IS 'internal: makes the temporary table of rows that figures are calculated from';
REVOKE EXECUTE ON FUNCTION chs.backtest_begin() FROM PUBLIC;

CREATE FUNCTION chs.interval_of(value double precision, error double precision, OUT low double precision, OUT high double precision)
    RETURNS record
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT greatest(value - 1.959963984540054 * error, 0), least(value + 1.959963984540054 * error, 1) WHERE error IS NOT NULL;
END;
COMMENT ON FUNCTION chs.interval_of(double precision, double precision) IS 'internal: the 95 % interval of a share with a standard error, within 0 and 1';

-- Figure 1: each measure with its interval, and the score compared with each.
CREATE FUNCTION chs.backtest_ranking(OUT measure text, OUT auc double precision, OUT low double precision, OUT high double precision,
        OUT gain double precision, OUT gain_low double precision, OUT gain_high double precision)
    RETURNS SETOF record
    LANGUAGE plpgsql STABLE ROWS 5
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    a record;
BEGIN
    FOR measure IN SELECT m FROM unnest('{score,since_last,events,age,shuffled}'::text[]) m LOOP
        SELECT x.* INTO a
        FROM (SELECT array_agg(r.origin) AS origins, array_agg(r.customer_id) AS customers, array_agg(r.leaves) AS leaves, array_agg(r.score) AS score,
                     CASE WHEN measure <> 'score' THEN array_agg(
                         CASE measure WHEN 'since_last' THEN -COALESCE(r.since_last, 1000000)::double precision
                                      WHEN 'events' THEN r.events::double precision
                                      WHEN 'age' THEN r.age::double precision
                                      WHEN 'shuffled' THEN hashint8extended(r.customer_id, r.origin - '2000-01-01'::date)::double precision END) END AS other
              FROM pg_temp.chs_backtest_rows r WHERE r.leaves IS NOT NULL AND r.score IS NOT NULL) v
        CROSS JOIN LATERAL chs.auc(v.origins, v.customers, v.leaves, v.score, v.other) x;
        IF measure = 'score' THEN
            auc := a.auc;
            SELECT i.low, i.high INTO low, high FROM chs.interval_of(a.auc, a.standard_error) i;
        ELSE
            auc := a.other_auc;
            SELECT i.low, i.high INTO low, high FROM chs.interval_of(a.other_auc, a.other_error) i;
            gain := a.auc - a.other_auc;
            gain_low := gain - 1.959963984540054 * a.difference_error;
            gain_high := gain + 1.959963984540054 * a.difference_error;
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION chs.backtest_ranking() IS 'internal: how well the score, and what everybody knows without it, tell who leaves; and what the score gains on that';

-- Figure 2: those who leave among the tenth of the lowest scores of each origin; who has the score at the border counts in proportion.
CREATE FUNCTION chs.backtest_capture(OUT capture double precision, OUT leaving bigint)
    RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT (sum(t.leaving * greatest(0, least(1, (t.rows / 10.0 - t.below) / t.equal))) / nullif(sum(t.leaving), 0))::double precision, sum(t.leaving)::bigint
    INTO capture, leaving
    FROM (SELECT g.leaving, g.equal::numeric AS equal, sum(g.equal) OVER (PARTITION BY g.origin ORDER BY g.score) - g.equal AS below, sum(g.equal) OVER (PARTITION BY g.origin) AS rows
          FROM (SELECT r.origin, r.score, count(*) AS equal, count(*) FILTER (WHERE r.leaves) AS leaving
                FROM pg_temp.chs_backtest_rows r WHERE r.leaves IS NOT NULL AND r.score IS NOT NULL GROUP BY r.origin, r.score) g) t;
END
$$;
COMMENT ON FUNCTION chs.backtest_capture() IS 'internal: the share of those who leave that have one of the tenth of the lowest scores of the origin';

-- Figure 3, and what calibration and stability count: how many have each score, to the hundredth, at each origin.
CREATE FUNCTION chs.backtest_counts(OUT origin date, OUT status text, OUT score double precision, OUT rows bigint, OUT leaving bigint)
    RETURNS SETOF record
    LANGUAGE plpgsql STABLE ROWS 10000
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT r.origin, r.status, r.score, count(*), count(*) FILTER (WHERE r.leaves)
    FROM pg_temp.chs_backtest_rows r WHERE r.leaves IS NOT NULL GROUP BY r.origin, r.status, r.score;
END
$$;
COMMENT ON FUNCTION chs.backtest_counts() IS 'internal: the number of rows, and of those that leave, of each origin, status and score';

-- Figure 7: a logistic curve through the origins up to one, by Newton's method, judged by the origins from another one on.
CREATE FUNCTION chs.backtest_calibration(fit_to date, test_from date, OUT error double precision, OUT skill double precision)
    RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    a double precision := 0;
    b double precision := 0;
    s record;
    d double precision;
    steps integer := 0;
    scores double precision[];
    counted bigint[];
    leaving bigint[];
BEGIN
    SELECT array_agg(c.score ORDER BY c.score), array_agg(c.rows ORDER BY c.score), array_agg(c.leaving ORDER BY c.score) INTO scores, counted, leaving
    FROM (SELECT g.score, sum(g.rows)::bigint AS rows, sum(g.leaving)::bigint AS leaving FROM chs.backtest_counts() g WHERE g.origin <= fit_to AND g.score IS NOT NULL GROUP BY g.score) c;
    LOOP
        SELECT sum(t.k - t.n * t.p ORDER BY t.x) AS g0, sum(t.x * (t.k - t.n * t.p) ORDER BY t.x) AS g1, sum(t.n * t.p * (1 - t.p) ORDER BY t.x) AS h00,
               sum(t.x * t.n * t.p * (1 - t.p) ORDER BY t.x) AS h01, sum(t.x * t.x * t.n * t.p * (1 - t.p) ORDER BY t.x) AS h11
        INTO s
        FROM (SELECT u.n, u.k, (u.score - 50) / 50 AS x, 1 / (1 + exp(greatest(-500, least(500, -a - b * (u.score - 50) / 50)))) AS p
              FROM unnest(scores, counted, leaving) u(score, n, k)) t;
        d := s.h00 * s.h11 - s.h01 * s.h01;
        steps := steps + 1;
        -- those who leave are apart from the others, or all have the same score
        IF d IS NULL OR d < 1e-9 OR abs(a) + abs(b) > 1000 OR steps > 100 THEN
            RETURN;
        END IF;
        a := a + (s.h11 * s.g0 - s.h01 * s.g1) / d;
        b := b + (s.h00 * s.g1 - s.h01 * s.g0) / d;
        EXIT WHEN abs(s.h11 * s.g0 - s.h01 * s.g1) / d + abs(s.h00 * s.g1 - s.h01 * s.g0) / d < 1e-13;
    END LOOP;
    SELECT sum(abs(e.expected - e.leaving) ORDER BY e.tenth) / nullif(sum(e.rows), 0)::double precision,
           1 - sum(e.brier ORDER BY e.tenth) / nullif(sum(e.rows), 0)::double precision
               / nullif((sum(e.leaving) / sum(e.rows) * (1 - sum(e.leaving) / sum(e.rows)))::double precision, 0)
    INTO error, skill
    FROM (SELECT least(floor(t.p * 10), 9) AS tenth, sum(t.rows) AS rows, sum(t.leaving) AS leaving, sum(t.rows * t.p ORDER BY t.score) AS expected,
                 sum(t.rows * t.p * t.p - 2 * t.p * t.leaving + t.leaving ORDER BY t.score) AS brier
          FROM (SELECT c.score, c.rows, c.leaving, 1 / (1 + exp(greatest(-500, least(500, -a - b * (c.score - 50) / 50)))) AS p
                FROM (SELECT g.score, sum(g.rows) AS rows, sum(g.leaving) AS leaving FROM chs.backtest_counts() g
                      WHERE g.origin >= test_from AND g.score IS NOT NULL GROUP BY g.score) c) t
          GROUP BY 1) e;
END
$$;
COMMENT ON FUNCTION chs.backtest_calibration(date, date)
    IS 'internal: whether the score can be read as a probability: the mean distance, by tenths of the predicted one, and Brier''s skill against the rate of the tested origins; NULL where there is nothing to fit';

-- Figure 8: each origin by itself, and how far its scores, by bands of ten points, are from those of the first one.
CREATE FUNCTION chs.backtest_by_origin(OUT origin date, OUT rows bigint, OUT leaving bigint, OUT in_gap bigint, OUT unknown bigint,
        OUT auc double precision, OUT low double precision, OUT high double precision, OUT psi double precision)
    RETURNS SETOF record
    LANGUAGE plpgsql STABLE ROWS 24
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
    WITH ranked AS (
        SELECT v.origin, x.auc, x.standard_error
        FROM (SELECT r.origin, array_agg(r.origin) AS origins, array_agg(r.customer_id) AS customers, array_agg(r.leaves) AS leaves, array_agg(r.score) AS score
              FROM pg_temp.chs_backtest_rows r WHERE r.leaves IS NOT NULL GROUP BY r.origin) v
        CROSS JOIN LATERAL chs.auc(v.origins, v.customers, v.leaves, v.score, NULL::double precision[]) x
    ), counted AS (
        SELECT r.origin, count(*) FILTER (WHERE r.leaves IS NOT NULL) AS rows, count(*) FILTER (WHERE r.leaves) AS leaving,
               count(*) FILTER (WHERE r.leaves IS NULL) AS in_gap, count(*) FILTER (WHERE r.leaves IS NOT NULL AND r.score IS NULL) AS unknown
        FROM pg_temp.chs_backtest_rows r GROUP BY r.origin
    ), share AS (  -- half a row more in each band, so that none is empty
        SELECT o.origin, b.band, (COALESCE(c.rows, 0) + 0.5) / (sum(COALESCE(c.rows, 0)) OVER (PARTITION BY o.origin) + 5) AS share
        FROM (SELECT DISTINCT r.origin FROM pg_temp.chs_backtest_rows r) o
        CROSS JOIN generate_series(0, 9) b(band)
        LEFT JOIN (SELECT g.origin, least(floor(g.score / 10), 9) AS band, sum(g.rows) AS rows FROM chs.backtest_counts() g
                   WHERE g.score IS NOT NULL GROUP BY 1, 2) c ON c.origin = o.origin AND c.band = b.band
    ), moved AS (
        SELECT s.origin, sum(((s.share - f.share)::double precision * ln((s.share / f.share)::double precision)) ORDER BY s.band) AS psi
        FROM share s JOIN share f ON f.band = s.band AND f.origin = (SELECT min(m.origin) FROM share m)
        GROUP BY s.origin
    )
    SELECT c.origin, c.rows, c.leaving, c.in_gap, c.unknown, k.auc, i.low, i.high, m.psi
    FROM counted c
    JOIN moved m ON m.origin = c.origin
    LEFT JOIN ranked k ON k.origin = c.origin
    LEFT JOIN LATERAL chs.interval_of(k.auc, k.standard_error) i ON true
    ORDER BY c.origin;
END
$$;
COMMENT ON FUNCTION chs.backtest_by_origin() IS 'internal: what chs.backtest_origins shows';

-- The metrics of a document, in the order of metric_scores, and their share of the whole weight.
CREATE FUNCTION chs.document_metrics(document jsonb, OUT scorecard text, OUT ordinal integer, OUT factor text, OUT metric text, OUT weight double precision, OUT plugin boolean, OUT penalty boolean)
    RETURNS SETOF record
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE ROWS 20
    SET search_path = pg_catalog, pg_temp SET jit = off
BEGIN ATOMIC
    SELECT m.scorecard, row_number() OVER (PARTITION BY m.scorecard ORDER BY m.factor_ordinal, m.metric_ordinal)::integer, m.factor, m.metric,
           round((m.weight * m.factor_weight / nullif(m.factor_sum, 0)
                  / nullif(sum(m.weight * m.factor_weight / nullif(m.factor_sum, 0)) OVER (PARTITION BY m.scorecard), 0))::numeric, 6)::double precision,
           m.plugin, m.penalty
    FROM (SELECT s.key AS scorecard, f.ordinality AS factor_ordinal, e.ordinality AS metric_ordinal, f.value ->> 'factor' AS factor, e.value ->> 'metric' AS metric,
                 (f.value ->> 'weight')::double precision AS factor_weight,
                 CASE WHEN e.value ? 'penalty' THEN 0 ELSE COALESCE((e.value ->> 'weight')::double precision, 1) END AS weight,
                 sum(CASE WHEN e.value ? 'penalty' THEN 0 ELSE COALESCE((e.value ->> 'weight')::double precision, 1) END) OVER (PARTITION BY s.key, f.ordinality) AS factor_sum,
                 e.value ? 'function' AS plugin, e.value ? 'penalty' AS penalty
          FROM jsonb_each($1 -> 'scorecards') s
          CROSS JOIN LATERAL jsonb_array_elements(s.value -> 'factors') WITH ORDINALITY f
          CROSS JOIN LATERAL jsonb_array_elements(f.value -> 'metrics') WITH ORDINALITY e) m;
END;
COMMENT ON FUNCTION chs.document_metrics(jsonb) IS 'internal: the metrics of each scorecard of a document, in the order in which their scores are returned, with their share of its weight';

-- Each metric by itself, among the customers that were chosen for it.
CREATE FUNCTION chs.backtest_by_metric(document jsonb, OUT scorecard text, OUT factor text, OUT metric text, OUT weight double precision,
        OUT auc double precision, OUT missing double precision, OUT plugin boolean)
    RETURNS SETOF record
    LANGUAGE plpgsql STABLE ROWS 20
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    m record;
BEGIN
    FOR m IN SELECT d.* FROM chs.document_metrics(document) d WHERE NOT d.penalty ORDER BY d.scorecard, d.ordinal LOOP
        SELECT (chs.auc(array_agg(r.origin), array_agg(r.customer_id), array_agg(r.leaves), array_agg(r.metric_scores[m.ordinal]), NULL::double precision[])).auc,
               (count(*) FILTER (WHERE r.metric_scores[m.ordinal] IS NULL))::double precision / nullif(count(*), 0)
        INTO auc, missing
        FROM pg_temp.chs_backtest_rows r
        JOIN chs.customers c ON c.customer_id = r.customer_id
        WHERE r.leaves IS NOT NULL AND r.metric_scores IS NOT NULL
          AND m.scorecard = COALESCE(document #>> ARRAY['segments', c.segment, 'scorecard'], document ->> 'default');
        IF missing IS NOT NULL THEN
            scorecard := m.scorecard;
            factor := m.factor;
            metric := m.metric;
            weight := m.weight;
            plugin := m.plugin;
            RETURN NEXT;
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION chs.backtest_by_metric(jsonb) IS 'internal: what chs.backtest_metrics shows';

-- Figures 4 to 6, from the status of each day: of some who left, how long the alarm that preceded it had lasted;
-- of some of all, how many alarms there were, how many of these without anybody leaving, and how often the status changed.
CREATE FUNCTION chs.backtest_alarms(outcome text, horizon integer, gap integer, from_day date, to_day date, document jsonb, leaving bigint[], sample bigint[],
        OUT level text, OUT left_count bigint, OUT lead double precision, OUT lead_low double precision, OUT lead_high double precision, OUT warned double precision,
        OUT alarms bigint, OUT false_alarms bigint, OUT years double precision, OUT changes bigint)
    RETURNS SETOF record
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE ROWS 2
    SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
    IF to_day - from_day > 3650 THEN
        RAISE EXCEPTION 'the statuses of more than ten years cannot be looked at' USING ERRCODE = 'program_limit_exceeded';
    END IF;
    RETURN QUERY
    WITH daily AS (
        SELECT r.customer_id, r.origin AS day, r.left_on, r.status = 'critical' AS red, r.status IN ('critical', 'at_risk') AS yellow, r.status,
               CASE WHEN r.origin <= to_day - gap - horizon THEN r.leaves END AS leaves, s IS NOT NULL AS sampled,
               COALESCE(lag(r.origin) OVER w = r.origin - 1, false) AS follows, lag(r.status) OVER w AS before
        FROM chs.outcome_rows(outcome, horizon, gap, ARRAY(SELECT from_day + k FROM generate_series(0, least(to_day, (now() AT TIME ZONE 'UTC')::date) - from_day) k), document,
                              ARRAY(SELECT DISTINCT u FROM unnest(leaving || sample) u ORDER BY u), false) r
        LEFT JOIN unnest(sample) s ON s = r.customer_id
        WINDOW w AS (PARTITION BY r.customer_id ORDER BY r.origin)
    ), begun AS (
        SELECT d.*, d.red AND NOT (d.follows AND d.before = 'critical') AS red_starts, d.yellow AND NOT (d.follows AND d.before IN ('critical', 'at_risk')) AS yellow_starts FROM daily d
    ), running AS MATERIALIZED (
        SELECT b.*, max(b.day) FILTER (WHERE b.red_starts) OVER w AS red_since, max(b.day) FILTER (WHERE b.yellow_starts) OVER w AS yellow_since
        FROM begun b WINDOW w AS (PARTITION BY b.customer_id ORDER BY b.day)
    ), lost AS (
        SELECT DISTINCT d.customer_id, d.left_on FROM running d JOIN unnest(leaving) u ON u = d.customer_id
        WHERE d.left_on <= to_day AND d.left_on > from_day + 30
    ), ahead AS (
        SELECT CASE WHEN r.red THEN l.left_on - r.red_since ELSE 0 END AS red, CASE WHEN r.yellow THEN l.left_on - r.yellow_since ELSE 0 END AS yellow
        FROM lost l JOIN running r ON r.customer_id = l.customer_id AND r.day = l.left_on - 1
    ), led AS (
        SELECT count(*) AS n, percentile_cont('{0.25,0.5,0.75}'::double precision[]) WITHIN GROUP (ORDER BY h.red) AS red, avg((h.red >= 30)::integer)::double precision AS red_warned,
               percentile_cont('{0.25,0.5,0.75}'::double precision[]) WITHIN GROUP (ORDER BY h.yellow) AS yellow, avg((h.yellow >= 30)::integer)::double precision AS yellow_warned
        FROM ahead h
    ), counted AS (
        SELECT count(*) FILTER (WHERE r.red_starts) AS red, count(*) FILTER (WHERE r.red_starts AND NOT r.leaves) AS red_false,
               count(*) FILTER (WHERE r.yellow_starts) AS yellow, count(*) FILTER (WHERE r.yellow_starts AND NOT r.leaves) AS yellow_false,
               (count(*) / 365.25)::double precision AS years, count(*) FILTER (WHERE r.status <> r.before) AS changes
        FROM running r WHERE r.sampled AND r.follows AND r.leaves IS NOT NULL
    )
    SELECT 'critical'::text, l.n, l.red[2], l.red[1], l.red[3], l.red_warned, c.red, c.red_false, c.years, c.changes FROM led l, counted c
    UNION ALL
    SELECT 'at_risk', l.n, l.yellow[2], l.yellow[1], l.yellow[3], l.yellow_warned, c.yellow, c.yellow_false, c.years, c.changes FROM led l, counted c;
END
$$;
COMMENT ON FUNCTION chs.backtest_alarms(text, integer, integer, date, date, jsonb, bigint[], bigint[])
    IS 'internal: for both levels of alarm, critical and at_risk or worse: lead time, false alarms and changes of status between two days';

-- What a dead band around the bounds (calm_points) would save and cost.  Of each bound, what counts is on which side the
-- score last was outside of the band.
CREATE FUNCTION chs.backtest_calm(outcome text, horizon integer, gap integer, from_day date, to_day date, document jsonb, leaving bigint[], sample bigint[],
        OUT points integer, OUT changes double precision, OUT warned double precision)
    RETURNS SETOF record
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE ROWS 6
    SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
    RETURN QUERY
    WITH daily AS MATERIALIZED (
        SELECT r.customer_id, r.origin AS day, r.left_on, r.score, r.customer_id = ANY (sample) AS sampled,
               (b.card ->> 'healthy_from')::double precision AS healthy_from, (b.card ->> 'at_risk_from')::double precision AS at_risk_from
        FROM chs.outcome_rows(outcome, horizon, gap, ARRAY(SELECT from_day + k FROM generate_series(0, least(to_day, (now() AT TIME ZONE 'UTC')::date) - from_day) k), document,
                              ARRAY(SELECT DISTINCT u FROM unnest(leaving || sample) u ORDER BY u), false) r
        CROSS JOIN LATERAL (SELECT document -> 'scorecards' -> COALESCE(document -> 'segments' -> r.segment ->> 'scorecard', document ->> 'default') AS card) b
        WHERE r.score IS NOT NULL
    ), outside AS (
        SELECT p.points, d.*,
               CASE WHEN d.score >= d.healthy_from + p.points THEN true WHEN d.score < d.healthy_from - p.points THEN false END AS healthy,
               CASE WHEN d.score >= d.at_risk_from + p.points THEN true WHEN d.score < d.at_risk_from - p.points THEN false END AS not_critical
        FROM daily d CROSS JOIN unnest('{0,1,2,3,5,8}'::integer[]) p(points)
    ), since AS (
        SELECT o.*, count(o.healthy) OVER w AS healthy_since, count(o.not_critical) OVER w AS critical_since
        FROM outside o WINDOW w AS (PARTITION BY o.points, o.customer_id ORDER BY o.day)
    ), calm AS (
        SELECT s.points, s.customer_id, s.day, s.sampled,
               -- before it was outside for the first time, the score itself
               COALESCE(bool_or(s.healthy) OVER (PARTITION BY s.points, s.customer_id, s.healthy_since), s.score >= s.healthy_from) AS healthy,
               COALESCE(bool_or(s.not_critical) OVER (PARTITION BY s.points, s.customer_id, s.critical_since), s.score >= s.at_risk_from) AS not_critical
        FROM since s
    ), changed AS (
        SELECT c.points, c.sampled, (lag(c.day) OVER w = c.day - 1) IS TRUE AS follows,
               (lag(c.healthy) OVER w, lag(c.not_critical OR c.healthy) OVER w) IS DISTINCT FROM (c.healthy, c.not_critical OR c.healthy) AS changes
        FROM calm c WINDOW w AS (PARTITION BY c.points, c.customer_id ORDER BY c.day)
    )
    SELECT g.points, g.changes, (SELECT avg((NOT c.healthy)::integer)::double precision
                                 FROM (SELECT DISTINCT d.customer_id, d.left_on FROM daily d WHERE d.left_on <= to_day AND d.customer_id = ANY (leaving)) l
                                 JOIN calm c ON c.points = g.points AND c.customer_id = l.customer_id AND c.day = l.left_on - 30)
    FROM (SELECT h.points, count(*) FILTER (WHERE h.changes) * 365.25 / nullif(count(*), 0)::double precision AS changes
          FROM changed h WHERE h.sampled AND h.follows GROUP BY h.points) g
    ORDER BY g.points;
END
$$;
COMMENT ON FUNCTION chs.backtest_calm(text, integer, integer, date, date, jsonb, bigint[], bigint[])
    IS 'internal: of bands of some points: changes of status that count, a customer and year, and the share of those who left that counted as at risk or worse 30 days before';

-- Types of events that tell of the outcome rather than foretell it: nearly all of them in the week that ends with it.
CREATE FUNCTION chs.backtest_leaks(outcome text, from_day date, to_day date, customers bigint[], OUT event_type text, OUT events bigint, OUT at_the_end double precision)
    RETURNS SETOF record
    LANGUAGE sql STABLE ROWS 5
    SET search_path = pg_catalog, pg_temp SET jit = off
BEGIN ATOMIC
    SELECT t.event_type, sum(d.events)::bigint, (sum(d.events) FILTER (WHERE d.day BETWEEN h.day - 7 AND h.day) / sum(d.events))::double precision
    FROM chs.event_types t
    CROSS JOIN LATERAL chs.event_days(chs.counting_document(ARRAY[t.event_type]), customers, from_day, to_day) e
    CROSS JOIN LATERAL (SELECT u.day, u.events - COALESCE(lag(u.events) OVER (ORDER BY u.day), 0) AS events FROM unnest(e.days, e.events) u(day, events)) d
    LEFT JOIN LATERAL (
        SELECT min(x.day) AS day
        FROM (SELECT (o.happened_at AT TIME ZONE 'UTC')::date FROM chs.outcomes o WHERE o.customer_id = e.customer_id AND o.outcome = backtest_leaks.outcome
              UNION ALL SELECT (c.churned_at AT TIME ZONE 'UTC')::date FROM chs.customers c WHERE c.customer_id = e.customer_id AND backtest_leaks.outcome = 'churned') x(day)) h ON true
    WHERE outcome NOT LIKE 'no:%'
    GROUP BY t.event_type
    HAVING sum(d.events) >= 5 AND sum(d.events) FILTER (WHERE d.day BETWEEN h.day - 7 AND h.day) >= 0.9 * sum(d.events);
END;
COMMENT ON FUNCTION chs.backtest_leaks(text, date, date, bigint[]) IS 'internal: types of events of which at least nine of ten lie in the week that ends with the outcome';

-- The verdict by written rules (doc/prediction.md), each figure's own and the sentence that the report begins with.
CREATE FUNCTION chs.backtest_verdicts(figures jsonb, gap integer) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    f record;
    verdict text;
    result jsonb := '[]';
BEGIN
    FOR f IN SELECT x.* FROM jsonb_to_recordset(figures) x(figure text, value double precision, low double precision, high double precision, compared_with double precision) LOOP
        verdict := CASE f.figure
            WHEN 'auc' THEN CASE WHEN f.value IS NULL THEN 'too few'
                                 WHEN f.low IS NULL OR f.low <= 0.5 AND f.high >= 0.5 THEN 'no evidence'
                                 WHEN f.high < 0.5 THEN 'upside down'
                                 WHEN f.value <= f.compared_with THEN 'beaten by counting'
                                 ELSE 'yes' END
            WHEN 'gain' THEN CASE WHEN f.low > 0 THEN 'proven' WHEN f.value IS NOT NULL THEN 'not proven' END
            WHEN 'leaving' THEN CASE WHEN f.value < 50 THEN 'too few' END
            WHEN 'healthy_leavers' THEN CASE WHEN f.value > 1.0 / 3 THEN 'green is not safe' END
            WHEN 'unknown_leavers' THEN CASE WHEN f.value > 0.1 THEN 'many have no score' END
            WHEN 'bands_out_of_order' THEN CASE WHEN f.value > 0 THEN 'not monotone' END
            WHEN 'lead_time' THEN CASE WHEN f.value < greatest(gap, 1) THEN 'warns too late' END
            WHEN 'lead_time_at_risk' THEN CASE WHEN f.value < greatest(gap, 1) THEN 'warns too late' END
            WHEN 'precision' THEN CASE WHEN f.value < f.compared_with THEN 'alarms say nothing' END
            WHEN 'brier_skill' THEN CASE WHEN f.value <= 0 THEN 'not a probability' END
            WHEN 'psi' THEN CASE WHEN f.value > 0.25 THEN 'the scores have shifted' END
            WHEN 'recorded_late' THEN CASE WHEN f.value > 0.1 THEN 'the score of that evening did not know' END
            WHEN 'changed_segment' THEN CASE WHEN f.value > 0.1 THEN 'segments are those of today' END
            END;
        result := result || jsonb_build_object('figure', f.figure, 'value', f.value, 'low', f.low, 'high', f.high, 'compared_with', f.compared_with, 'verdict', verdict);
    END LOOP;
    RETURN result;
END
$$;
COMMENT ON FUNCTION chs.backtest_verdicts(jsonb, integer) IS 'internal: figures with the verdict on each';

-- A figure of a report.
CREATE FUNCTION chs.figure(figure text, value double precision, low double precision, high double precision, compared_with double precision) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1
BEGIN ATOMIC
    SELECT jsonb_build_object('figure', $1, 'value', $2, 'low', $3, 'high', $4, 'compared_with', $5);
END;
COMMENT ON FUNCTION chs.figure(text, double precision, double precision, double precision, double precision) IS 'internal: a figure as part of a report';

-- What follows from the rows alone: figures 1 to 3, 7 and 8.
CREATE FUNCTION chs.backtest_report_of_rows(horizon integer, gap integer) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1 SET jit = off AS $$
DECLARE
    origins  jsonb;
    bands    jsonb;
    statuses jsonb;
    figures  jsonb := '[]';
    score    record;
    r        record;
    better   text;
    compared double precision;
    days     date[];
    test_from date;
    leaving  bigint;
    disordered bigint;
BEGIN
    SELECT COALESCE(jsonb_agg(to_jsonb(o) ORDER BY o.origin), '[]'), array_agg(o.origin ORDER BY o.origin) INTO origins, days FROM chs.backtest_by_origin() o;
    WITH counts AS MATERIALIZED (SELECT c.* FROM chs.backtest_counts() c)
    SELECT (SELECT jsonb_agg(to_jsonb(b) ORDER BY b.score_from) FROM (
                SELECT g.band * 10 AS score_from, g.band * 10 + 10 AS score_to, COALESCE(sum(c.rows), 0) AS rows, COALESCE(sum(c.leaving), 0) AS leaving,
                       (sum(c.leaving) / nullif(sum(c.rows), 0))::double precision AS rate
                FROM generate_series(0, 9) g(band) LEFT JOIN counts c ON c.score IS NOT NULL AND g.band = least(floor(c.score / 10), 9) GROUP BY g.band) b),
           (SELECT jsonb_agg(to_jsonb(s) ORDER BY s.ordinal) FROM (
                SELECT t.ordinal, t.status, COALESCE(sum(c.rows), 0) AS rows, COALESCE(sum(c.leaving), 0) AS leaving, (sum(c.leaving) / nullif(sum(c.rows), 0))::double precision AS rate
                FROM unnest('{healthy,at_risk,critical,unknown}'::text[]) WITH ORDINALITY t(status, ordinal) LEFT JOIN counts c ON c.status = t.status
                GROUP BY t.status, t.ordinal) s)
    INTO bands, statuses;

    -- 1: the score, the best of the three ways of counting, and what the score gains on that
    FOR r IN SELECT k.* FROM chs.backtest_ranking() k ORDER BY k.measure IN ('since_last', 'events', 'age') DESC, k.auc DESC NULLS LAST, k.measure LOOP
        IF r.measure = 'score' THEN
            figures := chs.figure('auc'::text, r.auc, r.low, r.high, compared) || figures;
        ELSE
            figures := figures || chs.figure('auc_' || r.measure, r.auc, r.low, r.high, NULL::double precision);
        END IF;
        IF better IS NULL THEN
            better := r.measure;
            compared := r.auc;
            figures := figures || chs.figure('gain'::text, r.gain, r.gain_low, r.gain_high, 0::double precision);
        END IF;
    END LOOP;
    -- 2
    SELECT c.* INTO r FROM chs.backtest_capture() c;
    figures := figures || chs.figure('capture'::text, r.capture, NULL::double precision, NULL::double precision, 0.1::double precision)
        || chs.figure('lift'::text, r.capture * 10, NULL::double precision, NULL::double precision, 1::double precision);
    -- 3
    SELECT count(*) FILTER (WHERE b.leaves IS NOT NULL) AS rows, count(DISTINCT b.customer_id) AS customers, count(*) FILTER (WHERE b.leaves) AS leaving,
           count(DISTINCT b.customer_id) FILTER (WHERE b.leaves) AS left_customers, count(*) FILTER (WHERE b.leaves IS NULL) AS in_gap
    INTO r FROM pg_temp.chs_backtest_rows b;
    leaving := r.leaving;
    figures := figures || chs.figure('rows'::text, r.rows::double precision, NULL::double precision, NULL::double precision, NULL::double precision)
        || chs.figure('customers'::text, r.customers::double precision, NULL::double precision, NULL::double precision, NULL::double precision)
        || chs.figure('leaving'::text, r.left_customers::double precision, NULL::double precision, NULL::double precision, 50::double precision)
        || chs.figure('in_gap'::text, r.in_gap::double precision, NULL::double precision, NULL::double precision, NULL::double precision)
        || chs.figure('rate'::text, r.leaving / nullif(r.rows, 0)::double precision, NULL::double precision, NULL::double precision, NULL::double precision);
    FOR r IN SELECT t.status, t.leaving FROM jsonb_to_recordset(statuses) t(status text, leaving bigint) WHERE t.status IN ('healthy', 'unknown') LOOP
        figures := figures || chs.figure(r.status || '_leavers', r.leaving / nullif(leaving, 0)::double precision, NULL::double precision, NULL::double precision, NULL::double precision);
    END LOOP;
    -- a band above another one, each of at least 20 rows, that leaves more often by more than two standard errors
    SELECT count(*) INTO disordered
    FROM jsonb_to_recordset(bands) l(score_from integer, rows bigint, rate double precision)
    JOIN jsonb_to_recordset(bands) h(score_from integer, rows bigint, rate double precision) ON l.score_from < h.score_from AND l.rows >= 20 AND h.rows >= 20
    WHERE h.rate - l.rate > 2 * sqrt(h.rate * (1 - h.rate) / h.rows + l.rate * (1 - l.rate) / l.rows);
    figures := figures || chs.figure('bands_out_of_order'::text, disordered::double precision, NULL::double precision, NULL::double precision, 0::double precision);
    -- 7: tested by the last quarter of the origins, fitted to those whose windows were over before
    test_from := days[cardinality(days) - greatest(1, cardinality(days) / 4) + 1];
    SELECT c.* INTO r FROM chs.backtest_calibration(test_from - gap - horizon, test_from) c;
    figures := figures || chs.figure('calibration_error'::text, r.error, NULL::double precision, NULL::double precision, NULL::double precision)
        || chs.figure('brier_skill'::text, r.skill, NULL::double precision, NULL::double precision, 0::double precision);
    -- 8
    SELECT min(o.auc) AS low, max(o.auc) AS high, max(o.psi) FILTER (WHERE o.origin = days[cardinality(days)]) AS psi INTO r
    FROM jsonb_to_recordset(origins) o(origin date, auc double precision, psi double precision);
    figures := figures || chs.figure('auc_by_origin'::text, NULL::double precision, r.low, r.high, NULL::double precision)
        || chs.figure('psi'::text, r.psi, NULL::double precision, NULL::double precision, 0.25::double precision);
    RETURN jsonb_build_object('figures', figures, 'better', better, 'origins', origins, 'bands', bands, 'statuses', statuses);
END
$$;
COMMENT ON FUNCTION chs.backtest_report_of_rows(integer, integer) IS 'internal: the part of a report that follows from the rows alone';

CREATE FUNCTION @extschema@.chs_backtest(outcome text DEFAULT 'churned', horizon integer DEFAULT 90, gap integer DEFAULT 0, since date DEFAULT NULL, until date DEFAULT NULL,
        every interval DEFAULT '1 month', document jsonb DEFAULT NULL, segment text DEFAULT NULL, sample double precision DEFAULT NULL,
        min_age integer DEFAULT 0)
    RETURNS integer
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1 SET jit = off AS $$
DECLARE
    live      integer;
    rules     jsonb := document;
    customers bigint[];
    looked_at bigint[];
    leaving   bigint[];
    o         record;
    r         record;
    from_day  date;
    report    jsonb;
    figures   jsonb;
    warnings  jsonb := '[]';
    metrics   jsonb;
    number    integer;
    known_as  text := current_setting('application_name');
    none      double precision;
BEGIN
    IF rules IS NULL THEN
        SELECT v.version, v.document INTO live, rules FROM chs.scorecard_versions v WHERE v.live_at IS NOT NULL ORDER BY v.version DESC LIMIT 1;
    END IF;
    PERFORM chs.document_series(rules);
    customers := chs.backtest_customers(segment, sample);
    SELECT b.* INTO o FROM chs.backtest_origins(outcome, horizon, gap, since, until, every, rules, customers) b;
    -- metrics by themselves, daily statuses and what might leak are looked at more closely, of some
    looked_at := chs.some_customers(customers, 1000);
    PERFORM chs.backtest_begin();
    FOR i IN 1 .. cardinality(customers) BY 5000 LOOP
        PERFORM set_config('application_name'::text, format('chs_backtest: %s of %s customers', i - 1, cardinality(customers)), true);
        INSERT INTO pg_temp.chs_backtest_rows
        SELECT w.origin, w.customer_id, w.score, w.status, w.leaves, w.age, w.since_last, w.events, CASE WHEN l IS NOT NULL THEN w.metric_scores END
        FROM chs.outcome_rows(outcome, horizon, gap, o.origins, rules, customers[i:i + 4999], true) w
        LEFT JOIN unnest(looked_at) l ON l = w.customer_id
        WHERE w.age >= COALESCE(min_age, 0);
    END LOOP;
    PERFORM set_config('application_name'::text, 'chs_backtest: figures'::text, true);
    report := chs.backtest_report_of_rows(horizon, gap);
    figures := report -> 'figures';

    -- 4 to 6
    PERFORM set_config('application_name'::text, 'chs_backtest: alarms'::text, true);
    leaving := chs.some_customers(ARRAY(SELECT DISTINCT b.customer_id FROM pg_temp.chs_backtest_rows b WHERE b.leaves), 500);
    from_day := greatest(o.origins[1], o.known_to - 729);
    FOR r IN SELECT a.*, CASE a.level WHEN 'critical' THEN '' ELSE '_at_risk' END AS suffix
             FROM chs.backtest_alarms(outcome, horizon, gap, from_day, o.known_to, rules, leaving, chs.some_customers(customers, 500)) a LOOP
        figures := figures || chs.figure('lead_time' || r.suffix, r.lead, r.lead_low, r.lead_high, gap::double precision)
            || chs.figure('warned_30_days' || r.suffix, r.warned, none, none, none)
            || chs.figure('false_alarms' || r.suffix, r.false_alarms / nullif(r.years, 0), none, none, none)
            || chs.figure('precision' || r.suffix, (r.alarms - r.false_alarms) / nullif(r.alarms, 0)::double precision, none, none,
                          (SELECT f.value FROM jsonb_to_recordset(report -> 'figures') f(figure text, value double precision) WHERE f.figure = 'rate'));
        IF r.level = 'critical' THEN
            figures := figures || chs.figure('status_changes'::text, r.changes / nullif(r.years, 0), none, none, none);
        END IF;
    END LOOP;

    -- the widest band that saves a fifth of the changes and costs no more than 3 of 100 warnings
    PERFORM set_config('application_name'::text, 'chs_backtest: calm'::text, true);
    WITH c AS MATERIALIZED (
        SELECT a.*, first_value(a.changes) OVER w AS all_changes, first_value(a.warned) OVER w AS all_warned
        FROM chs.backtest_calm(outcome, horizon, gap, from_day, o.known_to, rules, chs.some_customers(leaving, 200), chs.some_customers(customers, 200)) a
        WINDOW w AS (ORDER BY a.points)
    )
    SELECT chs.figure('calm_points'::text, COALESCE(max(c.points) FILTER (WHERE c.all_changes > 0 AND c.changes <= 0.8 * c.all_changes AND COALESCE(c.warned >= c.all_warned - 0.03, true)), 0)::double precision, none, none, none) AS proposed,
           jsonb_agg(jsonb_build_array(chs.figure('changes_calm_' || c.points, c.changes, none, none, c.all_changes),
                                       chs.figure('warned_calm_' || c.points, c.warned, none, none, c.all_warned)) ORDER BY c.points) FILTER (WHERE c.points > 0) AS bands
    INTO r FROM c;
    figures := figures || r.proposed || COALESCE(jsonb_path_query_array(r.bands, '$[*][*]'), '[]');

    -- what the score may have known that it could not know
    SELECT l.* INTO r FROM chs.late_events(looked_at, (o.origins[1] - 365)::date, o.known_to) l;
    figures := figures || chs.figure('recorded_late'::text, r.late / nullif(r.events, 0)::double precision, none, none, none);
    SELECT count(*) AS n INTO r
    FROM chs.customers c
    WHERE c.customer_id = ANY (looked_at)
      AND EXISTS (SELECT FROM chs.health_scores h WHERE h.customer_id = c.customer_id AND h.as_of BETWEEN o.origins[1] AND o.known_to AND h.segment IS DISTINCT FROM c.segment);
    figures := figures || chs.figure('changed_segment'::text, r.n / nullif(cardinality(looked_at), 0)::double precision, none, none, none);
    FOR r IN SELECT l.* FROM chs.backtest_leaks(outcome, (o.origins[1] - 365)::date, o.known_to,
                 ARRAY(SELECT DISTINCT u FROM unnest(leaving || looked_at) u ORDER BY u)) l ORDER BY l.event_type LOOP
        warnings := warnings || to_jsonb(format('suspected leak: %s %% of the events of type %s lie in the week that ends with the outcome', round((100 * r.at_the_end)::numeric), r.event_type));
    END LOOP;
    metrics := (SELECT COALESCE(jsonb_agg(to_jsonb(m) || jsonb_build_object('suspected_leak', COALESCE(m.auc > 0.95, false))), '[]') FROM chs.backtest_by_metric(rules) m);
    warnings := warnings || COALESCE((SELECT jsonb_agg(format('suspected leak: metric %s alone tells who leaves, AUC %s', m.metric, round(m.auc::numeric, 3)))
                                      FROM jsonb_to_recordset(metrics) m(metric text, auc double precision) WHERE m.auc > 0.95), '[]')
        || COALESCE((SELECT jsonb_agg(format('metric %s is a plug-in: whether it answers for a past day as it would have then is not known to chs', m.metric))
                     FROM jsonb_to_recordset(metrics) m(metric text, plugin boolean) WHERE m.plugin), '[]');
    IF o.origins[1] < o.known_from + (SELECT max((w #>> '{}')::numeric)::integer FROM jsonb_path_query(rules, '$.scorecards.*.factors[*].metrics[*].window_days') w) - 1 THEN
        warnings := warnings || to_jsonb(format('the first events are of %s: windows of the first origins are not full', o.known_from));
    END IF;

    report := report || jsonb_build_object('figures', chs.backtest_verdicts(figures, gap), 'metrics', metrics, 'warnings', warnings,
                                           'known_from', o.known_from, 'known_to', o.known_to, 'looked_at', cardinality(looked_at));
    INSERT INTO chs.backtests (outcome, horizon, gap, first_origin, last_origin, every, segment, sample, min_age, version, document, customers, report)
    VALUES (outcome, horizon, gap, o.origins[1], o.origins[cardinality(o.origins)], every, segment, sample, COALESCE(min_age, 0), live, rules, cardinality(customers), report)
    RETURNING backtest INTO number;
    DROP TABLE pg_temp.chs_backtest_rows;
    PERFORM set_config('application_name'::text, known_as, true);
    RETURN number;
END
$$;
COMMENT ON FUNCTION @extschema@.chs_backtest(text, integer, integer, date, date, interval, jsonb, text, double precision, integer)
    IS 'judges how well scores predict an outcome: those of the live version, or of a document, as of many past days, against what happened in the horizon days after the gap; stores a report of the customers that the caller sees, and returns its number; see chs_backtest_report and chs.backtest_figures';
REVOKE EXECUTE ON FUNCTION @extschema@.chs_backtest(text, integer, integer, date, date, interval, jsonb, text, double precision, integer) FROM PUBLIC;

CREATE VIEW chs.backtest_figures WITH (security_invoker) AS
SELECT b.backtest, f.ordinality AS ordinal, r.figure, r.value, r.low, r.high, r.compared_with, r.verdict
FROM chs.backtests b CROSS JOIN LATERAL jsonb_array_elements(b.report -> 'figures') WITH ORDINALITY f
CROSS JOIN LATERAL jsonb_to_record(f.value) r(figure text, value double precision, low double precision, high double precision, compared_with double precision, verdict text);
COMMENT ON VIEW chs.backtest_figures IS 'the figures of every back-test';
COMMENT ON COLUMN chs.backtest_figures.backtest IS 'the number of the report';
COMMENT ON COLUMN chs.backtest_figures.ordinal IS 'the order of the figures';
COMMENT ON COLUMN chs.backtest_figures.figure IS 'its name; doc/prediction.md has the definition';
COMMENT ON COLUMN chs.backtest_figures.value IS 'a share from 0 to 1, a number of days, or one a customer and year; NULL: not defined for so few';
COMMENT ON COLUMN chs.backtest_figures.low IS 'the lower end of its 95 % interval, or the lower quartile of a lead time';
COMMENT ON COLUMN chs.backtest_figures.high IS 'the upper end';
COMMENT ON COLUMN chs.backtest_figures.compared_with IS 'what it is to be compared with';
COMMENT ON COLUMN chs.backtest_figures.verdict IS 'what a written rule says about it; NULL: nothing';

CREATE VIEW chs.backtest_origins WITH (security_invoker) AS
SELECT b.backtest, r.origin, r.rows, r.leaving, r.in_gap, r.unknown, (r.leaving / nullif(r.rows, 0)::double precision) AS rate, r.auc, r.low, r.high, r.psi
FROM chs.backtests b CROSS JOIN LATERAL jsonb_to_recordset(b.report -> 'origins')
    r(origin date, rows bigint, leaving bigint, in_gap bigint, unknown bigint, auc double precision, low double precision, high double precision, psi double precision);
COMMENT ON VIEW chs.backtest_origins IS 'every back-test by origin: a time series';
COMMENT ON COLUMN chs.backtest_origins.backtest IS 'the number of the report';
COMMENT ON COLUMN chs.backtest_origins.origin IS 'the UTC day as of whose end customers were scored';
COMMENT ON COLUMN chs.backtest_origins.rows IS 'how many customers were at risk';
COMMENT ON COLUMN chs.backtest_origins.leaving IS 'how many of them left';
COMMENT ON COLUMN chs.backtest_origins.in_gap IS 'how many more left within the gap, and are left out';
COMMENT ON COLUMN chs.backtest_origins.unknown IS 'how many of the rows had no score';
COMMENT ON COLUMN chs.backtest_origins.rate IS 'the share of those who left';
COMMENT ON COLUMN chs.backtest_origins.auc IS 'the probability that one who leaves had a lower score than one who stays';
COMMENT ON COLUMN chs.backtest_origins.low IS 'the lower end of its 95 % interval';
COMMENT ON COLUMN chs.backtest_origins.high IS 'the upper end';
COMMENT ON COLUMN chs.backtest_origins.psi IS 'how far the scores, by bands of ten points, are from those of the first origin: the population stability index; above 0.25 they have shifted';

CREATE VIEW chs.backtest_bands WITH (security_invoker) AS
SELECT b.backtest, r.score_from, r.score_to, r.rows, r.leaving, r.rate
FROM chs.backtests b CROSS JOIN LATERAL jsonb_to_recordset(b.report -> 'bands') r(score_from integer, score_to integer, rows bigint, leaving bigint, rate double precision);
COMMENT ON VIEW chs.backtest_bands IS 'every back-test by bands of ten points';
COMMENT ON COLUMN chs.backtest_bands.backtest IS 'the number of the report';
COMMENT ON COLUMN chs.backtest_bands.score_from IS 'the lowest score of the band';
COMMENT ON COLUMN chs.backtest_bands.score_to IS 'the band ends below it; the last one has 100 as well';
COMMENT ON COLUMN chs.backtest_bands.rows IS 'rows of a customer and an origin';
COMMENT ON COLUMN chs.backtest_bands.leaving IS 'those that left';
COMMENT ON COLUMN chs.backtest_bands.rate IS 'their share';

CREATE VIEW chs.backtest_statuses WITH (security_invoker) AS
SELECT b.backtest, r.status, r.rows, r.leaving, r.rate
FROM chs.backtests b CROSS JOIN LATERAL jsonb_to_recordset(b.report -> 'statuses') r(status text, rows bigint, leaving bigint, rate double precision);
COMMENT ON VIEW chs.backtest_statuses IS 'every back-test by status';
COMMENT ON COLUMN chs.backtest_statuses.backtest IS 'the number of the report';
COMMENT ON COLUMN chs.backtest_statuses.status IS 'healthy, at_risk, critical or unknown, at the origin';
COMMENT ON COLUMN chs.backtest_statuses.rows IS 'rows of a customer and an origin';
COMMENT ON COLUMN chs.backtest_statuses.leaving IS 'those that left';
COMMENT ON COLUMN chs.backtest_statuses.rate IS 'their share';

CREATE VIEW chs.backtest_metrics WITH (security_invoker) AS
SELECT b.backtest, r.scorecard, r.factor, r.metric, r.weight, r.auc, r.missing, r.plugin, r.suspected_leak
FROM chs.backtests b CROSS JOIN LATERAL jsonb_to_recordset(b.report -> 'metrics')
    r(scorecard text, factor text, metric text, weight double precision, auc double precision, missing double precision, plugin boolean, suspected_leak boolean);
COMMENT ON VIEW chs.backtest_metrics IS 'every back-test by metric: how well each tells by itself who leaves, among up to a thousand customers';
COMMENT ON COLUMN chs.backtest_metrics.backtest IS 'the number of the report';
COMMENT ON COLUMN chs.backtest_metrics.scorecard IS 'the scorecard';
COMMENT ON COLUMN chs.backtest_metrics.factor IS 'the factor';
COMMENT ON COLUMN chs.backtest_metrics.metric IS 'the metric';
COMMENT ON COLUMN chs.backtest_metrics.weight IS 'its share of the score, 0 to 1';
COMMENT ON COLUMN chs.backtest_metrics.auc IS 'the probability that one who leaves had a lower score of the metric than one who stays';
COMMENT ON COLUMN chs.backtest_metrics.missing IS 'the share of rows without such a score';
COMMENT ON COLUMN chs.backtest_metrics.plugin IS 'whether it is a plug-in, whose answer for a past day may not be what it would have been then';
COMMENT ON COLUMN chs.backtest_metrics.suspected_leak IS 'whether it tells so well (AUC above 0.95) that it may know the outcome';

-- Pictures of text: a bar of up to so many blocks, and a line of a block for each value.
CREATE FUNCTION chs.bar(share double precision, width integer) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT repeat('█', floor(greatest(0, least(1, COALESCE($1, 0))) * $2)::integer)
           || (ARRAY['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'])[1 + (floor(greatest(0, least(1, COALESCE($1, 0))) * $2 * 8)::integer % 8)];
END;
COMMENT ON FUNCTION chs.bar(double precision, integer) IS 'internal: a bar for a share of a width';
CREATE FUNCTION chs.sparkline(numbers double precision[]) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT string_agg(CASE WHEN n.number IS NULL THEN ' '
                           WHEN m.high = m.low THEN '▄'
                           ELSE substr('▁▂▃▄▅▆▇█', 1 + floor((n.number - m.low) / (m.high - m.low) * 7.999)::integer, 1) END, '' ORDER BY n.ordinality)
    FROM unnest($1) WITH ORDINALITY n(number, ordinality), (SELECT min(u) AS low, max(u) AS high FROM unnest($1) u) m;
END;
COMMENT ON FUNCTION chs.sparkline(double precision[]) IS 'internal: a block for each number, from the lowest to the highest of them';

CREATE FUNCTION chs.percent(share double precision) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT COALESCE(round((100 * $1)::numeric, CASE WHEN $1 < 0.0995 THEN 1 ELSE 0 END)::text || ' %', '-');
END;
COMMENT ON FUNCTION chs.percent(double precision) IS 'internal: a share as text';

CREATE FUNCTION chs.outcome_text(outcome text, horizon integer) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT CASE WHEN $1 LIKE 'no:%' THEN format('no %s for %s days', substr($1, 4), $2) ELSE format('%s within %s days', $1, $2) END;
END;
COMMENT ON FUNCTION chs.outcome_text(text, integer) IS 'internal: an outcome in words';

-- Rows of the temporary table are the caller's own; a report is read by its number with the caller's rights, too.
CREATE FUNCTION @extschema@.chs_backtest_report(backtest integer) RETURNS SETOF text
    LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 20
    SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1 AS $$
DECLARE
    b chs.backtests;
    f jsonb;
    s jsonb;
    counting text;
    verdict text;
    line text;
    note text;
BEGIN
    SELECT t.* INTO b FROM chs.backtests t WHERE t.backtest = chs_backtest_report.backtest;
    IF b.backtest IS NULL THEN
        RAISE EXCEPTION 'back-test % does not exist', backtest USING ERRCODE = 'undefined_object', HINT = 'chs.backtests lists those there are; SELECT chs_backtest() makes one.';
    END IF;
    f := (SELECT jsonb_object_agg(x ->> 'figure', x) FROM jsonb_array_elements(b.report -> 'figures') x);
    s := (SELECT jsonb_object_agg(x ->> 'status', x) FROM jsonb_array_elements(b.report -> 'statuses') x);
    counting := CASE b.report ->> 'better' WHEN 'events' THEN 'counting events' WHEN 'age' THEN 'counting the days as a customer' ELSE 'counting the days since the last event' END;
    verdict := f #>> '{auc,verdict}';
    RETURN NEXT format('Does the score predict "%s"%s?  %s', chs.outcome_text(b.outcome, b.horizon), CASE WHEN b.gap > 0 THEN format(', %s days ahead', b.gap) ELSE '' END,
        CASE WHEN verdict = 'too few' THEN 'Nobody can tell: there is nobody who left, or nobody who stayed.'
             WHEN f #>> '{leaving,verdict}' IS NOT NULL THEN format('Nobody can tell: only %s customers left, and it takes 50.', f #>> '{leaving,value}')
             WHEN verdict = 'no evidence' THEN 'No evidence that it does.'
             WHEN verdict = 'upside down' THEN 'The wrong way round: high scores leave.'
             WHEN verdict = 'beaten by counting' THEN format('Yes, but %s predicts it better.', counting)
             WHEN f #>> '{gain,verdict}' = 'proven' THEN format('Yes, and better than %s.', counting)
             ELSE format('Yes; whether better than %s is not proven.', counting) END);
    RETURN NEXT format('  %s customers, %s rows at %s origins from %s to %s; %s customers left, %s of the rows', f #>> '{customers,value}', f #>> '{rows,value}',
        jsonb_array_length(b.report -> 'origins'), b.first_origin, b.last_origin, f #>> '{leaving,value}', chs.percent((f #>> '{rate,value}')::double precision));
    RETURN NEXT '';
    RETURN NEXT format('AUC                 %s [%s %s]   days since last event %s   events %s   days as a customer %s   shuffled %s',
        COALESCE(round((f #>> '{auc,value}')::numeric, 3)::text, '-'), COALESCE(round((f #>> '{auc,low}')::numeric, 3)::text, '-'), COALESCE(round((f #>> '{auc,high}')::numeric, 3)::text, '-'),
        COALESCE(round((f #>> '{auc_since_last,value}')::numeric, 3)::text, '-'), COALESCE(round((f #>> '{auc_events,value}')::numeric, 3)::text, '-'),
        COALESCE(round((f #>> '{auc_age,value}')::numeric, 3)::text, '-'), COALESCE(round((f #>> '{auc_shuffled,value}')::numeric, 3)::text, '-'));
    RETURN NEXT format('Lowest tenth        reaches %s of those who leave, %s times chance', chs.percent((f #>> '{capture,value}')::double precision),
        COALESCE(round((f #>> '{lift,value}')::numeric, 2)::text, '-'));
    line := 'Leaving by status   ';
    FOREACH note IN ARRAY '{healthy,at_risk,critical,unknown}'::text[] LOOP
        IF (s #>> ARRAY[note, 'rows'])::bigint > 0 THEN
            line := line || format('%s %s %s   ', note, chs.bar((s #>> ARRAY[note, 'rate'])::double precision, 12), chs.percent((s #>> ARRAY[note, 'rate'])::double precision));
        END IF;
    END LOOP;
    RETURN NEXT rtrim(line);
    RETURN NEXT format('Leaving by score    0 %s 100   customers 0 %s 100',
        chs.sparkline(ARRAY(SELECT r.rate FROM jsonb_to_recordset(b.report -> 'bands') r(score_from integer, rate double precision) ORDER BY r.score_from)),
        chs.sparkline(ARRAY(SELECT r.rows FROM jsonb_to_recordset(b.report -> 'bands') r(score_from integer, rows double precision) ORDER BY r.score_from)));
    RETURN NEXT format('AUC by origin       %s   %s to %s',
        chs.sparkline(ARRAY(SELECT r.auc FROM jsonb_to_recordset(b.report -> 'origins') r(origin date, auc double precision) ORDER BY r.origin)),
        COALESCE(round((f #>> '{auc_by_origin,low}')::numeric, 3)::text, '-'), COALESCE(round((f #>> '{auc_by_origin,high}')::numeric, 3)::text, '-'));
    RETURN NEXT format('Warned              %s days before (median, quartiles %s to %s) by critical, %s (%s to %s) by at_risk; 30 days: %s, %s',
        COALESCE(round((f #>> '{lead_time,value}')::numeric)::text, '-'), COALESCE(round((f #>> '{lead_time,low}')::numeric)::text, '-'), COALESCE(round((f #>> '{lead_time,high}')::numeric)::text, '-'),
        COALESCE(round((f #>> '{lead_time_at_risk,value}')::numeric)::text, '-'), COALESCE(round((f #>> '{lead_time_at_risk,low}')::numeric)::text, '-'),
        COALESCE(round((f #>> '{lead_time_at_risk,high}')::numeric)::text, '-'),
        chs.percent((f #>> '{warned_30_days,value}')::double precision), chs.percent((f #>> '{warned_30_days_at_risk,value}')::double precision));
    RETURN NEXT format('Alarms              of 100 critical ones %s leave; %s false ones and %s changes of status a customer and year',
        COALESCE(round(100 * (f #>> '{precision,value}')::numeric)::text, '-'), COALESCE(round((f #>> '{false_alarms,value}')::numeric, 2)::text, '-'),
        COALESCE(round((f #>> '{status_changes,value}')::numeric, 1)::text, '-'));
    RETURN NEXT format('As a probability    off by %s on average; Brier skill %s', chs.percent((f #>> '{calibration_error,value}')::double precision),
        COALESCE(round((f #>> '{brier_skill,value}')::numeric, 3)::text, '-'));
    RETURN NEXT '';
    -- what the rules say against it
    IF f #>> '{healthy_leavers,verdict}' IS NOT NULL THEN
        RETURN NEXT format('! Green is not safe: %s of those who left were healthy.', chs.percent((f #>> '{healthy_leavers,value}')::double precision));
    END IF;
    IF f #>> '{unknown_leavers,verdict}' IS NOT NULL THEN
        RETURN NEXT format('! %s of those who left had no score.', chs.percent((f #>> '{unknown_leavers,value}')::double precision));
    END IF;
    IF f #>> '{bands_out_of_order,verdict}' IS NOT NULL THEN
        RETURN NEXT format('! Not monotone: %s pairs of bands of ten points in which the higher one leaves more often; see chs.backtest_bands.', f #>> '{bands_out_of_order,value}');
    END IF;
    IF f #>> '{lead_time,verdict}' IS NOT NULL THEN
        RETURN NEXT ('! Critical warns too late: at_risk_from is too low, or the windows are too long.');
    END IF;
    IF f #>> '{precision,verdict}' IS NOT NULL THEN
        RETURN NEXT '! Alarms say nothing: no more of them leave than of all customers.';
    END IF;
    IF f #>> '{psi,verdict}' IS NOT NULL THEN
        RETURN NEXT format('! The scores have shifted since the first origin (PSI %s): bounds that were right then may not be now.', round((f #>> '{psi,value}')::numeric, 2));
    END IF;
    IF f #>> '{recorded_late,verdict}' IS NOT NULL THEN
        RETURN NEXT format('! %s of the events were recorded more than a day late: the score of that evening could not know them.', chs.percent((f #>> '{recorded_late,value}')::double precision));
    END IF;
    IF f #>> '{changed_segment,verdict}' IS NOT NULL THEN
        RETURN NEXT format('! %s of the customers were in another segment then: they are scored by the rules of their present one.', chs.percent((f #>> '{changed_segment,value}')::double precision));
    END IF;
    FOR note IN SELECT w FROM jsonb_array_elements_text(b.report -> 'warnings') w LOOP
        RETURN NEXT '! ' || upper(left(note, 1)) || substr(note, 2) || '.';
    END LOOP;
    RETURN NEXT 'Who was rescued looks like a false alarm here: where people act on alarms, the score is better than it looks.';
END
$$;
COMMENT ON FUNCTION @extschema@.chs_backtest_report(integer) IS 'a report of chs_backtest() as one screen of text';
