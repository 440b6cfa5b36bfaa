-- A believable company for the tour: "Parcelbird", which sells a shipping API.
--
-- About three hundred customers in three segments, sixty more that have left, and four
-- months of their events up to now.  Plain SQL: nothing here knows how scoring works, and events are
-- inserted like any others.  Randomness comes from hashes of (customer, day, ...), so
-- that the same customers have the same stories whenever and wherever this runs; only
-- the dates and the weekends move.
--
--   psql -X -d DATABASE -f company.sql     -- needs: CREATE EXTENSION chs
--
-- It prints "loading" and how many events there will be and, when all is done, the number of customers and of
-- events, the seconds that the single INSERT of all events took with its commit, and the seconds from then until
-- the worker had scored everyone.

\set QUIET on
\set ON_ERROR_STOP on
\pset format unaligned
\pset tuples_only on

SET timezone = 'UTC';
SET client_min_messages = warning;
SET work_mem = '128MB';

-- u(key, salt): a number from 0 up to 1 that looks random, the same every time.
CREATE FUNCTION pg_temp.u(key bigint, salt integer) RETURNS double precision
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (hashint8extended(key * 1000003 + 20, salt) & 16777215) / 16777216.0::double precision;

-- Customers: number n, segment, and a story ----------------------------------------------
--
-- steady    uses the product as one would expect, more or less
-- thriving  grows all the time
-- modest    never used it much; some hardly at all
-- fading    was steady, then does less from week to week
-- trouble   uses it, but does not pay
-- unhappy   one urgent ticket after another, many failing calls
-- silent    steady, then gone from one day to the next
-- new       a few weeks old and starting well
-- trial     a few days old: too new for a score
-- churned   faded, and has left
-- left      has left in these months: most of them faded before, some were silent for two weeks,
--           some left without warning

CREATE TEMP TABLE story AS
WITH numbered AS (
    SELECT n, CASE WHEN n <= 44 THEN 'enterprise' WHEN n <= 188 OR n > 342 THEN 'smb' ELSE 'startup' END AS segment,
           -- The place within its segment, for names.
           CASE WHEN n <= 44 THEN n WHEN n <= 188 THEN n - 44 WHEN n <= 342 THEN n - 188 ELSE n - 342 + 144 END - 1 AS i,
           pg_temp.u(n, 14) AS luck
    FROM generate_series(1, 372) n
)
SELECT n, segment, i,
       CASE WHEN n > 312 THEN 'left'
            WHEN n = 71 THEN 'silent'
            WHEN n = 140 THEN 'churned'
            WHEN n IN (12, 96, 133, 181, 205, 262, 290) THEN 'trouble'
            WHEN n IN (7, 29, 58, 117, 164, 233, 301) THEN 'unhappy'
            WHEN n IN (170, 182, 241, 256, 268, 275, 283, 294, 307) THEN 'new'
            WHEN n IN (187, 188, 309, 310, 311, 312) THEN 'trial'
            WHEN luck < 0.11 THEN 'thriving'
            WHEN luck < 0.22 THEN 'modest'
            WHEN luck < 0.35 THEN 'fading'
            ELSE 'steady' END AS story
FROM numbered;

-- What the story means in numbers.  level is the use at its best, relative to what the
-- segment is expected to do; fades_from and fades_to are days ago.
ALTER TABLE story ADD created_ago integer, ADD level double precision, ADD users integer, ADD features integer,
                  ADD fades_from integer, ADD fades_to integer, ADD fades_by double precision,
                  ADD pay_ago integer, ADD amount numeric, ADD left_ago integer;
