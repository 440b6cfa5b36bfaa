-- Random customers and events, the same for the same setseed(), on the same day.
DROP SCHEMA IF EXISTS rnd CASCADE;
CREATE SCHEMA rnd;

CREATE FUNCTION rnd.whole(low integer, high integer) RETURNS integer LANGUAGE sql VOLATILE AS $$
    SELECT low + floor(random() * (high - low + 1))::integer
$$;
CREATE FUNCTION rnd.pick(choices integer[]) RETURNS integer LANGUAGE plpgsql VOLATILE AS $$
BEGIN RETURN choices[rnd.whole(1, cardinality(choices))]; END
$$;
CREATE FUNCTION rnd.segment() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT ('{enterprise,smb,startup,NULL}'::text[])[rnd.whole(1, 4)]
$$;
-- Moves the session to another time zone.
CREATE FUNCTION rnd.zone() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT set_config('TimeZone', ('{UTC,America/New_York,Asia/Kathmandu,Australia/Lord_Howe,Pacific/Kiritimati,Pacific/Pago_Pago}'::text[])[rnd.whole(1, 6)], false)
$$;
-- A moment of the UTC day so many days ago, often its first or last microsecond.
-- Tomorrow ends where events are still accepted.
CREATE FUNCTION rnd.on_day(days_ago integer) RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    day timestamp := date_trunc('day', now() AT TIME ZONE 'UTC') - days_ago * interval '1 day';
    how integer := rnd.whole(1, 4);
    at timestamptz;
BEGIN
    at := (CASE how WHEN 1 THEN day
                    WHEN 2 THEN day + interval '23:59:59.999999'
                    ELSE day + random() * interval '23:59:59.999999' END) AT TIME ZONE 'UTC';
    RETURN CASE WHEN days_ago = -1 THEN least(at, now() + interval '1 day') ELSE at END;
END
$$;
CREATE FUNCTION rnd.moment() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT rnd.on_day(CASE WHEN random() < 0.4
        THEN rnd.pick('{-1,0,0,1,6,7,8,28,29,30,31,36,37,38,59,60,88,89,90,91,96,97,98}') ELSE rnd.whole(0, 130) END)
$$;

-- What stands in event_data: how often a key is there, and its usual and odd values.
CREATE TABLE rnd.field (event_type text, key text, presence double precision, usual jsonb, odd jsonb);
INSERT INTO rnd.field VALUES
    ('api_call', 'endpoint', 1, '["/a","/b","/c","/d","/e","/f","/g"]', '[1, 1.0, 1.5, "1", true, {"a": 1}, {"a": 1.0}, {"a": [1]}, [1, 2], [[1, 2]], [], [[]], {}, ""]'),
    ('api_call', 'status_code', 0.6, '[200, 200, 200, 201, 301, 399, 400, 500]',
        '["500", null, true, {"a": 500}, [500], [200, 404], [], 399.9999999, 400.0, 1e3, -5, "x", ["x", 500]]'),
    ('api_call', 'response_code', 0.1, '[200, 404]', '["404", null, [404], {}]'),
    ('login', 'ip_address', 1, '["10.0.0.1", "::1"]', '[1, false, {}, []]'),
    ('login', 'session_duration', 0.8, '[30, 60, 300, 600, 900.5, 1200.123456]',
        '["600", null, true, {}, [600], 0.0000004, 0.0000005, -0.0000005, -300, 1e24, -1e30, 999999999999999999999999]'),
    ('login', 'user_id', 0.9, '[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]', '["1", 1.0, null, true, [1], {"id": 1}, 0.1, ""]'),
    ('payment', 'amount', 1, '[10, 99.99, 250, 1000.50]', '[0.0000001, 0.0000005, 123.4567895, 1e20, 1e24, 1e30]'),
    ('payment', 'status', 0.7, '["paid_on_time", "completed", "completed", "paid_on_time", "paid_late", "overdue", "failed", "pending"]',
        '[null, "", 5, true, {"s": "overdue"}, ["overdue"], ["completed", "failed"], [], [null], "Completed", [null, "pending"]]'),
    ('payment', 'days_late', 0.6, '[0, 0, 0, 1, 5, 30, -2]',
        '["3", null, true, [4], [0, -1], [], {"d": 1}, 0.0000001, 1e-10, 1e25, ["x", 1]]'),
    ('feature_use', 'feature_name', 1, '["f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9", "f10"]', '[1, 1.0, "1", true, {}, [], ["f1"], [["f1"]], {"f1": []}, 1e0]'),
    ('feature_use', 'tier', 0.7, '["basic", "basic", "advanced", "pro"]',
        '[null, 1, true, {}, [], [null], ["advanced"], ["basic", null], "Advanced"]'),
    ('support_ticket', 'priority', 0.6, '["low", "normal", "high", "urgent"]', '[null, 1, ["urgent", "low"], ["high", "urgent"], [], {}, "URGENT"]'),
    ('support_ticket', 'resolution_time', 0.7, '[3600, 86400, 172800, 259200, 400000]', '["86400", null, false, [1], {}, -5, 1e24, 0]'),
    ('support_ticket', 'satisfaction', 0.7, '[1, 2, 3, 4, 4.5, 5]', '["5", null, true, [5], {}, 0, 7.25]');
