-- The trend: who does the same every day is stable at every hour of the day, by every
-- segment, rate and window, as a whole and in each factor and metric.  Prints TAP.
\ir tap.sql
SELECT set_config('tap.note', format('seed %s', :'seed'), false), setseed(:seed::bigint % 1000003 / 1000003.0) \g /dev/null
SET jit = off;
DROP SCHEMA IF EXISTS steady CASCADE;
CREATE SCHEMA steady;

-- The live scorecard, and the same with windows of a week, in which a day weighs most.
CREATE TABLE steady.card AS
SELECT v.document AS month, regexp_replace(v.document::text, '"window_days": \d+', '"window_days": 7', 'g')::jsonb AS week
FROM chs.scorecard_versions v WHERE v.version = 1;
-- Each hour with some rates: events a day, evenly spaced from a random moment on, until as_of.
CREATE TABLE steady.customer AS
SELECT row_number() OVER () AS id, hour, segment, rate, random() AS phase,
       timestamptz '2026-03-02 00:00Z' + hour * interval '1 hour' + random() * interval '1 hour' AS as_of
FROM generate_series(0, 23) hour, unnest('{enterprise,smb,startup,nobody}'::text[]) segment,
     LATERAL (SELECT (ARRAY[1, 2, 3, 7, 10, 17])[1 + floor(random() * 6 + hour * 0)] AS rate) r;
CREATE TABLE steady.activity AS
SELECT c.id, d.document, a.activity
FROM steady.customer c, steady.card, LATERAL (VALUES (month), (week)) d(document),
     LATERAL (
        SELECT chs_activity_agg(d.document, e.event_type, e.event_data, t.at) AS activity
        FROM generate_series(0, 100 * c.rate) n,
             LATERAL (SELECT date_trunc('day', c.as_of) - interval '99 days' + (n + c.phase) * interval '1 day' / c.rate AS at) t,
             (VALUES ('api_call', jsonb '{"endpoint": "/x", "status_code": 200}'),
                     ('login', '{"ip_address": "::1", "session_duration": 300, "user_id": 1}'),
                     ('payment', '{"amount": 10, "status": "paid_on_time"}'),
                     ('feature_use', '{"feature_name": "a", "tier": "basic"}'),
                     ('support_ticket', '{"priority": "low"}')) e(event_type, event_data)
        WHERE t.at <= c.as_of) a;
SELECT * FROM tap.none($$
    SELECT c.hour, c.segment, c.rate, s.score, s.trend
    FROM steady.activity a JOIN steady.customer c USING (id),
         chs_activity_score(a.activity, a.document, c.segment, '2020-01-01', c.as_of) s
    WHERE s.trend IS DISTINCT FROM 'stable'$$, 'a constant rate of events is a stable score at every hour');
SELECT * FROM tap.none($$
    SELECT c.hour, c.segment, c.rate, e.factor, e.metric, e.score, e.trend
    FROM steady.activity a JOIN steady.customer c USING (id),
         chs.activity_explain(a.activity, a.document, c.segment, '2020-01-01', c.as_of) e
    WHERE e.trend IS DISTINCT FROM 'stable' AND e.score IS NOT NULL$$,
    'and stable in each factor and metric');
-- What changes is seen: a login a day besides the one in three days, 1.33 points each.
SELECT * FROM tap.none($$
    SELECT d.days, s.trend FROM steady.card, generate_series(0, 7) d(days),
        LATERAL (SELECT chs_activity_agg(month, 'login', '{"ip_address": "::1"}', timestamptz '2026-03-02 12:00Z' - n * interval '1 day') AS activity
                 FROM generate_series(0, 99) n, generate_series(0, 1) i WHERE CASE i WHEN 0 THEN n % 3 = 0 ELSE n < d.days END) a,
        chs_activity_score(a.activity, month, 'smb', '2020-01-01', '2026-03-02 13:00Z') s
    WHERE s.trend IS DISTINCT FROM CASE WHEN d.days < 3 THEN 'stable' ELSE 'improving' END$$,
    'more events are an improvement as soon as they make a difference over whole days');
DROP SCHEMA steady CASCADE;
