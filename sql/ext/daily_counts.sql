-- Counts by day: how many customers had which status at the end of each UTC day, and which the day before.

-- Each row is a count of customers, so it stays when one of them is deleted, and when history is.
CREATE TABLE chs.daily_counts (
    day              date NOT NULL,
    span             integer NOT NULL,
    segment          text,
    from_status      text NOT NULL,
    to_status        text NOT NULL,
    customers        bigint NOT NULL,
    score_hundredths bigint NOT NULL,
    value            numeric NOT NULL,
    customers_hash   bigint NOT NULL,
    UNIQUE NULLS NOT DISTINCT (span, day, segment, from_status, to_status)
);
COMMENT ON TABLE chs.daily_counts IS 'internal: how many customers moved from which status to which within each UTC day that is over, and until the latest one';
COMMENT ON COLUMN chs.daily_counts.day IS 'the UTC day at whose end they had to_status';
COMMENT ON COLUMN chs.daily_counts.span IS 'they had from_status at the end of the UTC day so many days before: 1; for the latest day also 7, 30 and 90';
COMMENT ON COLUMN chs.daily_counts.segment IS 'the segment that they were scored in at the end of the day, or last; NULL: customers without one';
COMMENT ON COLUMN chs.daily_counts.from_status IS 'healthy, at_risk, critical or unknown; none: no score yet';
COMMENT ON COLUMN chs.daily_counts.to_status IS 'healthy, at_risk, critical or unknown; churned: the customer has left';
COMMENT ON COLUMN chs.daily_counts.customers IS 'how many';
COMMENT ON COLUMN chs.daily_counts.score_hundredths IS 'the sum of their scores at the end of the day, in hundredths of a point, which add up exactly';
COMMENT ON COLUMN chs.daily_counts.value IS 'the sum of their values, as known when they were counted';
COMMENT ON COLUMN chs.daily_counts.customers_hash IS 'tells chs_verify() whether those whom it finds are the same customers';

CREATE TABLE chs.counted_days (
    day        date PRIMARY KEY,
    counted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seconds    double precision NOT NULL
);
COMMENT ON TABLE chs.counted_days IS 'internal: the UTC days of chs.daily_counts; each is there as a whole or not at all';
COMMENT ON COLUMN chs.counted_days.day IS 'the UTC day';
COMMENT ON COLUMN chs.counted_days.counted_at IS 'when its count was finished';
COMMENT ON COLUMN chs.counted_days.seconds IS 'how long that took';

