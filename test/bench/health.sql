-- :view is the score of all customers from :source.
CREATE VIEW :view AS
SELECT c.customer_id,
       round(((0.30 * f.api + 0.20 * f.login + COALESCE(0.25 * f.payment, 0) + 0.15 * f.feature + 0.10 * f.support)
              / (0.75 + CASE WHEN f.payment IS NULL THEN 0 ELSE 0.25 END) + 1e-9)::numeric, 2)::double precision AS score
FROM chs.customers c
LEFT JOIN (
    SELECT customer_id,
           sum(n) FILTER (WHERE event_type = 'api_call') AS calls,
           count(value) FILTER (WHERE event_type = 'api_call') AS endpoints,
           sum(marks) FILTER (WHERE event_type = 'api_call') AS errors,
           sum(n) FILTER (WHERE event_type = 'login') AS logins,
           count(value) FILTER (WHERE event_type = 'login') AS users,
           sum(x) FILTER (WHERE event_type = 'login') / sum(nullif(xs, 0)) FILTER (WHERE event_type = 'login') AS session,
           sum(n) FILTER (WHERE event_type = 'payment') AS payments,
           sum(n) FILTER (WHERE event_type = 'payment' AND value IN ('paid_on_time', 'completed')) AS on_time,
           sum(x) FILTER (WHERE event_type = 'payment') / sum(nullif(xs, 0)) FILTER (WHERE event_type = 'payment') AS delay,
           sum(y) FILTER (WHERE event_type = 'payment') AS amount,
           sum(y) FILTER (WHERE event_type = 'payment' AND value IN ('overdue', 'failed', 'pending')) AS outstanding,
           sum(n) FILTER (WHERE event_type = 'payment' AND value = 'overdue') AS overdue,
           sum(n) FILTER (WHERE event_type = 'payment' AND value = 'failed') AS failed,
           sum(n) FILTER (WHERE event_type = 'payment' AND value IN ('paid_late', 'pending')) AS late,
           count(value) FILTER (WHERE event_type = 'feature_use') AS features,
           count(value) FILTER (WHERE event_type = 'feature_use' AND marks > 0) AS advanced,
           sum(n) FILTER (WHERE event_type = 'support_ticket') AS tickets,
           sum(x) FILTER (WHERE event_type = 'support_ticket') / sum(nullif(xs, 0)) FILTER (WHERE event_type = 'support_ticket') AS resolution,
           sum(y) FILTER (WHERE event_type = 'support_ticket') / sum(nullif(ys, 0)) FILTER (WHERE event_type = 'support_ticket') AS satisfaction,
           sum(n) FILTER (WHERE event_type = 'support_ticket' AND value = 'urgent') AS urgent,
           sum(n) FILTER (WHERE event_type = 'support_ticket' AND value = 'high') AS high
    FROM :source GROUP BY customer_id) e USING (customer_id)
CROSS JOIN LATERAL (
    SELECT bounded(100.0 * COALESCE(calls, 0) / CASE segment WHEN 'enterprise' THEN 1000 WHEN 'smb' THEN 500
                                                             WHEN 'startup' THEN 200 ELSE 300 END) AS calls,
           bounded(100.0 * nullif(endpoints, 0) / 5) AS endpoints,
           bounded(100 - 400.0 * COALESCE(errors, 0) / calls) AS errors,
           bounded(100.0 * COALESCE(logins, 0) / 20) AS logins,
           bounded(session / 6) AS session,
           bounded(100.0 * nullif(users, 0) / CASE segment WHEN 'enterprise' THEN 10 WHEN 'smb' THEN 5 WHEN 'startup' THEN 2 END) AS users,
           100.0 * COALESCE(on_time, 0) / payments AS on_time,
           bounded(100 - delay * 100 / 30) AS delay,
           bounded(100 - 200 * COALESCE(outstanding, 0) / amount) AS outstanding,
           bounded(100.0 * COALESCE(features, 0) / 8) AS features,
           bounded(100.0 * advanced / nullif(features, 0) / 0.3) AS advanced,
           CASE WHEN tickets IS NULL THEN 100 WHEN tickets <= 2 THEN 80 WHEN tickets <= 4 THEN 60
                WHEN tickets <= 6 THEN 40 ELSE greatest(10, 40 - 5 * (tickets - 6)) END AS volume,
           bounded(150 - 50 * resolution / 86400 / CASE segment WHEN 'enterprise' THEN 1 WHEN 'smb' THEN 2 WHEN 'startup' THEN 3 END) AS resolution,
           bounded(25 * (satisfaction - 1)) AS satisfaction) m
CROSS JOIN LATERAL (
    SELECT (0.70 * m.calls + COALESCE(0.15 * m.endpoints, 0) + COALESCE(0.15 * m.errors, 0))
           / (0.70 + CASE WHEN m.endpoints IS NULL THEN 0 ELSE 0.15 END + CASE WHEN m.errors IS NULL THEN 0 ELSE 0.15 END) AS api,
           (0.70 * m.logins + COALESCE(0.15 * m.session, 0) + COALESCE(0.15 * m.users, 0))
           / (0.70 + CASE WHEN m.session IS NULL THEN 0 ELSE 0.15 END + CASE WHEN m.users IS NULL THEN 0 ELSE 0.15 END) AS login,
           CASE WHEN payments > 0 THEN bounded(
               (0.70 * m.on_time + COALESCE(0.15 * m.delay, 0) + COALESCE(0.15 * m.outstanding, 0))
               / (0.70 + CASE WHEN m.delay IS NULL THEN 0 ELSE 0.15 END + CASE WHEN m.outstanding IS NULL THEN 0 ELSE 0.15 END)
               - 20 * COALESCE(overdue, 0) - 10 * COALESCE(failed, 0) - 5 * COALESCE(late, 0)) END AS payment,
           (0.80 * m.features + COALESCE(0.20 * m.advanced, 0)) / (0.80 + CASE WHEN m.advanced IS NULL THEN 0 ELSE 0.20 END) AS feature,
           bounded((0.60 * m.volume + COALESCE(0.20 * m.resolution, 0) + COALESCE(0.20 * m.satisfaction, 0))
               / (0.60 + CASE WHEN m.resolution IS NULL THEN 0 ELSE 0.20 END + CASE WHEN m.satisfaction IS NULL THEN 0 ELSE 0.20 END)
               - 10 * COALESCE(urgent, 0) - 5 * COALESCE(high, 0)) AS support) f;