UPDATE story SET left_ago = CASE story WHEN 'churned' THEN 12 WHEN 'left' THEN 2 + (pg_temp.u(n, 15) * 85)::integer END;
UPDATE story SET
    created_ago = CASE story WHEN 'new' THEN 16 + (pg_temp.u(n, 2) * 12)::integer
                             WHEN 'trial' THEN 1 + (pg_temp.u(n, 2) * 5)::integer
                             ELSE 130 + (pg_temp.u(n, 2) * pg_temp.u(n, 3) * 1300)::integer END,
    level = CASE story WHEN 'thriving' THEN 1.1 + 0.5 * pg_temp.u(n, 4)
                       WHEN 'modest' THEN 0.05 + 0.45 * pg_temp.u(n, 4)
                       WHEN 'fading' THEN 0.75 + 0.35 * pg_temp.u(n, 4)
                       WHEN 'trouble' THEN 0.45 + 0.4 * pg_temp.u(n, 4)
                       WHEN 'new' THEN 1.2 + 0.5 * pg_temp.u(n, 4)
                       WHEN 'silent' THEN 1.05
                       ELSE 0.42 + 0.6 * pg_temp.u(n, 4) END,
    users = CASE segment WHEN 'enterprise' THEN 11 + (pg_temp.u(n, 5) * 25)::integer
                         WHEN 'smb' THEN 4 + (pg_temp.u(n, 5) * 7)::integer
                         ELSE 2 + (pg_temp.u(n, 5) * 3)::integer END,
    features = CASE story WHEN 'modest' THEN 2 + (pg_temp.u(n, 6) * 3)::integer
                          WHEN 'thriving' THEN 9 + (pg_temp.u(n, 6) * 5)::integer
                          ELSE 5 + (pg_temp.u(n, 6) * 6)::integer END,
    fades_from = CASE WHEN story = 'left' THEN CASE WHEN pg_temp.u(n, 16) < 0.6 THEN left_ago + 25 + (pg_temp.u(n, 7) * 30)::integer
                                                    WHEN pg_temp.u(n, 16) < 0.8 THEN left_ago + 15 END
                      ELSE CASE story WHEN 'fading' THEN 40 + (pg_temp.u(n, 7) * 60)::integer
                            WHEN 'churned' THEN 80 WHEN 'silent' THEN 31
                            WHEN 'unhappy' THEN 24 WHEN 'trouble' THEN 40 END END,
    fades_to = CASE WHEN story = 'left' THEN CASE WHEN pg_temp.u(n, 16) < 0.6 THEN left_ago + 3 WHEN pg_temp.u(n, 16) < 0.8 THEN left_ago + 14 END
                      ELSE CASE story WHEN 'fading' THEN 4 + (pg_temp.u(n, 8) * 26)::integer
                          WHEN 'churned' THEN 14 WHEN 'silent' THEN 30
                          WHEN 'unhappy' THEN 10 WHEN 'trouble' THEN 10 END END,
    fades_by = CASE story WHEN 'left' THEN CASE WHEN pg_temp.u(n, 16) < 0.6 THEN 0.6 + 0.35 * pg_temp.u(n, 9) ELSE 1 END WHEN 'fading' THEN 0.78 + 0.19 * pg_temp.u(n, 9)
                          WHEN 'churned' THEN 0.97 WHEN 'silent' THEN 1
                          WHEN 'unhappy' THEN 0.75 WHEN 'trouble' THEN 0.3 ELSE 0 END,
    pay_ago = (pg_temp.u(n, 10) * 29)::integer,
    amount = CASE segment WHEN 'enterprise' THEN 4900 + 100 * (pg_temp.u(n, 11) * 130)::integer
                          WHEN 'smb' THEN 490 + 10 * (pg_temp.u(n, 11) * 140)::integer
                          ELSE 49 + 10 * (pg_temp.u(n, 11) * 25)::integer END;

-- Names ----------------------------------------------------------------------------------

