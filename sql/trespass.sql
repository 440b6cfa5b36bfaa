-- What others wrote, and chs runs or is run by, stays within its bounds: trigger
-- functions on tables of somebody's own, expressions of sources, plug-ins.
\set VERBOSITY terse
SET client_min_messages = warning;
INSERT INTO chs.customers (customer_id, external_id, created_at) VALUES (1, 'one', '2020-01-01'), (2, 'two', '2020-01-01');
SELECT setval('chs.customers_customer_id_seq', 100) \g /dev/null
CREATE SCHEMA regress_trespass;
SET search_path = regress_trespass, public;
CREATE FUNCTION logins(customer bigint) RETURNS double precision LANGUAGE sql
    RETURN (SELECT value FROM chs_explain(customer) WHERE metric = 'logins');
CREATE ROLE regress_trespasser;
GRANT USAGE ON SCHEMA chs, regress_trespass TO regress_trespasser;

-- An expression whose arguments can make it fail is not taken for one that cannot.
CREATE TABLE zones (gone int, customer bigint, at timestamp, zone text, key text, junk text);
ALTER TABLE zones DROP COLUMN gone, DROP COLUMN junk;
SELECT chs_attach('zones', 'customer', '''login''', 'at AT TIME ZONE zone', 'jsonb_build_object(''ip_address'', 1, key, 1)') > 1 AS attached;
INSERT INTO zones VALUES (1, now(), 'UTC', 'k'), (1, now(), 'Nowhere', 'k'), (1, now(), 'UTC', NULL), (1, now(), 'UTC', 'l');
SELECT sqlstate, reason FROM chs.rejected_events ORDER BY rejected_id;
-- One of them fails, so the table is read whole; it has dropped columns.
SELECT chs_rebuild(1), logins(1);
SELECT count(*) FROM chs_verify();

-- What an expression raises is its own, whatever it says.
CREATE TABLE raising (customer bigint, at timestamptz, what text);
CREATE FUNCTION kind(what text) RETURNS text STABLE LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    CASE what
        WHEN 'cancel' THEN RAISE 'cancelled' USING ERRCODE = 'query_canceled';
        WHEN 'memory' THEN RAISE 'no memory' USING ERRCODE = 'out_of_memory';
        WHEN 'score' THEN PERFORM chs_score(1);
        WHEN 'again' THEN INSERT INTO regress_trespass.raising VALUES (1, now(), 'login');
        ELSE NULL;
    END CASE;
    RETURN 'login';
END
$$;
SELECT chs_attach('raising', 'customer', 'kind(what)', 'at', '''{"ip_address": 1}''::jsonb') > 1 AS attached;
ALTER FUNCTION kind VOLATILE;
INSERT INTO raising SELECT 2, now(), what FROM unnest('{login,cancel,memory,score,again,login}'::text[]) what;
SELECT sqlstate, reason FROM chs.rejected_events WHERE relation = 'raising'::regclass ORDER BY rejected_id;
SELECT logins(2), (SELECT count(*) FROM raising);
SELECT chs_rebuild(2), logins(2);
-- And the session is as before.
SELECT chs_score(1) = chs_score(1) AS scored;

-- A plug-in cannot call another, which would stop its timer, whatever it catches.
CREATE FUNCTION fifty(customer_id bigint, as_of timestamptz) RETURNS double precision STABLE LANGUAGE sql RETURN 50;
CREATE FUNCTION calls_back(customer_id bigint, as_of timestamptz) RETURNS double precision STABLE LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        RETURN chs.plugin_value('regress_trespass.fifty(bigint,timestamp with time zone)', 1);
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
    BEGIN
        RETURN public.chs_score(1);
    EXCEPTION WHEN OTHERS THEN RETURN 7;
    END;
END
$$;
INSERT INTO chs.plugins (function) VALUES ('regress_trespass.fifty'), ('regress_trespass.calls_back');
SELECT chs.plugin_value('regress_trespass.fifty(bigint,timestamp with time zone)', 1) AS fifty,
       chs.plugin_value('regress_trespass.calls_back(bigint,timestamp with time zone)', 1) AS calls_back;

-- Trigger functions do nothing on tables that they are not for.
CREATE TABLE plain (customer bigint, at timestamptz);
GRANT SELECT, INSERT, DELETE, TRIGGER ON plain TO regress_trespasser;
SELECT chs_attach('plain', 'customer', '''login''', 'at', '''{"ip_address": 1}''::jsonb') AS plain_source \gset
CREATE TABLE accounts (gone int, key text, name text);
ALTER TABLE accounts DROP COLUMN gone;
INSERT INTO accounts VALUES ('one', 'First'), ('three', 'Third');
SELECT chs_attach_customers('accounts', 'key', 'name') AS accounts_source \gset
SELECT external_id, name FROM chs.customers ORDER BY external_id;
SET ROLE regress_trespasser;
CREATE TEMP TABLE own (customer bigint, at timestamptz);
CREATE TEMP TABLE own_accounts (key text, name text);
CREATE TRIGGER a AFTER INSERT ON plain FOR EACH ROW EXECUTE FUNCTION chs.capture_source(:'plain_source');
CREATE TRIGGER "00_chs_capture" AFTER INSERT ON own FOR EACH ROW EXECUTE FUNCTION chs.capture_source(:'plain_source');
CREATE TRIGGER b BEFORE DELETE ON own FOR EACH STATEMENT EXECUTE FUNCTION chs.event_types_lock();
CREATE TRIGGER "00_chs_customers" AFTER INSERT ON own_accounts FOR EACH ROW EXECUTE FUNCTION chs.sync_customer(:'accounts_source');
INSERT INTO plain VALUES (1, now());
INSERT INTO own VALUES (1, now());
INSERT INTO own_accounts VALUES ('four', 'Fourth');
DELETE FROM own;
RESET ROLE;
SELECT logins(1), (SELECT count(*) FROM chs.customers) AS customers,
       (SELECT count(*) FROM chs.rejected_events WHERE source_id IN (:plain_source, :accounts_source)) AS rejected;

DROP TABLE own, own_accounts;
SET client_min_messages = error;
DELETE FROM chs.plugins;
DROP SCHEMA regress_trespass CASCADE;
DROP OWNED BY regress_trespasser;
DROP ROLE regress_trespasser;
SELECT relation, kind FROM chs.sources;
DELETE FROM chs.customers;
