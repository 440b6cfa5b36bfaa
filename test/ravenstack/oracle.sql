-- The oracle: scores of the RavenStack company (credit: River at Rivalytics) in
-- plain SQL, from the facts, in numeric arithmetic.  It shares nothing with the
-- engine: rules, weights, targets and curves are written out here a second time,
-- as design.md states them.

-- What a scorecard is, in the oracle's own words.
CREATE TABLE raven.card (card text PRIMARY KEY, min_coverage numeric, grace boolean, factors text[]);
INSERT INTO raven.card VALUES
    ('default', 0.5, true, '{api_usage,login_frequency,payment_timeliness,feature_adoption,support_tickets}'),
    ('volume_only', 0, false, '{api_usage,login_frequency,payment_timeliness,feature_adoption,support_tickets}'),
    ('ravenstack', 0.5, true, '{adoption,revenue,service}');

CREATE TABLE raven.rule (
    card text, factor text, factor_weight numeric, metric text, window_days integer,
    weight numeric,         -- of a metric
    penalty numeric,        -- of a penalty
    missing text,           -- zero, missing, or the score of no data
    counts boolean,         -- no data is a value of 0, not NULL, where it has a score
    PRIMARY KEY (card, metric));
INSERT INTO raven.rule VALUES
    ('default', 'api_usage',          0.30, 'api_calls',          30, 0.70, NULL, 'zero', true),
    ('default', 'api_usage',          0.30, 'endpoint_diversity', 30, 0.15, NULL, 'missing', true),
    ('default', 'api_usage',          0.30, 'api_error_rate',     30, 0.15, NULL, 'missing', false),
    ('default', 'login_frequency',    0.20, 'logins',             30, 0.70, NULL, 'zero', true),
    ('default', 'login_frequency',    0.20, 'session_duration',   30, 0.15, NULL, 'missing', false),
    ('default', 'login_frequency',    0.20, 'active_users',       30, 0.15, NULL, 'missing', true),
    ('default', 'payment_timeliness', 0.25, 'on_time_rate',       90, 0.70, NULL, 'missing', false),
    ('default', 'payment_timeliness', 0.25, 'payment_delay',      90, 0.15, NULL, 'missing', false),
    ('default', 'payment_timeliness', 0.25, 'outstanding_share',  90, 0.15, NULL, 'missing', false),
    ('default', 'payment_timeliness', 0.25, 'overdue',            90, NULL, 20, NULL, NULL),
    ('default', 'payment_timeliness', 0.25, 'failed',             90, NULL, 10, NULL, NULL),
    ('default', 'payment_timeliness', 0.25, 'late_or_pending',    90, NULL, 5, NULL, NULL),
    ('default', 'feature_adoption',   0.15, 'features_used',      30, 0.80, NULL, 'zero', true),
    ('default', 'feature_adoption',   0.15, 'advanced_share',     30, 0.20, NULL, 'missing', false),
    ('default', 'support_tickets',    0.10, 'ticket_volume',      30, 0.60, NULL, '100', true),
    ('default', 'support_tickets',    0.10, 'resolution_time',    30, 0.20, NULL, 'missing', false),
    ('default', 'support_tickets',    0.10, 'satisfaction',       30, 0.20, NULL, 'missing', false),
    ('default', 'support_tickets',    0.10, 'urgent',             30, NULL, 10, NULL, NULL),
    ('default', 'support_tickets',    0.10, 'high_priority',      30, NULL, 5, NULL, NULL),

    ('volume_only', 'api_usage',          0.30, 'api_calls',     30, 1, NULL, 'zero', true),
    ('volume_only', 'login_frequency',    0.20, 'logins',        30, 1, NULL, 'zero', true),
    ('volume_only', 'payment_timeliness', 0.25, 'on_time_rate',  90, 1, NULL, '70', false),
    ('volume_only', 'feature_adoption',   0.15, 'features_used', 30, 1, NULL, 'zero', true),
    ('volume_only', 'support_tickets',    0.10, 'ticket_volume', 30, 1, NULL, '100', true),
    ('volume_only', 'payment_timeliness', 0.25, 'overdue',       90, NULL, 20, NULL, NULL),
    ('volume_only', 'payment_timeliness', 0.25, 'failed',        90, NULL, 10, NULL, NULL),
    ('volume_only', 'payment_timeliness', 0.25, 'late_or_pending', 90, NULL, 5, NULL, NULL),
    ('volume_only', 'support_tickets',    0.10, 'urgent',        30, NULL, 10, NULL, NULL),
    ('volume_only', 'support_tickets',    0.10, 'high_priority', 30, NULL, 5, NULL, NULL),

    ('ravenstack', 'adoption', 5, 'days_active',    30, 4, NULL, 'zero', true),
    ('ravenstack', 'adoption', 5, 'last_use',       60, 3, NULL, '0', false),
    ('ravenstack', 'adoption', 5, 'use_growth',     30, 2, NULL, 'missing', false),
    ('ravenstack', 'adoption', 5, 'uses',           30, 1, NULL, 'zero', true),
    ('ravenstack', 'adoption', 5, 'beta_share',     90, 1, NULL, 'missing', false),
    ('ravenstack', 'adoption', 5, 'feature_growth', 45, 1, NULL, 'missing', false),
    ('ravenstack', 'revenue',  3, 'revenue',        30, 1, NULL, 'zero', true),
    ('ravenstack', 'revenue',  3, 'revenue_growth', 90, 1, NULL, 'missing', false),
    ('ravenstack', 'service',  2, 'csat',           90, 5, NULL, 'missing', false),
    ('ravenstack', 'service',  2, 'urgent_time',    90, 3, NULL, 'missing', false),
    ('ravenstack', 'service',  2, 'last_ticket',    90, 2, NULL, '100', false),
    ('ravenstack', 'service',  2, 'escalated',      90, NULL, 15, NULL, NULL);