CREATE TEMP TABLE name AS
SELECT n, CASE segment
    WHEN 'enterprise' THEN
        (ARRAY['Halvorsen', 'Okonkwo', 'Brandt', 'Castellane', 'Vandermeer', 'Lindqvist', 'Aldridge', 'Moreau', 'Kowalczyk',
               'Ferreira', 'Steinbach', 'Ashdown', 'Nakagawa', 'Petrovic', 'Delacroix', 'Whitcombe'])[1 + i % 16] || ' ' ||
        (ARRAY['Maritime', 'Logistics', 'Retail', 'Chemicals', 'Mobility', 'Foods', 'Paper', 'Home', 'Optics', 'Energy',
               'Apparel', 'Medical', 'Electric'])[1 + i % 13] || ' ' ||
        (ARRAY['Group', 'AG', 'plc', 'International', 'Holding', 'SE', 'N.V.'])[1 + i % 7]
    WHEN 'smb' THEN
        (ARRAY['Brightwater', 'Copper Kettle', 'Harrow Lane', 'Old Mill', 'Northgate', 'Juniper & Rye', 'Stonebridge',
               'Blue Heron', 'Millstone', 'Foxglove', 'Red Barn', 'Oakhurst', 'Silverbrook', 'Marlow', 'Pine Street',
               'Thistle', 'Lakeshore', 'Wren & Sons', 'Cedar Point', 'Ashford', 'Hollow Tree', 'Sunnyside',
               'Tidewater', 'Larkspur', 'Granary', 'Westfield', 'Bellamy', 'Three Rivers', 'Saltmarsh', 'Finch & Co',
               'Kingsley'])[1 + i % 31] || ' ' ||
        (ARRAY['Foods', 'Outdoor', 'Books', 'Coffee Roasters', 'Cycles', 'Garden Supply', 'Furniture', 'Wines', 'Textiles',
               'Toys', 'Tools', 'Ceramics', 'Pet Care', 'Instruments', 'Candles', 'Pharmacy', 'Bakery'])[1 + i % 17]
    ELSE
        (ARRAY['Nim', 'Fern', 'Tally', 'Pico', 'Quill', 'Drift', 'Mint', 'Kite', 'Otter', 'Pebble', 'Sprig', 'Bramble', 'Dune',
               'Ember', 'Fjord', 'Glim', 'Juno', 'Koi', 'Lumen', 'Moss', 'Plum', 'Rook', 'Tansy'])[1 + i % 23] ||
        (ARRAY['base', 'works', 'stack', 'wise', 'kit', ' Labs', 'cart', 'flow', 'pay', 'crate', 'loop', 'post'])[1 + i % 12]
    END AS name
FROM story;

-- Some enterprises are groups: others carry their name and belong to them.
CREATE TEMP TABLE belongs AS
SELECT child, parent, part FROM (VALUES
    (17, 1, 'Maritime Iberia'), (33, 1, 'Cold Chain'), (20, 4, 'Santé'), (36, 4, 'Logistique'),
    (22, 6, 'Norden'), (25, 9, 'Polska'), (41, 9, 'Bohemia'), (29, 13, 'Precision'),
    (48, 2, 'Freight'), (52, 2, 'Parcel'), (61, 5, 'Last Mile'), (75, 5, 'Returns'), (90, 11, 'Direct'), (104, 11, 'Parts'),
    (121, 15, 'Boutique'), (150, 16, 'Outlet')) b (child, parent, part);
UPDATE name SET name = split_part(p.name, ' ', 1) || ' ' || b.part
FROM belongs b JOIN name p ON p.n = b.parent
WHERE name.n = b.child;

-- One transaction for customers and events, so that nobody is scored before there is something to see.
BEGIN;

INSERT INTO chs.customers (external_id, name, email, segment, created_at, churned_at)
SELECT format('PB-%s', 1000 + n), name,
       'ops@' || regexp_replace(lower(translate(name, 'é', 'e')), '[^a-z0-9]+', '-', 'g') || '.example', segment,
       LEAST(date_trunc('day', now()) - created_ago * interval '1 day' + interval '1 hour' * (7 + 11 * pg_temp.u(n, 12)), now()),
       date_trunc('day', now()) - left_ago * interval '1 day'
FROM story JOIN name USING (n)
ORDER BY n;

UPDATE chs.customers c SET parent_id = p.customer_id
FROM belongs b, chs.customers p
WHERE c.external_id = format('PB-%s', 1000 + b.child) AND p.external_id = format('PB-%s', 1000 + b.parent);

