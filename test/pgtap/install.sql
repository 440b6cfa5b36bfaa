-- CREATE EXTENSION by a superuser, in a database where somebody has prepared
-- objects for it: none of them is executed, and none is adopted.

\set QUIET on
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
\set script `cat sql/chs--*.sql`

BEGIN;
CREATE SCHEMA tap;
CREATE EXTENSION pgtap SCHEMA tap;
SET LOCAL search_path = tap, pg_temp;
SELECT * FROM no_plan();

SELECT ok(:'script' ~ 'CREATE SCHEMA chs;', 'this is the script');
SELECT ok(:'script' !~* 'CREATE\s+OR\s+REPLACE|CREATE\s+\w+\s+IF\s+NOT\s+EXISTS', 'which takes over nothing that is there');
SELECT ok(regexp_replace(:'script', '--[^\n]*', '', 'g') !~ '(^|[^$])''@extschema@', 'and puts the name of its schema into no literal');

CREATE ROLE chs_tap_attacker;
GRANT CREATE, USAGE ON SCHEMA public TO chs_tap_attacker;
GRANT CREATE ON DATABASE :DBNAME TO chs_tap_attacker;
GRANT USAGE ON SCHEMA tap TO PUBLIC;
CREATE TABLE public.trapped (who name, what text);
GRANT INSERT ON public.trapped TO PUBLIC;
SET LOCAL ROLE chs_tap_attacker;
-- Functions and operators with the names that the script uses, matching better than
-- PostgreSQL's own; a type and a cast.
CREATE FUNCTION public.spring(what text) RETURNS void LANGUAGE sql AS 'INSERT INTO public.trapped VALUES (current_user, what)';
DO $$
DECLARE
    f record;
    o record;
BEGIN
    FOR f IN SELECT DISTINCT p.proname, oidvectortypes(p.proargtypes) AS args FROM pg_proc p
             WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND p.pronargs BETWEEN 0 AND 2
               AND p.proname IN ('now', 'current_setting', 'format', 'jsonb_build_object', 'to_regclass', 'set_config', 'pg_extension_config_dump',
                                 'array_position', 'quote_ident', 'jsonb_typeof', 'row_security_active', 'pg_advisory_xact_lock', 'round', 'abs')
               AND NOT oidvectortypes(p.proargtypes) ~ 'any|internal|cstring'
    LOOP
        EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS text LANGUAGE sql AS %L', f.proname, f.args,
                       format('SELECT public.spring(%L); SELECT NULL::text', f.proname));
    END LOOP;
    FOR o IN SELECT t, op FROM unnest('{text,name,bigint,integer,jsonb,oid,boolean,double precision,timestamptz}'::text[]) t, unnest('{=,<>,<,>,<=,>=,||,->,->>,+,-,*}'::text[]) op LOOP
        EXECUTE format('CREATE FUNCTION public.%I(%s, %2$s) RETURNS boolean LANGUAGE sql AS %L', 'op' || o.op, o.t,
                       format('SELECT public.spring(%L); SELECT true', o.op || o.t));
        EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %2$s, FUNCTION = public.%I)', o.op, o.t, 'op' || o.op);
    END LOOP;
END $$;
CREATE TYPE public.current_user AS (a text);
CREATE TYPE public.regclass AS (a text);
RESET ROLE;

SAVEPOINT prepared;
SET LOCAL search_path = public, pg_catalog;
SELECT 1 = 1, now() \g /dev/null
SELECT pg_catalog.count(*) AS sprung FROM public.trapped \gset
DELETE FROM public.trapped;
CREATE EXTENSION chs SCHEMA public;
SELECT pg_catalog.count(*) AS installing FROM public.trapped \gset
DROP EXTENSION chs;
SELECT pg_catalog.count(*) AS dropping FROM public.trapped \gset
ROLLBACK TO prepared;
SET LOCAL search_path = tap, pg_temp;
SELECT cmp_ok(:sprung, '>=', 1, 'the traps work');
SELECT is(:installing, 0, 'installing springs none of them');
SELECT is(:dropping, 0, 'nor does dropping it');

-- If somebody has an object of one of the names, there is an error, and it stays theirs.
SAVEPOINT names;
CREATE EXTENSION chs SCHEMA public;
CREATE TEMP TABLE objects AS
SELECT p.proname::text AS name, CASE WHEN p.prokind = 'a' THEN 'f' ELSE p.prokind END AS kind, pg_get_function_identity_arguments(p.oid) AS args,
       p.proargtypes::oid[] && ARRAY(SELECT t.oid FROM pg_type t WHERE t.typname = 'chs_activity') AS own_types
FROM pg_depend d JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
WHERE d.refobjid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'chs') AND d.deptype = 'e' AND p.pronamespace = 'public'::regnamespace;
CREATE TEMP TABLE kept AS TABLE objects;
DROP EXTENSION chs;
CREATE FUNCTION pg_temp.installs_with(prepared text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        EXECUTE prepared;
        CREATE EXTENSION chs SCHEMA public;
        RAISE EXCEPTION USING ERRCODE = 'CHS00';
    EXCEPTION WHEN OTHERS THEN
        RETURN SQLSTATE;
    END;
END $$;
SELECT is(pg_temp.installs_with('CREATE SCHEMA chs'), '42P06', 'a schema chs in the way is an error');
SELECT is(pg_temp.installs_with('CREATE TYPE public.chs_activity AS (a text)'), '42710', 'and so is a type chs_activity');
SELECT is(pg_temp.installs_with(format('CREATE %s public.%I(%s) %s LANGUAGE sql AS ''SELECT 1''', CASE kind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, name, args,
               CASE WHEN kind <> 'p' AND args !~ 'OUT ' THEN 'RETURNS integer' END)), '42723', format('and so is a function %s(%s)', name, args))
FROM kept WHERE NOT own_types AND args !~ 'OUT ' LIMIT 6;

SELECT * FROM finish();
ROLLBACK;