CREATE FUNCTION raven.target(metric text, segment text) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
SELECT CASE
    WHEN metric = 'api_calls' THEN CASE segment WHEN 'enterprise' THEN 1000 WHEN 'smb' THEN 500 WHEN 'startup' THEN 200 END
    WHEN metric = 'endpoint_diversity' THEN 5
    WHEN metric = 'logins' THEN 20
    WHEN metric = 'session_duration' THEN 600
    WHEN metric = 'active_users' THEN CASE segment WHEN 'enterprise' THEN 10 WHEN 'smb' THEN 5 WHEN 'startup' THEN 2 END
    WHEN metric = 'features_used' THEN 8
    WHEN metric = 'advanced_share' THEN 0.3
    WHEN metric = 'resolution_time' THEN CASE segment WHEN 'enterprise' THEN 24 WHEN 'smb' THEN 48 WHEN 'startup' THEN 72 END * 3600
    WHEN metric = 'days_active' THEN CASE segment WHEN 'enterprise' THEN 4 ELSE 3 END
    WHEN metric = 'uses' THEN 30
    WHEN metric = 'revenue' THEN CASE segment WHEN 'enterprise' THEN 20000 WHEN 'smb' THEN 15000 WHEN 'startup' THEN 12000 END
    WHEN metric = 'urgent_time' THEN 86400
END::numeric
$$;