-- Days: how much each customer does on each day -------------------------------------------

CREATE TEMP TABLE active_day AS
SELECT s.n, c.customer_id, s.segment, s.story, s.left_ago, s.users, s.features, d.ago, s.n * 1000::bigint + d.ago AS key, d.day,
       s.level * d.weekday
       -- A good or a bad day.
       * (0.75 + 0.5 * pg_temp.u(s.n * 1000 + d.ago, 20))
       * CASE s.story WHEN 'thriving' THEN 1.1 - 0.6 * d.ago / 120
                      WHEN 'new' THEN LEAST(1, 0.25 + (s.created_ago - d.ago) / 8.0)
                      WHEN 'trial' THEN 0.5
                      ELSE 1.1 - 0.25 * d.ago / 120 END
       * CASE WHEN s.fades_from IS NULL THEN 1
              ELSE 1 - s.fades_by * GREATEST(0, LEAST(1, (s.fades_from - d.ago)::double precision / (s.fades_from - s.fades_to)))
         END AS use
FROM story s
JOIN chs.customers c ON c.external_id = format('PB-%s', 1000 + s.n)
CROSS JOIN LATERAL (
    SELECT ago, date_trunc('day', now()) - ago * interval '1 day' AS day,
           -- Mean 1 over the week.
           CASE WHEN extract(isodow FROM now() - ago * interval '1 day') >= 6 THEN 0.35 ELSE 1.26 END AS weekday
    FROM generate_series(0, LEAST(119, s.created_ago)) ago) d
WHERE d.ago > COALESCE(s.left_ago, -1);
DELETE FROM active_day WHERE use < 0.001;
ANALYZE active_day;

-- Events -----------------------------------------------------------------------------------

CREATE TEMP TABLE event (customer_id bigint, event_type text, event_data jsonb, occurred_at timestamptz);

-- clock(day, luck): a time in the day, most of them in office hours.
CREATE FUNCTION pg_temp.clock(day timestamptz, a double precision, b double precision) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN day + interval '1 second' * floor(CASE WHEN b < 0.15 THEN a * 86400 ELSE 25200 + (a + b) * 0.54 * 46000 END);

-- API calls.  Expected per 30 days: enterprise 1000, smb 500, startup 200.
INSERT INTO event
SELECT d.customer_id, 'api_call',
       jsonb_build_object(
           'endpoint', (ARRAY['/v1/rates', '/v1/labels', '/v1/tracking', '/v1/shipments', '/v1/addresses',
                              '/v1/returns', '/v1/webhooks', '/v1/customs'])
                       [1 + floor(CASE d.story WHEN 'modest' THEN 4 WHEN 'trial' THEN 3 ELSE 8 END * e.a * e.b ^ 0.5)::integer],
           'status_code', CASE WHEN e.c >= d.errors THEN 200 WHEN e.c < d.errors * 0.4 THEN 422
                               WHEN e.c < d.errors * 0.7 THEN 429 ELSE 503 END,
           'ms', 20 + (e.b * e.c * 400)::integer),
       pg_temp.clock(d.day, e.a, e.c)
FROM (SELECT *, CASE WHEN story = 'unhappy' AND ago < 18 THEN 0.17 ELSE 0.012 + 0.03 * pg_temp.u(n, 13) END AS errors,
             floor(use * CASE segment WHEN 'enterprise' THEN 1000 WHEN 'smb' THEN 500 ELSE 200 END / 30.0
                   + pg_temp.u(key, 21))::integer AS calls
      FROM active_day WHERE story <> 'trial') d
CROSS JOIN LATERAL (
    SELECT pg_temp.u(d.key * 1000 + i, 22) AS a, pg_temp.u(d.key * 1000 + i, 23) AS b, pg_temp.u(d.key * 1000 + i, 24) AS c
    FROM generate_series(1, d.calls) i OFFSET 0) e;

