-- Whose score has changed most within some days, up to the latest UTC day that has been counted.

-- Found while that day is counted, for to put changes in order at any time would cost every fold.
CREATE TABLE chs.daily_movers (
    span           integer NOT NULL,
    day            date NOT NULL,
    customer_id    bigint NOT NULL REFERENCES chs.customers ON UPDATE CASCADE ON DELETE CASCADE,
    segment        text,
    change         double precision NOT NULL CHECK (change <> 0),
    score          double precision NOT NULL,
    previous_score double precision NOT NULL,
    partial        boolean NOT NULL,
    PRIMARY KEY (partial, span, customer_id)
);
CREATE INDEX daily_movers_customer_id_idx ON chs.daily_movers (customer_id);
COMMENT ON TABLE chs.daily_movers IS 'internal: the customers of each segment whose score has changed most within some days';
COMMENT ON COLUMN chs.daily_movers.span IS 'within so many UTC days: 7, 30 or 90';
COMMENT ON COLUMN chs.daily_movers.day IS 'until the end of this UTC day';
COMMENT ON COLUMN chs.daily_movers.customer_id IS 'the customer';
COMMENT ON COLUMN chs.daily_movers.segment IS 'the segment that it was scored in';
COMMENT ON COLUMN chs.daily_movers.change IS 'points gained, negative if lost';
COMMENT ON COLUMN chs.daily_movers.score IS 'at the end of the day';
COMMENT ON COLUMN chs.daily_movers.previous_score IS 'at the end of the day so many days before';
COMMENT ON COLUMN chs.daily_movers.partial IS 'true: found while the day is being counted, until all customers are counted';

-- Of the customers of a slice; each may be among the first hundred of all.
CREATE FUNCTION chs.find_movers(day date, after bigint, up_to bigint) RETURNS void
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp SET jit = off
BEGIN ATOMIC
    INSERT INTO chs.daily_movers AS m (span, day, customer_id, segment, change, score, previous_score, partial)
    SELECT r.span, $1, r.customer_id, r.segment, r.change, r.score, r.previous_score, true
    FROM (SELECT p.span, c.customer_id, t.segment, t.score - f.score AS change, t.score, f.score AS previous_score,
                 row_number() OVER (PARTITION BY p.span, t.segment, t.score > f.score ORDER BY abs(t.score - f.score) DESC, c.customer_id) AS n
          FROM chs.customers c
          CROSS JOIN LATERAL (
              SELECT h.score, h.segment FROM chs.health_scores h
              WHERE h.customer_id = c.customer_id AND h.as_of <= $1
              ORDER BY h.as_of DESC, h.health_score_id DESC LIMIT 1) t
          CROSS JOIN unnest('{7,30,90}'::integer[]) p (span)
          CROSS JOIN LATERAL (
              SELECT h.score FROM chs.health_scores h
              WHERE h.customer_id = c.customer_id AND h.as_of <= $1 - p.span
              ORDER BY h.as_of DESC, h.health_score_id DESC LIMIT 1) f
          WHERE c.customer_id > $2 AND c.customer_id <= $3
            AND ((c.churned_at AT TIME ZONE 'UTC')::date <= $1) IS NOT TRUE AND t.score <> f.score) r
    WHERE r.n <= 100
    ON CONFLICT (partial, span, customer_id) DO UPDATE SET
        (day, segment, change, score, previous_score) = ROW (excluded.day, excluded.segment, excluded.change, excluded.score, excluded.previous_score);
END;
COMMENT ON FUNCTION chs.find_movers(date, bigint, bigint)
    IS 'adds those to chs.daily_movers who moved most, of the customers after one and up to another';

CREATE FUNCTION chs.end_movers(found boolean) RETURNS void
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    DELETE FROM chs.daily_movers m WHERE $1 AND NOT m.partial;
    -- what was found for an earlier day was left by a count that did not end
    WITH found AS (DELETE FROM chs.daily_movers m WHERE m.partial RETURNING m.*)
    INSERT INTO chs.daily_movers (span, day, customer_id, segment, change, score, previous_score, partial)
    SELECT r.span, r.day, r.customer_id, r.segment, r.change, r.score, r.previous_score, false
    FROM (SELECT f.*, max(f.day) OVER () AS last_day,
                 row_number() OVER (PARTITION BY f.day, f.span, f.segment, f.change > 0 ORDER BY abs(f.change) DESC, f.customer_id) AS n
          FROM found f) r
    WHERE $1 AND r.n <= 100 AND r.day = r.last_day;
END;
COMMENT ON FUNCTION chs.end_movers(boolean) IS 'shows who moved most, if that was found';
REVOKE EXECUTE ON FUNCTION chs.find_movers(date, bigint, bigint) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION chs.end_movers(boolean) FROM PUBLIC;

CREATE VIEW chs.movers WITH (security_invoker) AS
SELECT m.span AS days, m.day, m.customer_id, c.name, m.segment, c.owner, c.value::double precision AS value,
       t.status, f.status AS previous_status, m.score, m.previous_score, m.change,
       chs.moved_most(m.change, t.version, t.scorecard, t.segment, t.factor_scores, f.version, f.scorecard, f.segment, f.factor_scores) AS moved_most
FROM chs.daily_movers m
JOIN chs.customers c USING (customer_id)
LEFT JOIN LATERAL (
    SELECT h.* FROM chs.health_scores h WHERE h.customer_id = m.customer_id AND h.as_of <= m.day
    ORDER BY h.as_of DESC, h.health_score_id DESC LIMIT 1) t ON true
LEFT JOIN LATERAL (
    SELECT h.* FROM chs.health_scores h WHERE h.customer_id = m.customer_id AND h.as_of <= m.day - m.span
    ORDER BY h.as_of DESC, h.health_score_id DESC LIMIT 1) f ON true
WHERE NOT m.partial;
COMMENT ON VIEW chs.movers IS 'the customers whose score rose or fell most within the last 7, 30 and 90 UTC days that are over: of each segment the hundred that rose most, and the hundred that fell most; others are in score_changes';
COMMENT ON COLUMN chs.movers.days IS 'within so many days: 7, 30 or 90';
COMMENT ON COLUMN chs.movers.day IS 'until the end of this UTC day, normally yesterday';
COMMENT ON COLUMN chs.movers.customer_id IS 'the customer';
COMMENT ON COLUMN chs.movers.name IS 'its name';
COMMENT ON COLUMN chs.movers.segment IS 'the segment that it was scored in';
COMMENT ON COLUMN chs.movers.owner IS 'who looks after it';
COMMENT ON COLUMN chs.movers.value IS 'the revenue of a year, in the company''s currency';
COMMENT ON COLUMN chs.movers.status IS 'at the end of the day';
COMMENT ON COLUMN chs.movers.previous_status IS 'so many days before';
COMMENT ON COLUMN chs.movers.score IS 'at the end of the day';
COMMENT ON COLUMN chs.movers.previous_score IS 'so many days before';
COMMENT ON COLUMN chs.movers.change IS 'points gained, negative if lost';
COMMENT ON COLUMN chs.movers.moved_most IS 'the factor that contributed most to the change';
