-- chs: customer health scores. This file is made from sql/ext/ by make.

\echo Use "CREATE EXTENSION chs" to load this file. \quit

-- Names and operators mean PostgreSQL's own, whatever is in the schema chosen at
-- CREATE EXTENSION.
SET LOCAL search_path = pg_catalog, pg_temp;

-- The shipped rows and the objects are the same under any setting of server, database,
-- role and session.  The whole script has been parsed by now, so how strings are read
-- cannot be set here: no string in it has a backslash outside of dollar quotes.
SET LOCAL session_replication_role = origin;
SET LOCAL extra_float_digits = 1;
SET LOCAL array_nulls = on;
SET LOCAL quote_all_identifiers = off;
SET LOCAL default_table_access_method = heap;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, MDY';
SET LOCAL IntervalStyle = postgres;

-- Default privileges that take functions or types from PUBLIC are lifted until the last
-- step: the script itself says what is not for everyone.
DO $$
DECLARE
    k record;
BEGIN
    PERFORM set_config('chs_script.default_privileges', '', true);
    FOR k IN
        SELECT t.name, t.privilege
        FROM (VALUES ('f', 'FUNCTIONS', 'EXECUTE'), ('T', 'TYPES', 'USAGE')) AS t(kind, name, privilege)
        JOIN pg_default_acl d ON d.defaclobjtype::text = t.kind AND d.defaclnamespace = 0 AND d.defaclrole = current_user::regrole
        WHERE NOT EXISTS (SELECT FROM aclexplode(d.defaclacl) a WHERE a.grantee = 0)
    LOOP
        EXECUTE format('ALTER DEFAULT PRIVILEGES GRANT %s ON %s TO PUBLIC', k.privilege, k.name);
        PERFORM set_config('chs_script.default_privileges',
                           format('%sALTER DEFAULT PRIVILEGES REVOKE %s ON %s FROM PUBLIC; ',
                                  current_setting('chs_script.default_privileges'), k.privilege, k.name), true);
    END LOOP;
END
$$;

-- Tables and views live here; public functions live in the schema chosen at
-- CREATE EXTENSION.  A schema of this name that exists already is an error, so
-- that nobody can plant objects in it beforehand.
CREATE SCHEMA chs;
GRANT USAGE ON SCHEMA chs TO PUBLIC;
COMMENT ON SCHEMA chs IS 'customer health scores: tables and views of the extension chs';