-- Logins: people of the customer, in sessions of ten minutes and more.
INSERT INTO event
SELECT d.customer_id, 'login',
       jsonb_build_object(
           'user_id', format('u%s', d.n * 100 + floor(e.a * d.users)),
           'ip_address', format('203.0.113.%s', 1 + (d.n * 7 + floor(e.a * d.users))::integer % 254),
           'session_duration', (CASE d.story WHEN 'modest' THEN 240 WHEN 'fading' THEN 380 + 300 * d.use ELSE 480 END
                                + 700 * e.b * e.b)::integer),
       pg_temp.clock(d.day, e.b, e.c)
FROM (SELECT *, floor(use * CASE segment WHEN 'enterprise' THEN 44 WHEN 'smb' THEN 25 ELSE 20 END / 30.0
                      + pg_temp.u(key, 31))::integer AS logins
      FROM active_day) d
CROSS JOIN LATERAL (
    SELECT pg_temp.u(d.key * 1000 + i, 32) AS a, pg_temp.u(d.key * 1000 + i, 33) AS b, pg_temp.u(d.key * 1000 + i, 34) AS c
    FROM generate_series(1, d.logins) i OFFSET 0) e;

-- Features: of those that a customer knows, some every day.
INSERT INTO event
SELECT d.customer_id, 'feature_use',
       jsonb_build_object(
           'feature_name', (ARRAY['labels', 'tracking_page', 'returns_portal', 'carrier_rules', 'address_book', 'reports',
                                  'webhooks', 'bulk_import', 'team_roles', 'scheduled_pickups', 'customs_forms',
                                  'branded_emails', 'forecasts', 'sandbox'])[f],
           'tier', CASE WHEN f IN (4, 7, 8, 11, 13) THEN 'advanced' ELSE 'basic' END),
       pg_temp.clock(d.day, e.a, e.b)
FROM (SELECT *, floor(use * 1.1 + pg_temp.u(key, 41))::integer AS uses FROM active_day) d
CROSS JOIN LATERAL (
    SELECT pg_temp.u(d.key * 1000 + i, 42) AS a, pg_temp.u(d.key * 1000 + i, 43) AS b
    FROM generate_series(1, d.uses) i OFFSET 0) e
CROSS JOIN LATERAL (SELECT 1 + (d.n * 5 + floor(e.a * CASE WHEN d.story = 'fading' THEN d.features * LEAST(1, 0.2 + d.use) ELSE d.features END)::integer) % 14 AS f) f;

-- Payments: an invoice every 30 days.
INSERT INTO event
SELECT customer_id, 'payment',
       jsonb_build_object('amount', amount, 'invoice', format('INV-%s-%s', 1000 + n, 1 + (created_ago - ago) / 30), 'status', status,
                          'days_late', CASE status WHEN 'paid_late' THEN 3 + (luck * 97)::integer % 12
                                                   WHEN 'overdue' THEN LEAST(ago, 25) WHEN 'paid_on_time' THEN 0 END),
       pg_temp.clock(date_trunc('day', now()) - ago * interval '1 day', pg_temp.u(n * 1000 + ago, 51), 0.2)
FROM (
    SELECT s.*, c.customer_id, a.ago, l.luck,
           CASE WHEN s.story = 'trouble' AND a.ago < 30 THEN CASE WHEN s.n % 2 = 0 THEN 'overdue' ELSE 'failed' END
                WHEN s.story = 'trouble' AND a.ago < 60 THEN CASE WHEN s.n % 3 = 0 THEN 'paid_late' ELSE 'overdue' END
                WHEN s.story = 'trouble' AND a.ago < 90 THEN 'paid_late'
                WHEN s.story = 'silent' THEN 'paid_on_time'
                WHEN l.luck < CASE s.story WHEN 'fading' THEN 0.22 WHEN 'modest' THEN 0.12 WHEN 'churned' THEN 0.6
                                           WHEN 'thriving' THEN 0.01 ELSE 0.05 END THEN 'paid_late'
                WHEN a.ago < 4 AND l.luck < 0.4 THEN 'pending'
                ELSE 'paid_on_time' END AS status
    FROM story s
    JOIN chs.customers c ON c.external_id = format('PB-%s', 1000 + s.n)
    CROSS JOIN LATERAL generate_series(CASE s.story WHEN 'new' THEN s.created_ago ELSE s.pay_ago END,
                                       LEAST(119, s.created_ago), 30) a (ago)
    CROSS JOIN LATERAL (SELECT pg_temp.u(s.n * 1000 + a.ago, 52) AS luck) l
    WHERE s.story <> 'trial' AND a.ago > COALESCE(s.left_ago, -1)) p;

