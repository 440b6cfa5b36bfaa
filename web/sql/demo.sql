-- The people of the made-up company of demo/company.sql: who may do what, who looks after whom, and what customers are
-- worth.  Their password is "demo"; the server of the demo listens on this machine alone.

\set ON_ERROR_STOP on
BEGIN;
SET LOCAL password_encryption = 'scram-sha-256';

DO $$
DECLARE
    person name;
BEGIN
    -- mia: customer success; leo: the lead; ada: administers the scorecard; otto: operates the service
    FOREACH person IN ARRAY '{mia,leo,ada,otto}'::name[] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = person) THEN
            EXECUTE format('CREATE ROLE %I LOGIN PASSWORD %L', person, 'demo');
        END IF;
    END LOOP;
END
$$;

SELECT chs_grant(person, may), chs_web.admit(person)
FROM (VALUES ('mia'::name, 'read'), ('mia', 'record'),
             ('leo', 'read'),
             ('ada', 'read'), ('ada', 'record'), ('ada', 'administer'),
             ('otto', 'read'), ('otto', 'operate')) AS p(person, may) \g /dev/null
-- Who may add customers and change what is known about them; and who sees the workers.
GRANT INSERT, UPDATE ON chs.customers TO ada;
GRANT pg_monitor TO otto;

-- Mia looks after a third of them; a year's revenue goes with the segment.
UPDATE chs.customers
SET owner = (ARRAY['mia', 'noah', 'zoe'])[1 + customer_id % 3],
    value = round((CASE segment WHEN 'enterprise' THEN 48000 WHEN 'smb' THEN 9000 ELSE 1800 END
                   * (0.5 + (hashint8extended(customer_id, 7) & 1023) / 1024.0))::numeric, -2);
COMMIT;
