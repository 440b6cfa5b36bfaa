-- Views of the past: what chs.health_scores can tell, per customer and UTC day.

CREATE VIEW chs.daily_scores WITH (security_invoker) AS
SELECT DISTINCT ON (s.customer_id, s.as_of)
       s.customer_id, s.as_of AS day, s.score, s.status, s.coverage, s.trend, s.scorecard, s.version, s.health_score_id, s.backfilled
FROM chs.health_scores s
ORDER BY s.customer_id, s.as_of, s.health_score_id DESC;
COMMENT ON VIEW chs.daily_scores IS 'the last score of every customer on every UTC day, within chs.history_threshold';
COMMENT ON COLUMN chs.daily_scores.customer_id IS 'the customer';
COMMENT ON COLUMN chs.daily_scores.day IS 'the UTC day; today''s score is not final yet';
COMMENT ON COLUMN chs.daily_scores.score IS '0 to 100; NULL if the status is unknown';
COMMENT ON COLUMN chs.daily_scores.status IS 'healthy, at_risk, critical or unknown';
COMMENT ON COLUMN chs.daily_scores.coverage IS 'share of the factor weight that rests on data, 0 to 1';
COMMENT ON COLUMN chs.daily_scores.trend IS 'improving, stable or declining; NULL if there was no score to compare with';
COMMENT ON COLUMN chs.daily_scores.scorecard IS 'the scorecard that was used';
COMMENT ON COLUMN chs.daily_scores.version IS 'its published version';
COMMENT ON COLUMN chs.daily_scores.health_score_id IS 'the row of chs.health_scores; chs.factor_scores has its factors';
COMMENT ON COLUMN chs.daily_scores.backfilled IS 'whether it was computed afterwards, by chs_backfill_history()';

-- A row that was added later is for the end of its day.  Rows that may change a status are few and have an index;
-- whether they do is seen from the row before.
CREATE VIEW chs.status_changes WITH (security_invoker) AS
SELECT s.customer_id, p.status AS previous_status, s.status, s.score, s.started_at, n.started_at AS ended_at,
       (extract(epoch FROM COALESCE(n.started_at, greatest(least(now(), c.churned_at), s.started_at)) - s.started_at) / 86400)::double precision AS lasted_days
FROM (SELECT h.customer_id, h.as_of, h.health_score_id, COALESCE(h.calm_status, h.status) AS status, h.score,
             least(h.calculated_at, (h.as_of + 1)::timestamp AT TIME ZONE 'UTC') AS started_at
      FROM chs.health_scores h WHERE h.may_change) s
JOIN chs.customers c USING (customer_id)
LEFT JOIN LATERAL (
    SELECT COALESCE(o.calm_status, o.status) AS status FROM chs.health_scores o
    WHERE o.customer_id = s.customer_id AND (o.as_of, o.health_score_id) < (s.as_of, s.health_score_id)
    ORDER BY o.as_of DESC, o.health_score_id DESC LIMIT 1) p ON true
LEFT JOIN LATERAL (
    SELECT least(o.calculated_at, (o.as_of + 1)::timestamp AT TIME ZONE 'UTC') AS started_at FROM chs.health_scores o
    WHERE o.customer_id = s.customer_id AND (o.as_of, o.health_score_id) > (s.as_of, s.health_score_id)
      AND o.may_change AND COALESCE(o.calm_status, o.status) <> s.status
    ORDER BY o.as_of, o.health_score_id LIMIT 1) n ON true
WHERE s.status IS DISTINCT FROM p.status;
COMMENT ON VIEW chs.status_changes IS 'every change of a customer''s status, beyond the dead band of its scorecard (calm_points), if it has one, and how long the new one lasted';
COMMENT ON COLUMN chs.status_changes.customer_id IS 'the customer';
COMMENT ON COLUMN chs.status_changes.previous_status IS 'the status before; NULL: it is the first one';
COMMENT ON COLUMN chs.status_changes.status IS 'the status since';
COMMENT ON COLUMN chs.status_changes.score IS 'the score that began it; NULL if the status is unknown';
COMMENT ON COLUMN chs.status_changes.started_at IS 'since when';
COMMENT ON COLUMN chs.status_changes.ended_at IS 'until when; NULL: it lasts';
COMMENT ON COLUMN chs.status_changes.lasted_days IS 'days from its start to its end, or until now, or until the customer churned';

