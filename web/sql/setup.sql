-- What the API needs in a database that has the extension chs.  Run it as a superuser; running it again changes nothing
-- but what has become different:
--
--   psql -X -v ON_ERROR_STOP=1 -d DATABASE -f web/sql/setup.sql
--
-- It creates the role chs_web, as which the server connects.  That role has no rights of its own: it may only become
-- the roles that chs_web.admit() names, and PostgreSQL decides what these may see and do.  Give it a password
-- (\password chs_web) or let pg_hba.conf admit it otherwise.

\set ON_ERROR_STOP on
BEGIN;
SET LOCAL client_min_messages = warning;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'chs') THEN
        RAISE EXCEPTION 'this database has no extension chs' USING HINT = 'Run CREATE EXTENSION chs first.';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'chs_web') THEN
        CREATE ROLE chs_web;
    END IF;
END
$$;
ALTER ROLE chs_web LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

CREATE SCHEMA IF NOT EXISTS chs_web;
COMMENT ON SCHEMA chs_web IS 'what the HTTP API of chs keeps: who wrote what, and notes on customers';

-- admit(ROLE): lets the server become the role, for those who log in as it or whose token names it.
CREATE OR REPLACE FUNCTION chs_web.admit(role_name name) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('GRANT %I TO chs_web', role_name);
    EXECUTE format('GRANT USAGE ON SCHEMA chs_web TO %I', role_name);
END
$$;
COMMENT ON FUNCTION chs_web.admit(name) IS 'lets people of a role use the API: the server may become it';
REVOKE EXECUTE ON FUNCTION chs_web.admit(name) FROM PUBLIC;

COMMIT;