INSERT INTO rnd.field SELECT DISTINCT event_type, 'other', 0.1, '[1, "x"]'::jsonb, '[null, {"status": "failed"}]'::jsonb FROM rnd.field;

CREATE FUNCTION rnd.data(event_type text, oddness double precision DEFAULT 0.06) RETURNS jsonb LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(jsonb_object_agg(key, choices -> rnd.whole(0, jsonb_array_length(choices) - 1)), '{}')
    FROM (SELECT f.key, CASE WHEN random() < oddness THEN f.odd ELSE f.usual END AS choices
          FROM rnd.field f WHERE f.event_type = $1 AND random() < f.presence ORDER BY f.key) f
$$;

CREATE FUNCTION rnd.nobody() RETURNS void LANGUAGE sql VOLATILE AS $$
    TRUNCATE chs.customer_events;
    DELETE FROM chs.customers;
$$;

-- Fills rnd.event with new events of the customers, in chunks 0 to 80; a few have none.
CREATE TABLE rnd.event (customer_id bigint, event_type text, event_data jsonb, occurred_at timestamptz, chunk integer);
CREATE FUNCTION rnd.events(much double precision) RETURNS void LANGUAGE sql VOLATILE AS $$
    TRUNCATE rnd.event;
    INSERT INTO rnd.event
    SELECT e.customer_id, e.event_type,
           rnd.data(e.event_type) || CASE WHEN e.event_type = 'payment' AND e.customer_id % 3 = 0
                                          THEN '{"status": "completed", "days_late": 0}' ELSE '{}' END::jsonb,
           rnd.moment(), rnd.whole(0, 80)
    FROM (SELECT c.customer_id, t.event_type,
                 (CASE WHEN random() < 0.85 THEN most * c.vigour * random() * much ELSE 0 END)::integer AS n
          FROM (SELECT customer_id, 2 * random() ^ 3 AS vigour FROM (SELECT customer_id FROM chs.customers ORDER BY 1) a
                ORDER BY random() LIMIT 0.95 * (SELECT count(*) FROM chs.customers)) c,
               (VALUES ('api_call', 600), ('login', 100), ('payment', 10), ('feature_use', 60), ('support_ticket', 10)) t(event_type, most)
          ORDER BY 1, 2) e, generate_series(1, e.n);
$$;

-- Random changes of events and customers, several statements each.
CREATE FUNCTION rnd.change() RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    events CONSTANT bigint := count(*) FROM chs.customer_events;
BEGIN
    CREATE TEMP TABLE chosen ON COMMIT DROP AS
        SELECT customer_id, event_id, event_type, row_number() OVER () AS n
        FROM (SELECT * FROM chs.customer_events ORDER BY customer_id, event_id) e WHERE random() < 0.01;
    UPDATE chs.customer_events e SET event_data = rnd.data(e.event_type) FROM chosen c
        WHERE (e.customer_id, e.event_id) = (c.customer_id, c.event_id) AND c.n % 5 = 0;
    UPDATE chs.customer_events e SET occurred_at = rnd.moment() FROM chosen c
        WHERE (e.customer_id, e.event_id) = (c.customer_id, c.event_id) AND c.n % 5 = 1;
    DELETE FROM chs.customer_events e USING chosen c
        WHERE (e.customer_id, e.event_id) = (c.customer_id, c.event_id) AND c.n % 5 = 2;
    -- to another customer
    UPDATE chs.customer_events e SET customer_id = (SELECT max(customer_id) FROM chs.customers) + 1 - e.customer_id FROM chosen c
        WHERE (e.customer_id, e.event_id) = (c.customer_id, c.event_id) AND c.n % 50 = 3
          AND EXISTS (SELECT FROM chs.customers o WHERE o.customer_id = (SELECT max(customer_id) FROM chs.customers) + 1 - e.customer_id);
    UPDATE chs.customer_events e SET event_type = 'login', event_data = rnd.data('login') FROM chosen c
        WHERE (e.customer_id, e.event_id) = (c.customer_id, c.event_id) AND c.n % 50 = 4;
    DROP TABLE chosen;
    PERFORM rnd.events(0.1);
    FOR n IN 0..3 LOOP
        INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
        SELECT customer_id, event_type, event_data, occurred_at FROM rnd.event WHERE chunk % 4 = n;
    END LOOP;
    UPDATE chs.customers SET segment = rnd.segment() WHERE random() < 0.03;
    UPDATE chs.customers SET created_at = rnd.on_day(rnd.pick('{0,1,28,29,30,89,90,300}')) WHERE random() < 0.03;
    UPDATE chs.customers SET churned_at = rnd.on_day(rnd.pick('{0,1,28,29,30,89,90,100}')) WHERE random() < 0.02;
    UPDATE chs.customers SET churned_at = NULL WHERE random() < 0.3;
    DELETE FROM chs.customers WHERE random() < 0.01;
    INSERT INTO chs.customers (customer_id, segment, created_at)
    SELECT max(customer_id) + 1, rnd.segment(), rnd.on_day(29) FROM chs.customers;
