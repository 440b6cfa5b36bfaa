-- A simulated company with contracts, whose truth is known: accounts of very different size, of which some leave.
-- An instrument, not evidence.  Randomness comes from hashes, so that it is the same everywhere.
--
-- steady    uses the product as much as it always did
-- seasonal  the same with half as much in the quiet months, and stays
-- fading    does less and less in the eight weeks before it leaves
-- silent    does nothing in the last two weeks before it leaves
-- sudden    leaves without any warning
CREATE FUNCTION public.u(n bigint, salt integer) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (hashint8extended(n * 1000003 + 7, salt) & 16777215) / 16777216.0::double precision;
CREATE FUNCTION public.week_begins(week integer) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN '2024-01-01 00:00+00'::timestamptz + week * interval '7 days';

CREATE TABLE public.account AS
SELECT n, k.kind, 2 + 30 * u(n, 1) ^ 3 AS size,  -- logins a week
       CASE WHEN k.kind IN ('fading', 'silent', 'sudden') THEN 16 + floor(44 * u(n, 2))::integer END AS leaves_in
FROM generate_series(1, 550) n
CROSS JOIN LATERAL (SELECT CASE WHEN u(n, 3) < 0.27 THEN 'fading' WHEN u(n, 3) < 0.36 THEN 'silent' WHEN u(n, 3) < 0.45 THEN 'sudden'
                                WHEN u(n, 3) < 0.60 THEN 'seasonal' ELSE 'steady' END AS kind) k;

INSERT INTO chs.customers (customer_id, name, created_at, churned_at) OVERRIDING SYSTEM VALUE
SELECT n, kind, '2023-12-01', week_begins(leaves_in) + interval '12 hours' FROM account;
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT a.n, e.event_type, '{"ip_address": "::1"}', week_begins(w.week) + u(a.n * 10000 + w.week * 100 + i, e.salt) * interval '7 days'
FROM account a
CROSS JOIN LATERAL generate_series(0, COALESCE(a.leaves_in, 60) - 1) w(week)
CROSS JOIN LATERAL (SELECT CASE a.kind WHEN 'fading' THEN least(1, greatest(0.2, (a.leaves_in - w.week) / 9.0))
                                       WHEN 'silent' THEN (a.leaves_in - w.week > 2)::integer
                                       WHEN 'seasonal' THEN 0.75 + 0.25 * sin(2 * pi() * (w.week / 52.0 + u(a.n, 4))) ELSE 1 END AS use) f
CROSS JOIN LATERAL (VALUES ('login', 11, floor(a.size * f.use * (0.7 + 0.6 * u(a.n * 100 + w.week, 5)) + u(a.n * 100 + w.week, 6))),
                           -- says nothing
                           ('support_ticket', 12, floor(1.4 * u(a.n * 100 + w.week, 7)))) e(event_type, salt, events)
CROSS JOIN LATERAL generate_series(1, e.events::integer) i;

-- Size and noise count for most in the rules that somebody wrote.
DELETE FROM chs.factors;
SELECT chs_add_factor(f, w, scale => false, metrics => m) FROM (VALUES
    (1, 'use', 0.5, '[{"metric": "logins", "event_type": "login", "aggregate": "count", "window_days": 14, "curve": "0:0 40:100", "missing": "zero"}]'::jsonb),
    (2, 'usual', 0.1, '[{"metric": "of_usual", "event_type": "login", "aggregate": "of_usual", "window_days": 14, "curve": "0:0 1:100"}]'),
    (3, 'care', 0.4, '[{"metric": "tickets", "event_type": "support_ticket", "aggregate": "count", "window_days": 28, "curve": "0:100 4:0", "missing": "score", "missing_score": 100}]')) v(n, f, w, m) ORDER BY n \g /dev/null
SELECT chs_publish('written by hand') \g /dev/null
CALL chs_recalculate_all();