-- Transactions do not commit in the order of their identifiers, of the rows' numbers, or of any time, so what is
-- new is what the earlier snapshot did not see.  Both bounds together have the planner expect few rows, and use the index.
CREATE FUNCTION @extschema@.chs_status_changes(since pg_snapshot,
        OUT customer_id bigint, OUT previous_status text, OUT status text, OUT score double precision, OUT changed_at timestamptz)
    RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
    SET search_path = pg_catalog, pg_temp SET jit = off
BEGIN ATOMIC
    SELECT s.customer_id, p.status, COALESCE(s.calm_status, s.status), s.score, s.calculated_at
    FROM chs.health_scores s
    LEFT JOIN LATERAL (
        SELECT COALESCE(o.calm_status, o.status) AS status FROM chs.health_scores o
        WHERE o.customer_id = s.customer_id AND (o.as_of, o.health_score_id) < (s.as_of, s.health_score_id)
        ORDER BY o.as_of DESC, o.health_score_id DESC LIMIT 1) p ON true
    WHERE s.changed_by >= pg_snapshot_xmin(since) AND s.changed_by < pg_snapshot_xmax(pg_current_snapshot())
      AND NOT pg_visible_in_snapshot(s.changed_by, since)
    ORDER BY s.health_score_id;
END;
COMMENT ON FUNCTION @extschema@.chs_status_changes(pg_snapshot)
    IS 'the changes of status that an earlier pg_current_snapshot() did not see, in whatever order transactions have committed; not first scores, nor those of customers who have churned';

-- Today is left out: it is incomplete, with part of its volume still to come.
CREATE VIEW chs.health_trend WITH (security_invoker) AS
SELECT t.customer_id, t.first_day, t.last_day, t.days, t.slope,
       CASE WHEN t.slope >= 0.1 THEN 'improving' WHEN t.slope <= -0.1 THEN 'declining' WHEN t.slope IS NOT NULL THEN 'stable' END AS trend
FROM (SELECT s.customer_id, min(s.day) AS first_day, max(s.day) AS last_day, count(*) AS days,
             CASE WHEN count(*) >= 7 THEN regr_slope(s.score, s.day - ((now() AT TIME ZONE 'UTC')::date - 28)) END AS slope
      FROM (SELECT DISTINCT ON (s.customer_id, s.as_of) s.customer_id, s.as_of AS day, s.score
            FROM chs.health_scores s
            WHERE s.as_of BETWEEN (now() AT TIME ZONE 'UTC')::date - 28 AND (now() AT TIME ZONE 'UTC')::date - 1
            ORDER BY s.customer_id, s.as_of, s.health_score_id DESC) s
      WHERE s.score IS NOT NULL
      GROUP BY s.customer_id) t;
COMMENT ON VIEW chs.health_trend IS 'where each customer''s score is heading: the straight line through the last scores of the 28 UTC days before today';
COMMENT ON COLUMN chs.health_trend.customer_id IS 'the customer';
COMMENT ON COLUMN chs.health_trend.first_day IS 'first of those days that has a score';
COMMENT ON COLUMN chs.health_trend.last_day IS 'last of those days that has a score';
COMMENT ON COLUMN chs.health_trend.days IS 'how many of those days have a score';
COMMENT ON COLUMN chs.health_trend.slope IS 'points per day; NULL with fewer than 7 days';
COMMENT ON COLUMN chs.health_trend.trend IS 'improving if the slope is at least 0.1, declining if at most -0.1, otherwise stable';

