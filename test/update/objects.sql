-- Everything that makes up the extension, a line each: what two databases with the
-- same version of it must have in common, however they came to it.

-- Names as they are from anywhere.
SET search_path = '';

WITH member AS (
    SELECT d.classid, d.objid
    FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.refobjid = e.oid
    WHERE e.extname = 'chs' AND d.deptype = 'e'
), relation AS (
    SELECT c.* FROM member m JOIN pg_catalog.pg_class c ON m.classid = 'pg_catalog.pg_class'::regclass AND c.oid = m.objid
), acl (kind, name, acl) AS (
    -- no privileges at all, and those that come without saying, are the same if they give the same
    SELECT 'relation', r.oid::regclass::text, COALESCE(r.relacl, pg_catalog.acldefault(CASE r.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", r.relowner))
    FROM relation r WHERE r.relkind IN ('r', 'p', 'v', 'm', 'S')
    UNION ALL
    SELECT 'function', p.oid::regprocedure::text, COALESCE(p.proacl, pg_catalog.acldefault('f', p.proowner))
    FROM member m JOIN pg_catalog.pg_proc p ON m.classid = 'pg_catalog.pg_proc'::regclass AND p.oid = m.objid
    UNION ALL
    SELECT 'schema', n.nspname, COALESCE(n.nspacl, pg_catalog.acldefault('n', n.nspowner))
    FROM member m JOIN pg_catalog.pg_namespace n ON m.classid = 'pg_catalog.pg_namespace'::regclass AND n.oid = m.objid
    UNION ALL
    SELECT 'type', t.oid::regtype::text, COALESCE(t.typacl, pg_catalog.acldefault('T', t.typowner))
    FROM member m JOIN pg_catalog.pg_type t ON m.classid = 'pg_catalog.pg_type'::regclass AND t.oid = m.objid
), line (text) AS (
    SELECT 'member ' || pg_catalog.pg_describe_object(classid, objid, 0) FROM member
    UNION ALL
    SELECT pg_catalog.format('comment %s: %s', pg_catalog.pg_describe_object(d.classoid, d.objoid, d.objsubid), d.description)
    FROM pg_catalog.pg_description d
    WHERE EXISTS (SELECT FROM member m WHERE (m.classid, m.objid) = (d.classoid, d.objoid))
       OR d.classoid = 'pg_catalog.pg_trigger'::regclass AND d.objoid IN (SELECT t.oid FROM pg_catalog.pg_trigger t JOIN relation r ON r.oid = t.tgrelid)
       OR d.classoid = 'pg_catalog.pg_constraint'::regclass AND d.objoid IN (SELECT c.oid FROM pg_catalog.pg_constraint c JOIN relation r ON r.oid = c.conrelid)
    UNION ALL
    SELECT pg_catalog.format('privileges %s %s: %s %s%s', a.kind, a.name, COALESCE(NULLIF(x.grantee, 0)::regrole::text, 'PUBLIC'), x.privilege_type,
                             CASE WHEN x.is_grantable THEN ' grantable' END)
    FROM acl a, LATERAL pg_catalog.aclexplode(a.acl) x
    UNION ALL
    SELECT pg_catalog.format('relation %s: %s %s %s %s row security %s %s', r.oid::regclass, r.relkind, r.relpersistence, COALESCE(a.amname, '-'),
                             r.reloptions, r.relrowsecurity, r.relforcerowsecurity)
    FROM relation r LEFT JOIN pg_catalog.pg_am a ON a.oid = r.relam
    UNION ALL
    SELECT pg_catalog.format('column %s.%s: %s %s %s %s %s default %s %s %s', r.oid::regclass, a.attname, a.attnum, pg_catalog.format_type(a.atttypid, a.atttypmod),
                             CASE WHEN a.attnotnull THEN 'not null' ELSE 'null' END, a.attidentity, a.attgenerated,
                             pg_catalog.pg_get_expr(d.adbin, d.adrelid), a.attstorage, a.attacl)
    FROM relation r JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_catalog.pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
    UNION ALL
    SELECT pg_catalog.format('constraint %s of %s: %s', c.conname, c.conrelid::regclass, pg_catalog.pg_get_constraintdef(c.oid))
    FROM pg_catalog.pg_constraint c JOIN relation r ON r.oid = c.conrelid
    UNION ALL
    SELECT pg_catalog.format('index %s', pg_catalog.pg_get_indexdef(i.indexrelid)) FROM pg_catalog.pg_index i JOIN relation r ON r.oid = i.indrelid
    UNION ALL
    -- those of foreign keys have numbers in their names
    SELECT pg_catalog.format('trigger on %s: %s %s', t.tgrelid::regclass, t.tgenabled,
                             CASE WHEN t.tgisinternal THEN t.tgfoid::regproc || ' of ' || c.conname ELSE pg_catalog.pg_get_triggerdef(t.oid) END)
    FROM pg_catalog.pg_trigger t JOIN relation r ON r.oid = t.tgrelid LEFT JOIN pg_catalog.pg_constraint c ON c.oid = t.tgconstraint
    UNION ALL
    SELECT pg_catalog.format('policy %s on %s: %s %s %s using %s check %s', p.polname, p.polrelid::regclass, p.polcmd, p.polpermissive, p.polroles::regrole[],
                             pg_catalog.pg_get_expr(p.polqual, p.polrelid), pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid))
    FROM pg_catalog.pg_policy p JOIN relation r ON r.oid = p.polrelid
    UNION ALL
    SELECT pg_catalog.format('view %s: %s', r.oid::regclass, pg_catalog.pg_get_viewdef(r.oid)) FROM relation r WHERE r.relkind IN ('v', 'm')
    UNION ALL
    SELECT pg_catalog.format('sequence %s: %s', s.seqrelid::regclass, pg_catalog.to_jsonb(s) - '{seqrelid,seqtypid}'::text[])
    FROM pg_catalog.pg_sequence s JOIN relation r ON r.oid = s.seqrelid
    UNION ALL
    SELECT pg_catalog.format('function %s: %s', p.oid::regprocedure, pg_catalog.pg_get_functiondef(p.oid))
    FROM member m JOIN pg_catalog.pg_proc p ON m.classid = 'pg_catalog.pg_proc'::regclass AND p.oid = m.objid AND p.prokind <> 'a'
    UNION ALL
    SELECT pg_catalog.format('aggregate %s: %s %s parallel %s', p.oid::regprocedure, a.aggtranstype::regtype,
                             pg_catalog.to_jsonb(a) - '{aggfnoid,aggtranstype,aggmtranstype}'::text[], p.proparallel)
    FROM member m JOIN pg_catalog.pg_proc p ON m.classid = 'pg_catalog.pg_proc'::regclass AND p.oid = m.objid
    JOIN pg_catalog.pg_aggregate a ON a.aggfnoid = p.oid
    UNION ALL
    SELECT pg_catalog.format('type %s: %s %s %s %s %s %s %s %s', t.oid::regtype, t.typlen, t.typalign, t.typstorage, t.typinput, t.typoutput, t.typreceive, t.typsend, t.typcategory)
    FROM member m JOIN pg_catalog.pg_type t ON m.classid = 'pg_catalog.pg_type'::regclass AND t.oid = m.objid AND t.typrelid = 0 AND t.typelem = 0
    UNION ALL
    SELECT pg_catalog.format('operator class %s: %s', pg_catalog.pg_describe_object('pg_catalog.pg_opclass'::regclass, o.oid, 0), pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid))
    FROM member m JOIN pg_catalog.pg_opclass o ON m.classid = 'pg_catalog.pg_opclass'::regclass AND o.oid = m.objid
    JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_opclass'::regclass AND d.refobjid = o.oid AND d.classid <> 'pg_catalog.pg_class'::regclass
    UNION ALL
    SELECT pg_catalog.format('dumped %s %s', c.relation::regclass, c.condition)
    FROM pg_catalog.pg_extension e, LATERAL ROWS FROM (pg_catalog.unnest(e.extconfig), pg_catalog.unnest(e.extcondition)) AS c (relation, condition)
    WHERE e.extname = 'chs'
    UNION ALL
    SELECT pg_catalog.format('version %s in schema %s', e.extversion, e.extnamespace::regnamespace) FROM pg_catalog.pg_extension e WHERE e.extname = 'chs'
)
SELECT text FROM line ORDER BY text COLLATE pg_catalog."C";
