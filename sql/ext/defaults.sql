-- The last step.

-- What default privileges gave others on the extension's objects when they were created
-- would open them beyond what is granted here.
DO $$
DECLARE
    o record;
BEGIN
    FOR o IN
        SELECT m.kind, m.object, a.grantee
        FROM (SELECT 'SCHEMA' AS kind, n.oid::regnamespace::text AS object, n.nspacl AS acl, n.nspowner AS owner FROM pg_namespace n WHERE n.nspname = 'chs'
              UNION ALL
              SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass::text, c.relacl, c.relowner
              FROM pg_class c WHERE c.relnamespace = 'chs'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S')
              UNION ALL
              SELECT 'ROUTINE', p.oid::regprocedure::text, p.proacl, p.proowner
              FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
              JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'chs'
              UNION ALL
              SELECT 'TYPE', t.oid::regtype::text, t.typacl, t.typowner
              FROM pg_type t JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
              JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'chs') m,
             aclexplode(m.acl) a
        WHERE a.grantee NOT IN (m.owner, 'pg_monitor'::regrole) AND (a.grantee <> 0 OR m.kind IN ('TABLE', 'SEQUENCE'))
        GROUP BY m.kind, m.object, a.grantee
    LOOP
        EXECUTE format('REVOKE ALL ON %s %s FROM %s', o.kind, o.object,
                       CASE o.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(o.grantee)) END);
    END LOOP;
END
$$;

-- Those that take something are again as they were, see the first step.
DO $$
BEGIN
    EXECUTE current_setting('chs_script.default_privileges');
END
$$;