-- The factor whose points changed most in the direction of the score.
CREATE FUNCTION chs.moved_most(change double precision,
        version integer, scorecard text, segment text, factor_scores double precision[],
        old_version integer, old_scorecard text, old_segment text, old_factor_scores double precision[]) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT n.factor
    FROM (SELECT f.factor, f.ordinal, $5[f.ordinal] * f.weight / nullif(sum(f.weight) FILTER (WHERE $5[f.ordinal] IS NOT NULL) OVER (), 0) AS points
          FROM (SELECT g.factor, g.ordinal, COALESCE((g.segment_weights ->> $4)::double precision, g.weight) AS weight
                FROM chs.scorecard_version_factors g WHERE g.version = $2 AND g.scorecard = $3) f) n
    LEFT JOIN (SELECT f.factor, $9[f.ordinal] * f.weight / nullif(sum(f.weight) FILTER (WHERE $9[f.ordinal] IS NOT NULL) OVER (), 0) AS points
          FROM (SELECT g.factor, g.ordinal, COALESCE((g.segment_weights ->> $8)::double precision, g.weight) AS weight
                FROM chs.scorecard_version_factors g WHERE g.version = $6 AND g.scorecard = $7) f) o USING (factor)
    WHERE $1 <> 0
    ORDER BY (COALESCE(n.points, 0) - COALESCE(o.points, 0)) * sign($1) DESC, n.ordinal LIMIT 1;
END;
COMMENT ON FUNCTION chs.moved_most(double precision, integer, text, text, double precision[], integer, text, text, double precision[])
    IS 'the factor that contributed most to the change from one score to another, by the scores of the factors then and before';

CREATE VIEW chs.score_changes WITH (security_invoker) AS
SELECT c.customer_id, c.name, c.segment, h.score, h.status, p.score AS previous_score, p.status AS previous_status,
       p.as_of AS previous_day, h.score - p.score AS change,
       chs.moved_most(h.score - p.score, h.version, h.scorecard, h.segment, h.factor_scores, p.version, p.scorecard, p.segment, p.factor_scores) AS moved_most
FROM chs.customer_health h
JOIN chs.customers c USING (customer_id)
CROSS JOIN LATERAL (
    SELECT s.score, s.status, s.as_of, s.factor_scores, s.segment, s.scorecard, s.version
    FROM chs.health_scores s
    WHERE s.customer_id = h.customer_id AND s.as_of <= (now() AT TIME ZONE 'UTC')::date - 7
    ORDER BY s.as_of DESC, s.health_score_id DESC LIMIT 1) p
WHERE h.active;
COMMENT ON VIEW chs.score_changes IS 'what moved since last week: the score of every active customer now and at the end of the UTC day seven days ago. Looks everybody''s up, so takes seconds for a million; chs.movers has the largest changes up to yesterday';
COMMENT ON COLUMN chs.score_changes.customer_id IS 'the customer';
COMMENT ON COLUMN chs.score_changes.name IS 'its name';
COMMENT ON COLUMN chs.score_changes.segment IS 'its segment, if any';
COMMENT ON COLUMN chs.score_changes.score IS 'now; NULL if the status is unknown';
COMMENT ON COLUMN chs.score_changes.status IS 'now';
COMMENT ON COLUMN chs.score_changes.previous_score IS 'then; NULL if the status was unknown';
COMMENT ON COLUMN chs.score_changes.previous_status IS 'then';
COMMENT ON COLUMN chs.score_changes.previous_day IS 'the UTC day of that score, the latest that has one and is at least seven days ago';
COMMENT ON COLUMN chs.score_changes.change IS 'points gained, negative if lost; NULL unless both scores are known';
COMMENT ON COLUMN chs.score_changes.moved_most IS 'the factor that contributed most to the change';

CREATE FUNCTION @extschema@.chs_daily_activity(customer_id bigint, days integer DEFAULT 90,
        OUT day date, OUT event_type text, OUT events bigint)
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED COST 1000 ROWS 100 AS 'MODULE_PATHNAME', 'chs_daily_activity';
COMMENT ON FUNCTION @extschema@.chs_daily_activity(bigint, integer)
    IS 'the number of events of each type that a customer has on each of the last days, from all sources; no row for a day without';

CREATE VIEW chs.daily_activity WITH (security_invoker) AS
SELECT c.customer_id, d.day, d.event_type, d.events
FROM chs.customers c CROSS JOIN LATERAL @extschema@.chs_daily_activity(c.customer_id, 90) d;
COMMENT ON VIEW chs.daily_activity IS 'events of the last 90 UTC days, today included, per customer, day and type; reads the raw events of each customer';
COMMENT ON COLUMN chs.daily_activity.customer_id IS 'the customer';
COMMENT ON COLUMN chs.daily_activity.day IS 'the UTC day';
COMMENT ON COLUMN chs.daily_activity.event_type IS 'the type of the events';
COMMENT ON COLUMN chs.daily_activity.events IS 'how many there were';