-- Support tickets: the more there is to do the more questions there are.
INSERT INTO event
SELECT customer_id, 'support_ticket',
       jsonb_build_object(
           'subject', CASE WHEN angry THEN (ARRAY['labels fail at checkout', 'webhooks arrive twice', 'rates time out',
                                                  'tracking shows nothing'])[1 + floor(a * 4)::integer]
                           ELSE (ARRAY['question about an invoice', 'how to add a carrier', 'label format',
                                       'address not found', 'export of shipments', 'new user'])[1 + floor(a * 6)::integer] END,
           'priority', CASE WHEN angry THEN CASE WHEN b < 0.6 THEN 'urgent' ELSE 'high' END
                            WHEN b < 0.25 THEN 'low' WHEN b < 0.9 THEN 'normal' WHEN b < 0.98 THEN 'high' ELSE 'urgent' END,
           'resolution_time', (CASE WHEN angry THEN 150000 ELSE 14400 END * (0.3 + 1.6 * c))::integer,
           'satisfaction', CASE WHEN angry THEN 1 + floor(c * 2.4)::integer
                                WHEN story IN ('fading', 'churned') THEN 2 + floor(c * 3)::integer
                                ELSE 5 - floor(c * c * 2.6)::integer END),
       pg_temp.clock(day, a, b)
FROM (
    SELECT d.*, i, story = 'unhappy' AND ago < 18 AS angry,
           pg_temp.u(key * 10 + i, 61) AS a, pg_temp.u(key * 10 + i, 62) AS b, pg_temp.u(key * 10 + i, 63) AS c
    FROM active_day d
    CROSS JOIN LATERAL generate_series(1, floor(
        CASE WHEN story = 'unhappy' AND ago < 18 THEN 0.45
             WHEN story IN ('modest', 'silent') THEN 0.008
             ELSE LEAST(use, 1.5) * CASE segment WHEN 'enterprise' THEN 0.05 WHEN 'smb' THEN 0.03 ELSE 0.02 END END
        + pg_temp.u(key, 64))::integer) i) t;

-- What would happen later today has not happened yet.
DELETE FROM event WHERE occurred_at > now();

SELECT 'loading', count(*) FROM event;

-- The load: one ordinary INSERT, in the order in which it all happened.
SELECT clock_timestamp() AS began \gset
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT customer_id, event_type, event_data, occurred_at FROM event ORDER BY occurred_at, customer_id;
COMMIT;
SELECT clock_timestamp() AS ended \gset

-- Wait until the worker, which the commit has woken, is through.
CREATE FUNCTION pg_temp.all_scored() RETURNS timestamptz LANGUAGE plpgsql AS $$
DECLARE
    since timestamptz := clock_timestamp();
BEGIN
    WHILE EXISTS (SELECT FROM chs.queue) OR EXISTS (SELECT FROM chs.customer_list WHERE calculated_at IS NULL) LOOP
        IF clock_timestamp() > since + interval '1 minute' THEN
            RAISE 'the worker is not through after a minute';
        END IF;
        PERFORM pg_sleep(0.001);
    END LOOP;
    RETURN clock_timestamp();
END
$$;

SELECT (SELECT count(*) FROM story), (SELECT count(*) FROM event),
       round(extract(epoch FROM :'ended'::timestamptz - :'began'::timestamptz), 2),
       round(extract(epoch FROM pg_temp.all_scored() - :'ended'::timestamptz), 2);
