-- Health: the score of every customer, and its history.

-- An update on the same page logs what lies between the first and the last byte
-- that change, so columns that nearly always change come after those that rarely do.
CREATE TABLE chs.customer_health (
    customer_id    bigint PRIMARY KEY,
    segment        text,
    scorecard      text NOT NULL,
    version        integer NOT NULL,
    as_of          date NOT NULL,
    status         text NOT NULL CHECK (status IN ('healthy', 'at_risk', 'critical', 'unknown')),
    trend          text CHECK (trend IN ('improving', 'stable', 'declining')),
    coverage       double precision NOT NULL,
    factor_scores  double precision[] NOT NULL,
    calculated_at  timestamptz NOT NULL,
    score          double precision CHECK (score BETWEEN 0 AND 100),
    recorded_score double precision,
    risk_score     double precision,
    active         boolean NOT NULL,
    -- changes only with the status, so behind what an update logs
    status_since    timestamptz NOT NULL,
    previous_status text CHECK (previous_status IN ('healthy', 'at_risk', 'critical', 'unknown'))
) WITH (fillfactor = 70);
-- Lists begin with the lowest scores.  The index contains only those below healthy,
-- which have a column of their own: an index on the score would prevent heap-only
-- updates of all rows, and cost folding a quarter of its speed.
CREATE INDEX customer_health_risk_score_idx ON chs.customer_health (risk_score, customer_id) WHERE risk_score IS NOT NULL;
-- Lists of the others, in pages by customer_id.  A new score of a customer in the index above writes an entry in every
-- index that it is in, so these leave it out; theirs is a heap-only update unless the status or the trend changes.
CREATE INDEX customer_health_status_idx ON chs.customer_health (status, customer_id) WHERE status IN ('healthy', 'unknown');
CREATE INDEX customer_health_trend_idx ON chs.customer_health (status, trend, customer_id) WHERE status IN ('healthy', 'unknown');
ALTER TABLE chs.customer_health ADD CONSTRAINT customer_health_customer_id_fkey
    FOREIGN KEY (customer_id) REFERENCES chs.customers ON UPDATE CASCADE ON DELETE CASCADE;
ALTER TABLE chs.customer_health DISABLE TRIGGER ALL;
COMMENT ON TABLE chs.customer_health IS 'the current health of each customer, kept by the workers';
COMMENT ON COLUMN chs.customer_health.score IS '0 to 100; NULL if the status is unknown';
COMMENT ON COLUMN chs.customer_health.status IS 'healthy, at_risk, critical or unknown';
COMMENT ON COLUMN chs.customer_health.coverage IS 'share of the factor weight that rests on data, 0 to 1';
COMMENT ON COLUMN chs.customer_health.trend IS 'improving, stable or declining, compared with some days ago (the scorecard''s trend_days); NULL if there was no score';
COMMENT ON COLUMN chs.customer_health.factor_scores IS 'score of each factor, in the order of chs.scorecard_version_factors; NULL without data';
COMMENT ON COLUMN chs.customer_health.segment IS 'the segment of the customer that was used';
COMMENT ON COLUMN chs.customer_health.scorecard IS 'the scorecard that was used';
COMMENT ON COLUMN chs.customer_health.version IS 'the published version that was used';
COMMENT ON COLUMN chs.customer_health.as_of IS 'the UTC day that the score is for';
COMMENT ON COLUMN chs.customer_health.calculated_at IS 'when it was calculated; the same for a whole batch';
COMMENT ON COLUMN chs.customer_health.active IS 'false from the UTC day of churned_at on: dashboards do not count the customer';
COMMENT ON COLUMN chs.customer_health.status_since IS 'when the status began, as far as chs.health_scores has told';
COMMENT ON COLUMN chs.customer_health.previous_status IS 'the status before; NULL: it is the first one';
COMMENT ON COLUMN chs.customer_health.customer_id IS 'the customer';
COMMENT ON COLUMN chs.customer_health.risk_score IS 'the score of an active customer that is at_risk or critical, otherwise NULL';
COMMENT ON COLUMN chs.customer_health.recorded_score IS 'score of the latest row of chs.health_scores';