-- Appended by whoever changes the past, so that nobody waits for anybody.
CREATE TABLE chs.recounts (
    from_day date NOT NULL,
    extends  boolean NOT NULL DEFAULT false,
    taken    boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE chs.recounts IS 'internal: days of chs.daily_counts that are to be counted again';
COMMENT ON COLUMN chs.recounts.from_day IS 'this UTC day and all later ones';
COMMENT ON COLUMN chs.recounts.extends IS 'true: also if it is before the first day that has been counted';
COMMENT ON COLUMN chs.recounts.taken IS 'true: that is being done';

-- Days are counted in slices of customers, and shown when all are done.
CREATE TABLE chs.day_count (
    one              boolean PRIMARY KEY DEFAULT true CHECK (one),
    first_day        date NOT NULL,
    last_day         date NOT NULL,
    from_days        date[] NOT NULL,
    to_days          date[] NOT NULL,
    last_customer_id bigint NOT NULL DEFAULT '-9223372036854775808',
    seconds          double precision NOT NULL DEFAULT 0
);
COMMENT ON TABLE chs.day_count IS 'internal: holds a row while days are being counted';
COMMENT ON COLUMN chs.day_count.one IS 'there is at most one row';
COMMENT ON COLUMN chs.day_count.first_day IS 'the first of these days';
COMMENT ON COLUMN chs.day_count.last_day IS 'the last of them';
COMMENT ON COLUMN chs.day_count.from_days IS 'with to_days: between which days moves are counted';
COMMENT ON COLUMN chs.day_count.to_days IS 'with from_days: between which days moves are counted';
COMMENT ON COLUMN chs.day_count.last_customer_id IS 'customers up to this one are counted';
COMMENT ON COLUMN chs.day_count.seconds IS 'how long that took';
CREATE TABLE chs.partial_counts (LIKE chs.daily_counts,
    UNIQUE NULLS NOT DISTINCT (span, day, segment, from_status, to_status)) WITH (fillfactor = 50);
COMMENT ON TABLE chs.partial_counts IS 'internal: what the counted customers add to chs.daily_counts, until all are counted';
COMMENT ON COLUMN chs.partial_counts.day IS 'as in chs.daily_counts';
COMMENT ON COLUMN chs.partial_counts.span IS 'as in chs.daily_counts';
COMMENT ON COLUMN chs.partial_counts.segment IS 'as in chs.daily_counts';
COMMENT ON COLUMN chs.partial_counts.from_status IS 'as in chs.daily_counts';
COMMENT ON COLUMN chs.partial_counts.to_status IS 'as in chs.daily_counts';
COMMENT ON COLUMN chs.partial_counts.customers IS 'as in chs.daily_counts';
COMMENT ON COLUMN chs.partial_counts.score_hundredths IS 'as in chs.daily_counts';
COMMENT ON COLUMN chs.partial_counts.value IS 'as in chs.daily_counts';
COMMENT ON COLUMN chs.partial_counts.customers_hash IS 'as in chs.daily_counts';

-- The definition of all these counts, for any customers and pairs of days.  At the end of a day a customer has the
-- status of its last row of history up to then, unless it had left.
CREATE FUNCTION chs.count_moves(from_days date[], to_days date[], after bigint, up_to bigint,
        OUT from_day date, OUT to_day date, OUT segment text, OUT from_status text, OUT to_status text,
        OUT customers bigint, OUT score_hundredths bigint, OUT value numeric, OUT customers_hash bigint)
    RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 100
    -- sorting is what would take most of the time
    SET search_path = pg_catalog, pg_temp SET jit = off SET enable_mergejoin = off
BEGIN ATOMIC
    WITH days AS MATERIALIZED (
        SELECT DISTINCT d.day FROM unnest(from_days || to_days) d (day)
    ), known AS MATERIALIZED (
        SELECT c.customer_id, n.day, s.segment, c.value,
               CASE WHEN c.churned_on <= n.day THEN 'churned' ELSE s.status END AS status,
               CASE WHEN c.churned_on <= n.day THEN 0 ELSE COALESCE((s.score * 100)::bigint, 0) END AS score_hundredths
        FROM (SELECT o.customer_id, o.value, (o.churned_at AT TIME ZONE 'UTC')::date AS churned_on
              FROM chs.customers o WHERE o.customer_id > after AND o.customer_id <= up_to) c
        CROSS JOIN days n
        CROSS JOIN LATERAL (
            SELECT h.status, h.segment, h.score FROM chs.health_scores h
            WHERE h.customer_id = c.customer_id AND h.as_of <= n.day
            ORDER BY h.as_of DESC, h.health_score_id DESC LIMIT 1) s
    )
    SELECT p.from_day, p.to_day, CASE WHEN t.status = 'churned' THEN f.segment ELSE t.segment END, COALESCE(f.status, 'none'), t.status, count(*),
           sum(t.score_hundredths)::bigint, COALESCE(sum(t.value), 0),
           bit_xor(hashint8extended(t.customer_id, (f.status IS NULL)::integer::bigint))
    FROM unnest(from_days, to_days) p (from_day, to_day)
    JOIN known t ON t.day = p.to_day
    LEFT JOIN known f ON f.customer_id = t.customer_id AND f.day = p.from_day
    -- who had left before, or came and left in between, is not there at either end
    WHERE t.status <> 'churned' OR f.status <> 'churned'
    GROUP BY 1, 2, 3, 4, 5;
END;
COMMENT ON FUNCTION chs.count_moves(date[], date[], bigint, bigint)
    IS 'how many of the customers after one and up to another moved from which status to which between the ends of two UTC days, for each pair of days; not those who were not there at either end';

-- Decides which days to count next, if any: those that are over, and those of which the past has changed.
CREATE FUNCTION chs.begin_day_count(at_once boolean) RETURNS boolean
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    yesterday CONSTANT date := (now() AT TIME ZONE 'UTC')::date - 1;
    spans     CONSTANT integer[] := '{7,30,90}';
    first_counted date;
    first_day date;
    last_day  date;
    recount   date;
BEGIN
    SELECT min(d.day), max(d.day) + 1 INTO first_counted, first_day FROM chs.counted_days d;
    -- the first time, and unless more is asked for, only yesterday
    IF first_day IS NULL AND EXISTS (SELECT FROM chs.health_scores s WHERE s.as_of <= yesterday) THEN
        first_day := yesterday;
    END IF;
    SELECT min(CASE WHEN r.extends THEN r.from_day ELSE greatest(r.from_day, COALESCE(first_counted, first_day, yesterday)) END)
    INTO recount FROM chs.recounts r;
    -- by themselves, corrections take no more than a hundredth of the time, and none while there is more to come
    IF recount < COALESCE(first_day, yesterday + 1)
       AND (at_once OR NOT EXISTS (SELECT FROM chs.progress p WHERE p.job = 'history' AND p.state = 'running')
            AND NOT EXISTS (SELECT FROM chs.counted_days d WHERE d.counted_at + 100 * (yesterday + 1 - recount) * d.seconds * interval '1 second' > now())) THEN
        first_day := recount;
    END IF;
    IF first_day IS NULL OR first_day > yesterday THEN
        RETURN false;
    END IF;
    last_day := least(yesterday, first_day + 30);
    -- who began before midnight may still be writing history of that day
    IF EXISTS (SELECT FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
               WHERE l.relation = 'chs.health_scores'::regclass AND l.mode = 'RowExclusiveLock' AND l.granted
                 AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
                 AND l.pid IS DISTINCT FROM pg_backend_pid()
                 AND (a.xact_start < (last_day + 1)::timestamp AT TIME ZONE 'UTC') IS NOT FALSE) THEN
        RETURN false;
    END IF;
    UPDATE chs.recounts SET taken = true
    WHERE CASE WHEN extends THEN from_day ELSE greatest(from_day, COALESCE(first_counted, first_day)) END >= first_day;
    INSERT INTO chs.day_count (first_day, last_day, from_days, to_days)
    SELECT first_day, last_day, array_agg(m.to_day - m.span), array_agg(m.to_day)
    FROM (SELECT first_day + n AS to_day, 1 AS span FROM generate_series(0, last_day - first_day) n
          UNION ALL SELECT last_day, u.span FROM unnest(spans) u (span) WHERE last_day = yesterday) m;
    RETURN true;
END
$$;
COMMENT ON FUNCTION chs.begin_day_count(boolean) IS 'begins to count days, if some are to be counted; at once, or when it is time';

CREATE FUNCTION chs.end_day_count() RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    counted chs.day_count;
BEGIN
    DELETE FROM chs.day_count RETURNING * INTO counted;
    -- the longer spans only of the latest day
    DELETE FROM chs.daily_counts d
    WHERE d.span = 1 AND d.day BETWEEN counted.first_day AND counted.last_day
       OR d.span > 1 AND cardinality(counted.to_days) > counted.last_day - counted.first_day + 1;
    WITH counts AS (DELETE FROM chs.partial_counts RETURNING *)
    INSERT INTO chs.daily_counts TABLE counts;
    PERFORM chs.end_movers(cardinality(counted.to_days) > counted.last_day - counted.first_day + 1);
    INSERT INTO chs.counted_days (day, seconds)
    SELECT counted.first_day + n, counted.seconds / (counted.last_day - counted.first_day + 1)
    FROM generate_series(0, counted.last_day - counted.first_day) n
    ON CONFLICT ON CONSTRAINT counted_days_pkey DO UPDATE SET (counted_at, seconds) = ROW (excluded.counted_at, excluded.seconds);
    WITH gone AS (DELETE FROM chs.recounts WHERE taken RETURNING extends)
    INSERT INTO chs.recounts (from_day, extends)
    SELECT counted.last_day + 1, bool_or(g.extends) FROM gone g WHERE counted.last_day < (now() AT TIME ZONE 'UTC')::date - 1
    HAVING count(*) > 0;
END
$$;
COMMENT ON FUNCTION chs.end_day_count() IS 'shows the days that have been counted';

-- One slice: looks up to about so many rows of history up.
CREATE FUNCTION chs.count_days_slice(max_rows integer, at_once boolean) RETURNS boolean
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    started CONSTANT timestamptz := clock_timestamp();
    counting chs.day_count;
    slice_to bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM chs.day_count) AND NOT EXISTS (SELECT FROM chs.recounts)
       AND EXISTS (SELECT FROM chs.counted_days d WHERE d.day = (now() AT TIME ZONE 'UTC')::date - 1) THEN
        RETURN false;
    END IF;
    IF at_once THEN
        PERFORM pg_advisory_xact_lock('chs'::regnamespace::oid::integer, 2);
    ELSIF NOT pg_try_advisory_xact_lock('chs'::regnamespace::oid::integer, 2) THEN
        RETURN false;
    END IF;
    SELECT * INTO counting FROM chs.day_count;
    IF NOT FOUND THEN
        RETURN chs.begin_day_count(at_once);
    END IF;
    SELECT max(s.customer_id) INTO slice_to
    FROM (SELECT c.customer_id FROM chs.customers c WHERE c.customer_id > counting.last_customer_id ORDER BY c.customer_id
          LIMIT greatest(1, max_rows / (cardinality(counting.to_days) + 1))) s;
    IF slice_to IS NULL THEN
        PERFORM chs.end_day_count();
        RETURN true;
    END IF;
    INSERT INTO chs.partial_counts AS p (day, span, segment, from_status, to_status, customers, score_hundredths, value, customers_hash)
    SELECT m.to_day, m.to_day - m.from_day, m.segment, m.from_status, m.to_status, m.customers, m.score_hundredths, m.value, m.customers_hash
    FROM chs.count_moves(counting.from_days, counting.to_days, counting.last_customer_id, slice_to) m
    ON CONFLICT (span, day, segment, from_status, to_status) DO UPDATE SET
        (customers, score_hundredths, value, customers_hash) =
        ROW (p.customers + excluded.customers, p.score_hundredths + excluded.score_hundredths, p.value + excluded.value,
             p.customers_hash # excluded.customers_hash);
    PERFORM chs.find_movers(counting.last_day, counting.last_customer_id, slice_to)
    WHERE cardinality(counting.to_days) > counting.last_day - counting.first_day + 1;
    UPDATE chs.day_count SET last_customer_id = slice_to,
                             seconds = day_count.seconds + extract(epoch FROM clock_timestamp() - started)::double precision;
    RETURN true;
END
$$;
COMMENT ON FUNCTION chs.count_days_slice(integer, boolean)
    IS 'does the next piece of counting days, and tells whether there may be more; at once, or when it is time and nobody else does';

CREATE FUNCTION chs.count_days(from_day date) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- for each step a snapshot of its own
    before CONSTANT timestamptz := clock_timestamp();
BEGIN
    IF from_day >= (now() AT TIME ZONE 'UTC')::date THEN
        RAISE EXCEPTION 'invalid value for "%": %', 'from_day', from_day
            USING ERRCODE = 'invalid_parameter_value', DETAIL = 'It must be a UTC day that is over.';
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'days cannot be counted in a transaction of isolation level %', upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'feature_not_supported', HINT = 'Use a transaction of isolation level READ COMMITTED.';
    END IF;
    -- no further back than there is history, or counts: days before would count nobody
    INSERT INTO chs.recounts (from_day, extends)
    SELECT greatest(count_days.from_day, COALESCE(least((SELECT min(s.as_of) FROM chs.health_scores s), (SELECT min(d.day) FROM chs.counted_days d)),
                                                  (now() AT TIME ZONE 'UTC')::date - 1)), true
    WHERE count_days.from_day IS NOT NULL;
    WHILE chs.count_days_slice(100000, true) LOOP
    END LOOP;
    RETURN (SELECT count(*) FROM chs.counted_days d WHERE d.counted_at >= before);
END
$$;
COMMENT ON FUNCTION chs.count_days(date) IS 'does what chs_count_days() does, with the privileges of the extension''s owner';

CREATE FUNCTION @extschema@.chs_count_days(from_day date DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chs_count_days';
COMMENT ON FUNCTION @extschema@.chs_count_days(date)
    IS 'counts the UTC days that are over, in chs.daily_stats, as workers do by themselves: those that have not been counted, those whose history has changed, and all from the given one on; returns how many it counted';

-- Customers who have been deleted since then are still counted, and so may be those whose history has.  So where the
-- customers are the same all must be; otherwise there may be more of them than are found, but not fewer, who had a
-- status before.
CREATE FUNCTION chs.wrong_counts(OUT object text, OUT stored text, OUT expected text) RETURNS SETOF record
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    -- those that are about to be counted again may be wrong
    before    CONSTANT date := COALESCE((SELECT min(r.from_day) FROM chs.recounts r), 'infinity');
    from_days date[];
    to_days   date[];
BEGIN
    SELECT array_agg(p.day - p.span), array_agg(p.day) INTO from_days, to_days
    FROM (SELECT d.day, 1 AS span FROM chs.counted_days d
          UNION SELECT d.day, d.span FROM chs.daily_counts d) p
    WHERE p.day < before;
    IF to_days IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH slices AS (
        SELECT COALESCE(lag(c.customer_id) OVER (ORDER BY c.customer_id), '-9223372036854775808') AS after, c.customer_id AS up_to
        FROM (SELECT o.customer_id, row_number() OVER (ORDER BY o.customer_id) AS n, count(*) OVER () AS total FROM chs.customers o) c
        WHERE c.n % greatest(1, 200000 / cardinality(to_days)) = 0 OR c.n = c.total
    ), found AS (
        SELECT m.to_day AS day, m.to_day - m.from_day AS span, m.segment, m.from_status, m.to_status,
               sum(m.customers) AS customers, sum(m.score_hundredths) AS score_hundredths, bit_xor(m.customers_hash) AS customers_hash
        FROM slices s CROSS JOIN LATERAL chs.count_moves(from_days, to_days, s.after, s.up_to) m
        GROUP BY m.to_day, m.to_day - m.from_day, m.segment, m.from_status, m.to_status
    ), compared AS (
        SELECT c.*, bit_xor(c.stored_hash) OVER w = bit_xor(c.found_hash) OVER w AS same_customers
        FROM (SELECT day, span, COALESCE(s.segment, f.segment) AS segment, from_status, to_status,
                     COALESCE(s.customers, 0) AS stored_customers, COALESCE(s.score_hundredths, 0) AS stored_score, COALESCE(s.customers_hash, 0) AS stored_hash,
                     COALESCE(f.customers, 0) AS found_customers, COALESCE(f.score_hundredths, 0) AS found_score, COALESCE(f.customers_hash, 0) AS found_hash
              FROM (SELECT d.*, COALESCE(d.segment, '') AS g FROM chs.daily_counts d WHERE d.day < before) s
              FULL JOIN (SELECT o.*, COALESCE(o.segment, '') AS g FROM found o) f USING (day, span, g, from_status, to_status)) c
        WINDOW w AS (PARTITION BY c.day, c.span)
    )
    SELECT format('daily_counts of %s, %s, %s to %s in %s', w.day, COALESCE(quote_literal(w.segment), 'no segment'), w.from_status, w.to_status,
                  CASE w.span WHEN 1 THEN '1 day' ELSE format('%s days', w.span) END),
           format('%s customers, %s points', w.stored_customers, (w.stored_score / 100.0)::numeric(30, 2)),
           format('%s customers, %s points', w.found_customers, (w.found_score / 100.0)::numeric(30, 2))
    FROM compared w
    WHERE CASE WHEN w.same_customers THEN (w.stored_customers, w.stored_score, w.stored_hash) <> (w.found_customers, w.found_score, w.found_hash)
               ELSE w.stored_customers < w.found_customers AND w.from_status <> 'none' END
    ORDER BY w.day, w.span, w.segment, w.from_status, w.to_status;
END
$$;
COMMENT ON FUNCTION chs.wrong_counts() IS 'the rows of chs.daily_counts that differ from what the history says, as chs_verify() reports them';

-- What is over is counted already, as far as spans go; whom row-level security limits to some customers counts those.
CREATE FUNCTION @extschema@.chs_status_movements(from_day date DEFAULT NULL, to_day date DEFAULT NULL,
        OUT from_status text, OUT to_status text, OUT customers bigint)
    RETURNS SETOF record
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 25
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    until CONSTANT date := COALESCE(to_day, (SELECT max(d.day) FROM chs.counted_days d), (now() AT TIME ZONE 'UTC')::date);
    since CONSTANT date := COALESCE(from_day, until - 30);
BEGIN
    IF since > until THEN
        RAISE EXCEPTION '"from_day" (%) must not be after "to_day" (%)', since, until USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY
    SELECT n.from_status, n.to_status, sum(n.customers)::bigint
    FROM chs.daily_counts n WHERE n.span = until - since AND n.day = until
    GROUP BY n.from_status, n.to_status;
    IF NOT FOUND THEN
        RETURN QUERY
        SELECT m.from_status, m.to_status, sum(m.customers)::bigint
        FROM chs.count_moves(ARRAY[since], ARRAY[until], '-9223372036854775808'::bigint, 9223372036854775807::bigint) m
        GROUP BY m.from_status, m.to_status;
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.chs_status_movements(date, date)
    IS 'how many customers moved from which status to which between the ends of two UTC days, by default the latest one that has been counted and 30 days before; none: no score yet, churned: the customer had left. From counters for 1 day, and for 7, 30 and 90 days up to the latest one; else from the history, some microseconds for each customer';

CREATE VIEW chs.status_movements WITH (security_invoker) AS
SELECT m.from_status, m.to_status, m.customers FROM @extschema@.chs_status_movements(NULL::date, NULL::date) m;
COMMENT ON VIEW chs.status_movements IS 'how many customers moved from which status to which in the 30 UTC days up to the latest one that has been counted, normally yesterday; chs_status_movements covers any period';
COMMENT ON COLUMN chs.status_movements.from_status IS 'status at the end of the day before these; none: no score yet';
COMMENT ON COLUMN chs.status_movements.to_status IS 'status at the end of the latest one, or churned';
COMMENT ON COLUMN chs.status_movements.customers IS 'how many customers';

CREATE VIEW chs.daily_stats WITH (security_invoker) AS
SELECT n.day, n.segment,
       COALESCE(sum(n.customers) FILTER (WHERE n.to_status <> 'churned'), 0)::bigint AS total,
       COALESCE(sum(n.customers) FILTER (WHERE n.to_status = 'healthy'), 0)::bigint AS healthy,
       COALESCE(sum(n.customers) FILTER (WHERE n.to_status = 'at_risk'), 0)::bigint AS at_risk,
       COALESCE(sum(n.customers) FILTER (WHERE n.to_status = 'critical'), 0)::bigint AS critical,
       COALESCE(sum(n.customers) FILTER (WHERE n.to_status = 'unknown'), 0)::bigint AS unknown,
       round(sum(n.score_hundredths) / nullif(100 * sum(n.customers) FILTER (WHERE n.to_status IN ('healthy', 'at_risk', 'critical')), 0), 2)::double precision AS average_score,
       CASE WHEN n.day > f.day THEN COALESCE(sum(n.customers) FILTER (WHERE n.from_status = 'none'), 0)::bigint END AS arrivals,
       COALESCE(sum(n.customers) FILTER (WHERE n.to_status = 'churned'), 0)::bigint AS departures,
       COALESCE(sum(n.customers) FILTER (WHERE (n.from_status, n.to_status) IN (('critical', 'at_risk'), ('critical', 'healthy'), ('at_risk', 'healthy'))), 0)::bigint AS improved,
       COALESCE(sum(n.customers) FILTER (WHERE (n.to_status, n.from_status) IN (('critical', 'at_risk'), ('critical', 'healthy'), ('at_risk', 'healthy'))), 0)::bigint AS worsened,
       COALESCE(sum(n.value) FILTER (WHERE n.to_status <> 'churned'), 0)::double precision AS value,
       COALESCE(sum(n.value) FILTER (WHERE n.to_status IN ('at_risk', 'critical')), 0)::double precision AS value_at_risk
FROM (SELECT d.day, d.segment, d.from_status, d.to_status, d.customers, d.score_hundredths, d.value
      FROM chs.daily_counts d WHERE d.span = 1
      UNION ALL
      -- for roles that row-level security limits to some customers
      SELECT m.to_day, m.segment, m.from_status, m.to_status, m.customers, m.score_hundredths, m.value
      FROM chs.counted_days c
      CROSS JOIN LATERAL chs.count_moves(ARRAY[c.day - 1], ARRAY[c.day], '-9223372036854775808'::bigint, 9223372036854775807::bigint) m
      WHERE row_security_active('chs.customers'::regclass)) n
CROSS JOIN (SELECT min(c.day) AS day FROM chs.counted_days c) f
GROUP BY n.day, n.segment, f.day;
COMMENT ON VIEW chs.daily_stats IS 'the number of customers of each segment and status at the end of each UTC day that is over, how many came, left and moved on it, and what they were worth; counted by the workers after midnight, and by chs_backfill_history()';
COMMENT ON COLUMN chs.daily_stats.day IS 'the UTC day';
COMMENT ON COLUMN chs.daily_stats.segment IS 'the segment that they were scored in; NULL: customers without one';
COMMENT ON COLUMN chs.daily_stats.total IS 'customers of the segment at the end of the day, without churned ones';
COMMENT ON COLUMN chs.daily_stats.healthy IS 'of status healthy';
COMMENT ON COLUMN chs.daily_stats.at_risk IS 'of status at_risk';
COMMENT ON COLUMN chs.daily_stats.critical IS 'of status critical';
COMMENT ON COLUMN chs.daily_stats.unknown IS 'of status unknown: too little data for a score';
COMMENT ON COLUMN chs.daily_stats.average_score IS 'mean score, to two decimals; NULL if nobody has one';
COMMENT ON COLUMN chs.daily_stats.arrivals IS 'customers scored for the first time; NULL on the first day that has been counted';
COMMENT ON COLUMN chs.daily_stats.departures IS 'customers who left';
COMMENT ON COLUMN chs.daily_stats.improved IS 'customers whose status became better: critical, at_risk, healthy, in this order';
COMMENT ON COLUMN chs.daily_stats.worsened IS 'customers whose status became worse';
COMMENT ON COLUMN chs.daily_stats.value IS 'what these customers are worth, as known when they were counted';
COMMENT ON COLUMN chs.daily_stats.value_at_risk IS 'what those of status at_risk or critical are worth';

REVOKE EXECUTE ON FUNCTION @extschema@.chs_count_days(date) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION chs.count_days(date) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION chs.count_days_slice(integer, boolean) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION chs.begin_day_count(boolean) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION chs.end_day_count() FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION chs.wrong_counts() FROM PUBLIC;
