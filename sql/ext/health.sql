-- Health: the score of every customer, and its history.

CREATE TABLE chs.customer_health (
    customer_id   bigint PRIMARY KEY,
    score         double precision CHECK (score BETWEEN 0 AND 100),
    status        text NOT NULL CHECK (status IN ('healthy', 'at_risk', 'critical', 'unknown')),
    coverage      double precision NOT NULL,
    trend         text CHECK (trend IN ('improving', 'stable', 'declining')),
    factor_scores double precision[] NOT NULL,
    segment       text,
    scorecard     text NOT NULL,
    version       integer NOT NULL,
    as_of         date NOT NULL,
    calculated_at timestamptz NOT NULL,
    recorded_score double precision,
    active        boolean NOT NULL
) WITH (fillfactor = 70);
ALTER TABLE chs.customer_health ADD CONSTRAINT customer_health_customer_id_fkey
    FOREIGN KEY (customer_id) REFERENCES chs.customers ON UPDATE CASCADE ON DELETE CASCADE;
ALTER TABLE chs.customer_health DISABLE TRIGGER ALL;
COMMENT ON TABLE chs.customer_health IS 'the health of each customer, kept by the worker';
COMMENT ON COLUMN chs.customer_health.score IS '0 to 100; NULL where the status is unknown';
COMMENT ON COLUMN chs.customer_health.status IS 'healthy, at_risk, critical or unknown';
COMMENT ON COLUMN chs.customer_health.coverage IS 'share of the factor weight that rests on data, 0 to 1';
COMMENT ON COLUMN chs.customer_health.trend IS 'improving, stable or declining against some days ago (the scorecard''s trend_days); NULL where there was no score';
COMMENT ON COLUMN chs.customer_health.factor_scores IS 'score of each factor, in the order of chs.scorecard_version_factors; NULL without data';
COMMENT ON COLUMN chs.customer_health.segment IS 'the segment of the customer that was used';
COMMENT ON COLUMN chs.customer_health.scorecard IS 'the scorecard that was used';
COMMENT ON COLUMN chs.customer_health.version IS 'the published version that was used';
COMMENT ON COLUMN chs.customer_health.as_of IS 'the UTC day that the score is for';
COMMENT ON COLUMN chs.customer_health.calculated_at IS 'when the worker calculated it';
COMMENT ON COLUMN chs.customer_health.active IS 'false from the UTC day of churned_at on: dashboards do not count the customer';
COMMENT ON COLUMN chs.customer_health.recorded_score IS 'score of the latest row of chs.health_scores';

-- What dashboards ask all the time, so that it need not be counted each time.
-- Nothing is updated in place: whoever changes a status, or removes a customer,
-- appends a row, and folding now and then replaces many rows by their sum.
CREATE TABLE chs.health_counts (
    healthy      bigint NOT NULL,
    at_risk      bigint NOT NULL,
    critical     bigint NOT NULL,
    unknown      bigint NOT NULL,
    last_updated timestamptz
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
COMMENT ON TABLE chs.health_counts IS 'the rows sum to the number of active customers of each status';
COMMENT ON COLUMN chs.health_counts.last_updated IS 'when health was calculated; within a second';

CREATE FUNCTION chs.uncount_health() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM chs.health_counts;
    ELSIF OLD.active THEN
        INSERT INTO chs.health_counts (healthy, at_risk, critical, unknown)
        VALUES (-(OLD.status = 'healthy')::integer, -(OLD.status = 'at_risk')::integer,
                -(OLD.status = 'critical')::integer, -(OLD.status = 'unknown')::integer);
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION chs.uncount_health() IS 'trigger: takes deleted customers out of chs.health_counts';
CREATE TRIGGER uncount_health AFTER DELETE ON chs.customer_health
    FOR EACH ROW EXECUTE FUNCTION chs.uncount_health();
CREATE TRIGGER uncount_all_health AFTER TRUNCATE ON chs.customer_health
    FOR EACH STATEMENT EXECUTE FUNCTION chs.uncount_health();

CREATE TABLE chs.health_scores (
    health_score_id bigint GENERATED ALWAYS AS IDENTITY,
    customer_id     bigint NOT NULL,
    score           double precision,
    status          text NOT NULL,
    coverage        double precision NOT NULL,
    trend           text,
    factor_scores   double precision[] NOT NULL,
    segment         text,
    scorecard       text NOT NULL,
    version         integer NOT NULL,
    as_of           date NOT NULL,
    calculated_at   timestamptz NOT NULL,
    PRIMARY KEY (customer_id, health_score_id)
);
-- The rows come in this order, so a few blocks of summaries do.
CREATE INDEX health_scores_calculated_at_idx ON chs.health_scores USING brin (calculated_at);
-- For retention; new rows go to its end, and a day's rows share their key.
CREATE INDEX health_scores_as_of_idx ON chs.health_scores (as_of);
ALTER TABLE chs.health_scores ADD CONSTRAINT health_scores_customer_id_fkey
    FOREIGN KEY (customer_id) REFERENCES chs.customers ON UPDATE CASCADE ON DELETE CASCADE;
ALTER TABLE chs.health_scores DISABLE TRIGGER ALL;
COMMENT ON TABLE chs.health_scores IS 'history: one row per customer and UTC day, and one for each change that matters';
COMMENT ON SEQUENCE chs.health_scores_health_score_id_seq IS 'numbers chs.health_scores';
COMMENT ON COLUMN chs.health_scores.segment IS 'the segment that the customer was in, by whose scorecard, weights and targets the score was made';
COMMENT ON COLUMN chs.health_scores.version IS 'the published version that made the score, with which it can be recomputed';
