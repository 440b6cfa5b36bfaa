-- The people of the made-up company of demo/company.sql: who may do what, who looks after whom, and what customers are
-- worth.  Their password is "demo"; the server of the demo listens on this machine alone.

\set ON_ERROR_STOP on
BEGIN;
SET LOCAL password_encryption = 'scram-sha-256';

CREATE ROLE mia LOGIN PASSWORD 'demo';    -- customer success
CREATE ROLE leo LOGIN PASSWORD 'demo';    -- the lead
CREATE ROLE ada LOGIN PASSWORD 'demo';    -- administers the scorecard
CREATE ROLE otto LOGIN PASSWORD 'demo';   -- operates the service

SELECT chs_grant(person, may), chs_web.admit(person)
FROM (VALUES ('mia'::name, 'read'), ('mia', 'record'),
             ('leo', 'read'),
             ('ada', 'read'), ('ada', 'record'), ('ada', 'administer'),
             ('otto', 'read'), ('otto', 'operate')) AS p(person, may) \g /dev/null

-- Mia looks after a third of them; a year's revenue goes with the segment.
UPDATE chs.customers
SET owner = (ARRAY['mia', 'noah', 'zoe'])[1 + customer_id % 3],
    value = round((CASE segment WHEN 'enterprise' THEN 48000 WHEN 'smb' THEN 9000 ELSE 1800 END
                   * (0.5 + (hashint8extended(customer_id, 7) & 1023) / 1024.0))::numeric, -2);
COMMIT;
