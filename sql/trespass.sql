-- What others wrote, and chs runs or is run by, stays within its bounds: trigger
-- functions on tables of somebody's own, expressions of sources, plug-ins.
\pset format unaligned
\pset tuples_only on
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

-- Nor is a temporary view of whoever asks found in the place of a table that it reads.
CREATE FUNCTION unsafe(customer_id bigint, as_of timestamptz) RETURNS double precision STABLE LANGUAGE sql SET search_path = public AS 'SELECT 1';
CREATE FUNCTION unsafe(what text) RETURNS text STABLE LANGUAGE sql SET search_path = pg_temp, public AS $$SELECT 'login'$$;
INSERT INTO chs.plugins (function) VALUES ('regress_trespass.unsafe');
\set VERBOSITY default
SELECT chs_attach('raising', 'customer', 'unsafe(what)', 'at');
\set VERBOSITY terse
ALTER FUNCTION unsafe(bigint, timestamptz) SET search_path = public, pg_temp;
INSERT INTO chs.plugins (function) VALUES ('regress_trespass.unsafe');
ALTER FUNCTION unsafe(bigint, timestamptz) SET search_path = '';
SELECT chs.plugin_value('regress_trespass.unsafe(bigint,timestamp with time zone)', 1);

-- Rows that come, go or change without a row trigger count all the same.
CREATE TABLE parts (customer bigint, at timestamptz, what text, ip_address text, user_id int) PARTITION BY LIST (customer);
CREATE TABLE part_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE part_2 (LIKE parts);
INSERT INTO part_2 VALUES (2, now(), 'LOGIN', 'a', 1), (2, now(), 'LOGIN', 'a', 2);
SELECT logins(1) AS before_1, logins(2) AS before_2 \gset
SELECT chs_attach('parts', 'customer', 'lower(what)', 'at') > 1 AS attached;
CREATE FUNCTION more(OUT one double precision, OUT two double precision, OUT users double precision, OUT differences bigint) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM chs_process_queue();
    SELECT logins(1), logins(2), (SELECT value FROM chs_explain(2) WHERE metric = 'active_users'), (SELECT count(*) FROM chs_verify())
    INTO one, two, users, differences;
END
$$;
SELECT one - :before_1 AS one, two - :before_2 AS two, users, differences FROM more();
ALTER TABLE parts ATTACH PARTITION part_2 FOR VALUES IN (2);
SELECT one - :before_1 AS one, two - :before_2 AS two, users, differences FROM more();
INSERT INTO parts VALUES (1, now(), 'LOGIN', 'a', 1), (2, now(), 'LOGIN', 'a', 3);
SELECT one - :before_1 AS one, two - :before_2 AS two, users, differences FROM more();
ALTER TABLE parts ALTER user_id TYPE text USING 'same';
SELECT one - :before_1 AS one, two - :before_2 AS two, users, differences FROM more();
ALTER TABLE parts RENAME user_id TO user_no;
SELECT one - :before_1 AS one, two - :before_2 AS two, users, differences FROM more();
BEGIN;
ALTER TABLE part_2 DISABLE TRIGGER ALL;
INSERT INTO part_2 VALUES (2, now(), 'LOGIN', 'a', 4);
ALTER TABLE part_2 ENABLE TRIGGER ALL;
COMMIT;
SELECT one - :before_1 AS one, two - :before_2 AS two, users, differences FROM more();
-- Rows that were kept in a savepoint, and rewritten or truncated before they were counted.
BEGIN;
SAVEPOINT s;
INSERT INTO part_1 VALUES (1, now(), 'LOGIN', 'a', 5);
RELEASE s;
ALTER TABLE parts ALTER at TYPE text USING at::text, ALTER what TYPE name;
ALTER TABLE parts ALTER at TYPE timestamptz USING at::timestamptz;
COMMIT;
SELECT one - :before_1 AS one, two - :before_2 AS two, users, differences FROM more();
BEGIN;
INSERT INTO part_1 VALUES (1, now(), 'LOGIN', 'a', 5);
TRUNCATE part_1;
INSERT INTO part_1 VALUES (1, now(), 'LOGIN', 'a', 5);
COMMIT;
SELECT one - :before_1 AS one, two - :before_2 AS two, users, differences FROM more();
TRUNCATE part_1;
SELECT one - :before_1 AS one, two - :before_2 AS two, users, differences FROM more();
CREATE TABLE part_3 PARTITION OF parts DEFAULT;
SELECT tgrelid::regclass, count(*) FROM pg_trigger WHERE tgname ^@ '00_chs_capture' AND tgrelid::regclass::text ^@ 'part' GROUP BY 1 ORDER BY 1;
ALTER TABLE parts DETACH PARTITION part_2;
TRUNCATE part_2;
SELECT one - :before_1 AS one, two - :before_2 AS two, users, differences FROM more();
ALTER TABLE parts ATTACH PARTITION part_2 FOR VALUES IN (2);
INSERT INTO parts VALUES (2, now(), 'LOGIN', 'a', 4);
SELECT one - :before_1 AS one, two - :before_2 AS two, users, differences FROM more();
DROP TABLE part_2;
SELECT one - :before_1 AS one, two - :before_2 AS two, users, differences FROM more();
-- A column that no score reads is nobody's business.
SELECT max(version) AS version FROM chs.scorecard_versions \gset
ALTER TABLE parts ADD whatever int DEFAULT 1, DROP user_no;
SELECT max(version) - :version AS versions FROM chs.scorecard_versions;
SELECT chs_detach('parts');
SELECT count(*) FROM pg_trigger WHERE tgname ^@ '00_chs_capture' AND tgrelid::regclass::text ^@ 'part';

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

-- A version that is none is refused, whoever may insert it.
INSERT INTO chs.scorecard_versions (version, document, series_version)
SELECT max(version) + 1, '{"default": 5}', 1 FROM chs.scorecard_versions;
SELECT count(chs_score(customer_id)) >= 0 AS scores FROM chs.customers;

DROP TABLE own, own_accounts;
SET client_min_messages = error;
DELETE FROM chs.plugins;
DROP SCHEMA regress_trespass CASCADE;
DROP OWNED BY regress_trespasser;
DROP ROLE regress_trespasser;
SELECT relation, kind FROM chs.sources;
DELETE FROM chs.customers;