-- What dashboards ask all the time, so that it need not be counted each time.
-- Nothing is updated in place: whoever changes a status, or removes a customer,
-- appends a row, and folding occasionally replaces many rows by their sum.
CREATE TABLE chs.health_counts (
    segment          text,
    healthy          bigint NOT NULL,
    at_risk          bigint NOT NULL,
    critical         bigint NOT NULL,
    unknown          bigint NOT NULL,
    score_hundredths bigint NOT NULL,
    last_updated     timestamptz,
    by_score         integer[]
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
COMMENT ON TABLE chs.health_counts IS 'internal: the rows of a segment sum to the number of its active customers of each status';
COMMENT ON COLUMN chs.health_counts.segment IS 'NULL: customers without a segment';
COMMENT ON COLUMN chs.health_counts.healthy IS 'to be added to the number of status healthy';
COMMENT ON COLUMN chs.health_counts.at_risk IS 'to be added to the number of status at_risk';
COMMENT ON COLUMN chs.health_counts.critical IS 'to be added to the number of status critical';
COMMENT ON COLUMN chs.health_counts.unknown IS 'to be added to the number of status unknown';
COMMENT ON COLUMN chs.health_counts.score_hundredths IS 'to be added to the sum of their scores, in hundredths of a point, which add up exactly';
COMMENT ON COLUMN chs.health_counts.last_updated IS 'when health was last calculated, within a second';

COMMENT ON COLUMN chs.health_counts.by_score IS 'to be added to the numbers with a score from 0 to 5, 5 to 10, ... 95 to 100; NULL: nothing';

CREATE FUNCTION chs.at_score(score double precision, n integer) RETURNS integer[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
RETURN array_fill(0, ARRAY[least(floor(score / 5)::integer, 19)]) || n || array_fill(0, ARRAY[19 - least(floor(score / 5)::integer, 19)]);
COMMENT ON FUNCTION chs.at_score(double precision, integer) IS 'so many in the range of a score, as in chs.health_counts.by_score; NULL without a score';
CREATE FUNCTION chs.add_by_score(integer[], integer[]) RETURNS integer[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
RETURN ARRAY(SELECT u.a + u.b FROM unnest($1, $2) WITH ORDINALITY u (a, b, i) ORDER BY u.i);
COMMENT ON FUNCTION chs.add_by_score(integer[], integer[]) IS 'the sum of two, range by range';
CREATE AGGREGATE chs.sum_by_score(integer[]) (SFUNC = chs.add_by_score, STYPE = integer[], COMBINEFUNC = chs.add_by_score, PARALLEL = SAFE);
COMMENT ON AGGREGATE chs.sum_by_score(integer[]) IS 'the sum, range by range';

-- Folding counts what it writes by itself; this counts changes by others.
CREATE FUNCTION chs.recount_health() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM chs.health_counts;
        RETURN NULL;
    END IF;
    INSERT INTO chs.health_counts (segment, healthy, at_risk, critical, unknown, score_hundredths, by_score)
    SELECT r.segment, r.n * (r.status = 'healthy')::integer, r.n * (r.status = 'at_risk')::integer,
           r.n * (r.status = 'critical')::integer, r.n * (r.status = 'unknown')::integer,
           r.n * COALESCE(round(r.score::numeric * 100), 0), chs.at_score(CASE WHEN r.status <> 'unknown' THEN COALESCE(r.score, 0) END, r.n)
    FROM (SELECT -1 AS n, OLD.segment, OLD.status, OLD.score, OLD.active
          UNION ALL SELECT 1, NEW.segment, NEW.status, NEW.score, NEW.active WHERE TG_OP = 'UPDATE') r
    WHERE r.active;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION chs.recount_health() IS 'trigger: removes deleted customers from chs.health_counts';
CREATE TRIGGER recount_health AFTER UPDATE OF segment, status, score, active OR DELETE ON chs.customer_health
    FOR EACH ROW EXECUTE FUNCTION chs.recount_health();
CREATE TRIGGER recount_all_health AFTER TRUNCATE ON chs.customer_health
    FOR EACH STATEMENT EXECUTE FUNCTION chs.recount_health();
-- Also when the engine deletes, and for customers who go by logical replication, for which ordinary triggers do not fire.
ALTER TABLE chs.customer_health ENABLE ALWAYS TRIGGER recount_health, ENABLE ALWAYS TRIGGER recount_all_health;

CREATE TABLE chs.health_scores (
    health_score_id bigint GENERATED ALWAYS AS IDENTITY,
    -- from here on as in chs.customer_health
    customer_id     bigint NOT NULL,
    segment         text,
    scorecard       text NOT NULL,
    version         integer NOT NULL,
    as_of           date NOT NULL,
    status          text NOT NULL,
    trend           text,
    coverage        double precision NOT NULL,
    factor_scores   double precision[] NOT NULL,
    calculated_at   timestamptz NOT NULL,
    score           double precision,
    backfilled      boolean NOT NULL DEFAULT false,
    may_change      boolean NOT NULL DEFAULT true,
    -- folding fills it in; generated, so that dumps leave it out: transaction IDs mean nothing in another cluster
    changed_by    xid8 GENERATED ALWAYS AS (NULL::xid8) STORED,
    calm_status   text,
    -- in chronological order, even though rows for past days may be added later
    PRIMARY KEY (customer_id, as_of, health_score_id)
);
-- Rows arrive in this order, so a few blocks of summaries suffice.
CREATE INDEX health_scores_as_of_idx ON chs.health_scores USING brin (as_of, calculated_at);
-- Lists of changes of status, latest first; the expression is that of chs.status_changes.
CREATE INDEX health_scores_may_change_idx ON chs.health_scores
    (least(calculated_at, (as_of + 1)::timestamp AT TIME ZONE 'UTC'), customer_id) WHERE may_change;
-- Only rows that changed a status, which are few.
CREATE INDEX health_scores_changed_by_idx ON chs.health_scores (changed_by) WHERE changed_by IS NOT NULL;
ALTER TABLE chs.health_scores ADD CONSTRAINT health_scores_customer_id_fkey
    FOREIGN KEY (customer_id) REFERENCES chs.customers ON UPDATE CASCADE ON DELETE CASCADE;
ALTER TABLE chs.health_scores DISABLE TRIGGER ALL;
COMMENT ON TABLE chs.health_scores IS 'history: one row per customer and UTC day, and one for each significant change';
COMMENT ON SEQUENCE chs.health_scores_health_score_id_seq IS 'numbers chs.health_scores';
COMMENT ON COLUMN chs.health_scores.segment IS 'the segment that the customer was in, whose scorecard, weights and targets gave the score';
COMMENT ON COLUMN chs.health_scores.health_score_id IS 'identifies the row; later rows have higher ones';
COMMENT ON COLUMN chs.health_scores.customer_id IS 'the customer';
COMMENT ON COLUMN chs.health_scores.score IS '0 to 100; NULL if the status is unknown';
COMMENT ON COLUMN chs.health_scores.status IS 'healthy, at_risk, critical or unknown';
COMMENT ON COLUMN chs.health_scores.coverage IS 'share of the factor weight that rests on data, 0 to 1';
COMMENT ON COLUMN chs.health_scores.trend IS 'improving, stable or declining; NULL if there was no score to compare with';
COMMENT ON COLUMN chs.health_scores.factor_scores IS 'score of each factor, in the order of chs.scorecard_version_factors; NULL without data';
COMMENT ON COLUMN chs.health_scores.scorecard IS 'the scorecard that was used';
COMMENT ON COLUMN chs.health_scores.as_of IS 'the UTC day that the score is for; the last row of a day shows how it ended';
COMMENT ON COLUMN chs.health_scores.calculated_at IS 'when it was calculated; the same for a whole batch';
COMMENT ON COLUMN chs.health_scores.backfilled IS 'true: computed afterwards by chs_backfill_history(), from the events as they were known then; false: recorded at the time';
COMMENT ON COLUMN chs.health_scores.may_change IS 'false: the status is that of the row before, of the same day or the day before, between which no other can be added; true: it may be another one';
COMMENT ON COLUMN chs.health_scores.version IS 'the published version that gave the score, and can reproduce it';
COMMENT ON COLUMN chs.health_scores.changed_by IS 'the transaction that changed the status by this row; NULL if it did not change, is the first one or of a churned customer, or after a restore';
COMMENT ON COLUMN chs.health_scores.calm_status IS 'the status that counts for changes of status, if it is another one: the score has not gone calm_points of the scorecard beyond the bound';