-- v is the value, t the target; each curve is written as what it says in words.
CREATE FUNCTION raven.metric_score(metric text, v numeric, t numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
SELECT CASE WHEN v IS NOT NULL THEN greatest(0, least(100, CASE
    -- reaches 100 at the target
    WHEN metric IN ('api_calls', 'endpoint_diversity', 'logins', 'session_duration', 'active_users', 'features_used',
                    'advanced_share', 'days_active', 'uses', 'revenue') THEN 100 * v / t
    WHEN metric = 'on_time_rate' THEN 100 * v
    WHEN metric = 'api_error_rate' THEN 100 - 400 * v
    WHEN metric = 'payment_delay' THEN 100 - v * 100 / 30
    WHEN metric = 'outstanding_share' THEN 100 - 200 * v
    WHEN metric = 'resolution_time' THEN 100 - 50 * (v / t - 1)
    WHEN metric IN ('satisfaction', 'csat') THEN 25 * (v - 1)
    -- steps of 20 for two tickets each, then 5 for each one more
    WHEN metric = 'ticket_volume' THEN CASE WHEN v = 0 THEN 100 WHEN v <= 2 THEN 80 WHEN v <= 4 THEN 60 WHEN v <= 6 THEN 40
                                            ELSE greatest(10, 40 - 5 * (v - 6)) END
    WHEN metric = 'last_use' THEN CASE WHEN v < 7 THEN 100 - v * 20 / 7 WHEN v < 30 THEN 80 - (v - 7) * 60 / 23
                                       ELSE 20 - (v - 30) * 20 / 30 END
    WHEN metric IN ('use_growth', 'feature_growth') THEN CASE WHEN v < 0 THEN 60 + 60 * v ELSE 60 + 40 * v END
    WHEN metric = 'beta_share' THEN 50 + 100 * v
    WHEN metric = 'revenue_growth' THEN CASE WHEN v < 0 THEN 70 + 140 * v ELSE 70 + 60 * v END
    WHEN metric = 'urgent_time' THEN 100 - (v / t - 0.5) * 100 / 1.5
    WHEN metric = 'last_ticket' THEN v * 100 / 30
END)) END
$$;

-- Which accounts to score as of which day; a trend compares the day before with the day a
-- week earlier.
CREATE TABLE raven.point (account_id text, day date, PRIMARY KEY (account_id, day));
CREATE VIEW raven.moment AS
SELECT account_id, day - ago AS day FROM raven.point, (VALUES (0), (1), (8)) d(ago) GROUP BY 1, 2;

-- The raw value of every metric and the number of events of every penalty; NULL: no data.
CREATE VIEW raven.value_shipped AS
SELECT p.account_id, p.day, v.metric, v.value
FROM raven.moment p
CROSS JOIN LATERAL (
    SELECT count(*)::numeric AS n, count(DISTINCT endpoint) AS endpoints,
           count(*) FILTER (WHERE status_code >= 400) AS failed
    FROM raven.api_call a WHERE a.account_id = p.account_id AND a.day > p.day - 30 AND a.day <= p.day) a
CROSS JOIN LATERAL (
    SELECT count(*)::numeric AS n, avg(seconds) AS seconds, count(DISTINCT user_id) AS users
    FROM raven.login l WHERE l.account_id = p.account_id AND l.day > p.day - 30 AND l.day <= p.day) l
CROSS JOIN LATERAL (
    SELECT count(*)::numeric AS n, avg(days_late) AS days_late, sum(amount) AS amount,
           count(*) FILTER (WHERE CASE WHEN status IS NULL THEN COALESCE(days_late, 0) <= 0
                                       ELSE status IN ('paid_on_time', 'completed') END) AS on_time,
           COALESCE(sum(amount) FILTER (WHERE status IN ('overdue', 'failed', 'pending')), 0) AS outstanding,
           count(*) FILTER (WHERE status = 'overdue') AS overdue,
           count(*) FILTER (WHERE status = 'failed') AS failed,
           count(*) FILTER (WHERE status IN ('paid_late', 'pending')) AS late_or_pending
    FROM raven.payment y WHERE y.account_id = p.account_id AND y.day > p.day - 90 AND y.day <= p.day) y
CROSS JOIN LATERAL (
    SELECT count(DISTINCT feature) AS features,
           count(DISTINCT feature) FILTER (WHERE tier IS NOT NULL) AS with_tier,
           count(DISTINCT feature) FILTER (WHERE tier = 'advanced') AS advanced
    FROM raven.feature_use f WHERE f.account_id = p.account_id AND f.day > p.day - 30 AND f.day <= p.day) f
CROSS JOIN LATERAL (
    SELECT count(*) AS n, avg(hours * 3600) AS seconds, avg(satisfaction) AS satisfaction,
           count(*) FILTER (WHERE priority = 'urgent') AS urgent, count(*) FILTER (WHERE priority = 'high') AS high
    FROM raven.ticket t WHERE t.account_id = p.account_id AND t.day > p.day - 30 AND t.day <= p.day) t
CROSS JOIN LATERAL (VALUES
    ('api_calls', nullif(a.n, 0)),
    ('endpoint_diversity', nullif(a.endpoints, 0)),
    ('api_error_rate', a.failed / nullif(a.n, 0)),
    ('logins', nullif(l.n, 0)),
    ('session_duration', l.seconds),
    ('active_users', nullif(l.users, 0)),
    ('on_time_rate', y.on_time / nullif(y.n, 0)),
    ('payment_delay', y.days_late),
    ('outstanding_share', y.outstanding / nullif(y.amount, 0)),
    ('overdue', y.overdue),
    ('failed', y.failed),
    ('late_or_pending', y.late_or_pending),
    ('features_used', nullif(f.features, 0)),
    ('advanced_share', f.advanced::numeric / nullif(f.with_tier, 0)),
    ('ticket_volume', nullif(t.n, 0)),
    ('resolution_time', t.seconds),
    ('satisfaction', t.satisfaction),
    ('urgent', t.urgent),
    ('high_priority', t.high)) v(metric, value);

CREATE VIEW raven.value_ravenstack AS
SELECT p.account_id, p.day, v.metric, v.value
FROM raven.moment p
CROSS JOIN LATERAL (
    SELECT count(DISTINCT f.day) FILTER (WHERE f.day > p.day - 30) AS days_active,
           p.day - max(f.day) FILTER (WHERE f.day > p.day - 60) AS last_use,
           count(*) FILTER (WHERE f.day > p.day - 30)::numeric AS uses_now,
           count(*) FILTER (WHERE f.day > p.day - 60 AND f.day <= p.day - 30) AS uses_before,
           sum(uses) FILTER (WHERE f.day > p.day - 30) AS uses,
           COALESCE(sum(uses) FILTER (WHERE beta), 0)::numeric AS beta_uses, sum(uses) AS all_uses,
           count(DISTINCT feature) FILTER (WHERE f.day > p.day - 45)::numeric AS features_now,
           count(DISTINCT feature) FILTER (WHERE f.day <= p.day - 45) AS features_before
    FROM raven.feature_use f WHERE f.account_id = p.account_id AND f.day > p.day - 90 AND f.day <= p.day) f
CROSS JOIN LATERAL (
    SELECT sum(amount) FILTER (WHERE y.day > p.day - 30) AS recent,
           COALESCE(sum(amount) FILTER (WHERE y.day > p.day - 90), 0) AS now,
           sum(amount) FILTER (WHERE y.day <= p.day - 90) AS before
    FROM raven.payment y WHERE y.account_id = p.account_id AND y.day > p.day - 180 AND y.day <= p.day) y
CROSS JOIN LATERAL (
    SELECT avg(satisfaction) AS csat, avg(hours * 3600) FILTER (WHERE priority = 'urgent') AS urgent_time,
           p.day - max(t.day) AS last_ticket, count(*) FILTER (WHERE escalated) AS escalated
    FROM raven.ticket t WHERE t.account_id = p.account_id AND t.day > p.day - 90 AND t.day <= p.day) t
CROSS JOIN LATERAL (VALUES
    ('days_active', nullif(f.days_active, 0)::numeric),
    ('last_use', f.last_use),
    ('use_growth', f.uses_now / nullif(f.uses_before, 0) - 1),
    ('uses', f.uses),
    ('beta_share', f.beta_uses / nullif(f.all_uses, 0)),
    ('feature_growth', f.features_now / nullif(f.features_before, 0) - 1),
    ('revenue', y.recent),
    ('revenue_growth', y.now / nullif(y.before, 0) - 1),
    ('csat', t.csat),
    ('urgent_time', t.urgent_time),
    ('last_ticket', t.last_ticket),
    ('escalated', t.escalated)) v(metric, value);

-- What comes out; made anew by each call of raven.compute, so without indexes.
CREATE UNLOGGED TABLE raven.metric_is (
    account_id text, day date, factor text, metric text, value numeric, target numeric, score numeric,
    weight numeric, penalty numeric);
CREATE UNLOGGED TABLE raven.factor_is (
    account_id text, day date, factor text, ordinal integer, weight numeric, effective_weight numeric,
    mean numeric, penalties numeric, score numeric);
CREATE UNLOGGED TABLE raven.score_is (
    account_id text, day date, exact numeric, coverage numeric, score numeric, status text);
CREATE UNLOGGED TABLE raven.trend_is (
    account_id text, day date, factor text, metric text, trend text);

-- Scores every moment with one scorecard.
CREATE PROCEDURE raven.compute(which text) LANGUAGE plpgsql SET work_mem = '64MB' AS $$
DECLARE
    card raven.card;
BEGIN
    SELECT * INTO STRICT card FROM raven.card k WHERE k.card = which;
    TRUNCATE raven.metric_is, raven.factor_is, raven.score_is, raven.trend_is;

    EXECUTE format($sql$
        INSERT INTO raven.metric_is
        SELECT v.account_id, v.day, r.factor, r.metric, x.value, x.target,
               CASE WHEN r.penalty IS NOT NULL THEN NULL
                    WHEN v.value IS NULL AND r.missing NOT IN ('missing', 'zero') THEN r.missing::numeric
                    ELSE raven.metric_score(r.metric, x.value, x.target) END,
               r.weight, r.penalty
        FROM raven.%I v
        JOIN raven.rule r USING (metric)
        JOIN raven.customer c USING (account_id)
        CROSS JOIN LATERAL (SELECT
            CASE WHEN v.value IS NOT NULL THEN v.value
                 WHEN r.missing = 'zero' AND ($1 = false OR c.since <= v.day - r.window_days + 1) THEN 0
                 WHEN r.missing NOT IN ('missing', 'zero') AND r.counts THEN 0 END AS value,
            raven.target(r.metric, c.segment) AS target
            OFFSET 0) x
        WHERE r.card = $2$sql$,
        CASE which WHEN 'ravenstack' THEN 'value_ravenstack' ELSE 'value_shipped' END) USING card.grace, which;

    ANALYZE raven.point, raven.metric_is;

    -- A factor's penalties count only where something of it has a score.
    INSERT INTO raven.factor_is
    SELECT account_id, day, factor, array_position(card.factors, factor), weight,
           CASE WHEN mean IS NOT NULL
                THEN weight / sum(weight) FILTER (WHERE mean IS NOT NULL) OVER (PARTITION BY account_id, day) END,
           mean, CASE WHEN mean IS NOT NULL THEN penalties END, CASE WHEN mean IS NOT NULL THEN greatest(0, least(100, mean - penalties)) END
    FROM (SELECT m.account_id, m.day, m.factor, r.factor_weight AS weight,
                 sum(m.score * m.weight) / sum(m.weight) FILTER (WHERE m.score IS NOT NULL) AS mean,
                 COALESCE(sum(m.value * m.penalty), 0) AS penalties
          FROM raven.metric_is m JOIN raven.rule r ON r.card = which AND r.metric = m.metric
          GROUP BY m.account_id, m.day, m.factor, r.factor_weight) f;

    INSERT INTO raven.score_is
    SELECT account_id, day, exact, coverage, score,
           CASE WHEN score IS NULL THEN 'unknown' WHEN score >= 75 THEN 'healthy' WHEN score >= 50 THEN 'at_risk'
                ELSE 'critical' END
    FROM (SELECT account_id, day, coverage,
                 CASE WHEN coverage >= card.min_coverage THEN exact END AS exact,
                 CASE WHEN coverage >= card.min_coverage
                      THEN floor((exact + 0.000000001) * 100 + 0.5) / 100 END AS score
          FROM (SELECT account_id, day,
                       sum(score * weight) / sum(weight) FILTER (WHERE score IS NOT NULL) AS exact,
                       COALESCE(sum(weight) FILTER (WHERE score IS NOT NULL), 0) / sum(weight) AS coverage
                FROM raven.factor_is GROUP BY account_id, day) a) b;

    ANALYZE raven.factor_is, raven.score_is;

    -- Improving or declining: by 2 points or more in the 7 days up to the day before.  Quotients such
    -- as 1/6 have only so many digits, and 2 points are often just those.
    INSERT INTO raven.trend_is
    SELECT account_id, day, factor, metric,
           CASE WHEN round(now - before, 9) >= 2 THEN 'improving' WHEN round(now - before, 9) <= -2 THEN 'declining'
                WHEN now - before IS NOT NULL THEN 'stable' END
    FROM (SELECT p.account_id, p.day, NULL::text AS factor, NULL::text AS metric, n.exact AS now, b.exact AS before
          FROM raven.point p JOIN raven.score_is n ON n.account_id = p.account_id AND n.day = p.day - 1
          JOIN raven.score_is b ON b.account_id = p.account_id AND b.day = p.day - 8
          UNION ALL
          SELECT p.account_id, p.day, n.factor, NULL, n.score, b.score
          FROM raven.point p JOIN raven.factor_is n ON n.account_id = p.account_id AND n.day = p.day - 1
          JOIN raven.factor_is b ON b.account_id = p.account_id AND b.day = p.day - 8 AND b.factor = n.factor
          UNION ALL
          SELECT p.account_id, p.day, n.factor, n.metric, n.score, b.score
          FROM raven.point p JOIN raven.metric_is n ON n.account_id = p.account_id AND n.day = p.day - 1
          JOIN raven.metric_is b ON b.account_id = p.account_id AND b.day = p.day - 8 AND b.metric = n.metric
          WHERE n.penalty IS NULL) t;
    ANALYZE raven.trend_is;
END
$$;