END
$$;

-- Changes the numbers of a scorecard at random, and what no data means.
CREATE FUNCTION rnd.curve() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT string_agg(x || ':' || round((random() * 100)::numeric, rnd.whole(0, 3)), ' ' ORDER BY x)
    FROM (SELECT DISTINCT round((random() ^ 3 * 40 - 1)::numeric, rnd.whole(0, 2)) AS x FROM generate_series(0, rnd.whole(0, 6))) x
$$;
CREATE FUNCTION rnd.scorecard(name text) RETURNS void LANGUAGE sql VOLATILE AS $$
    UPDATE chs.scorecards SET min_coverage = rnd.whole(0, 10) / 10.0, at_risk_from = rnd.whole(0, 40), healthy_from = rnd.whole(40, 80),
           grace = random() < 0.5, trend_days = rnd.pick('{1,3,7,30,90}'), trend_band = rnd.whole(0, 5) WHERE scorecard = name;
    UPDATE chs.factors SET weight = rnd.whole(0, 5) * random() WHERE scorecard = name;
    UPDATE chs.metrics SET window_days = least(rnd.pick('{1,2,7,14,30,31,45,60,90,120,365,730}'), CASE aggregate WHEN 'of_usual' THEN 365 END) WHERE scorecard = name AND window_days IS NOT NULL AND random() < 0.5;
    UPDATE chs.metrics SET penalty = rnd.whole(1, 100) * random() + 0.001 WHERE scorecard = name AND penalty IS NOT NULL;
    UPDATE chs.metrics m SET weight = rnd.whole(0, 3) * random(), curve = rnd.curve(),
           missing = r.missing, missing_score = CASE WHEN r.missing = 'score' THEN random() * 100 END
    FROM (SELECT factor, metric, ('{missing,zero,score}'::text[])[rnd.whole(1, 3)] AS missing FROM chs.metrics WHERE scorecard = name OFFSET 0) r
    WHERE m.scorecard = name AND m.penalty IS NULL AND (m.factor, m.metric) = (r.factor, r.metric);
    DELETE FROM chs.targets WHERE scorecard = name;
    INSERT INTO chs.targets
    SELECT scorecard, factor, metric, segment, 0.01 + random() ^ 2 * 50
    FROM chs.metrics, unnest('{enterprise,smb,startup,NULL}'::text[]) segment
    WHERE scorecard = name AND penalty IS NULL AND random() < 0.25;
$$;

-- Where the past from one pass, of one customer or of everyone, is not that of each day by itself.  Of all days up to
-- so many ago, a part, also of the days to come; by the versions that were live, or by one.
CREATE FUNCTION rnd.past_differs(first integer, part double precision, version integer DEFAULT NULL) RETURNS SETOF text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    days date[] := ARRAY(SELECT today - ago FROM generate_series(-2, first) ago WHERE random() < part);
BEGIN
    CREATE TEMP TABLE apart ON COMMIT DROP AS
        SELECT c.customer_id, c.segment, d.day, n.score, n.status, n.coverage, n.trend, n.factor_scores, n.scorecard, n.version,
               d.day BETWEEN (c.created_at AT TIME ZONE 'UTC')::date AND COALESCE((c.churned_at AT TIME ZONE 'UTC')::date, 'infinity') AS there,
               chs_score(c.customer_id, d.day::timestamp AT TIME ZONE 'UTC', past_differs.version) AS by_itself
        FROM chs.customers c, unnest(days) d(day), chs.health_now(c.customer_id, d.day::timestamp AT TIME ZONE 'UTC', past_differs.version) n;
    CREATE TEMP TABLE one ON COMMIT DROP AS
        SELECT c.customer_id, c.segment, h.* FROM chs.customers c, chs_history(c.customer_id, today - first, today + 2, past_differs.version) h WHERE h.day = ANY (days);
    CREATE TEMP TABLE everyone ON COMMIT DROP AS
        SELECT e.customer_id, e.segment, e.day, e.score, e.status, e.coverage, e.trend, e.factor_scores, e.scorecard, e.version
        FROM chs.score_history(days, by_version => past_differs.version) e;
    RETURN QUERY
        SELECT 'chs_score: ' || a::text FROM apart a WHERE a.score IS DISTINCT FROM a.by_itself
        UNION ALL (SELECT 'chs_history: ' || o::text FROM (TABLE one EXCEPT SELECT customer_id, segment, day, score, status, coverage, trend, factor_scores, scorecard, apart.version FROM apart) o)
        UNION ALL SELECT format('chs_history: %s rows, not %s', (SELECT count(*) FROM one), count(*)) FROM apart HAVING count(*) <> (SELECT count(*) FROM one) OR count(*) = 0
        UNION ALL (SELECT 'everyone: ' || e::text FROM (TABLE everyone EXCEPT TABLE one) e)
        UNION ALL (SELECT 'not everyone: ' || a::text FROM (SELECT customer_id, day FROM apart WHERE there EXCEPT SELECT customer_id, day FROM everyone) a);
    DROP TABLE apart, one, everyone;
END
$$;
