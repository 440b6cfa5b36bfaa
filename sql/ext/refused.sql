-- DDL on tables of chs that is refused, because scores or the rights of their owner would suffer.

CREATE FUNCTION chs.refuse_triggers() RETURNS event_trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- src/base/tables.c writes these without firing triggers or rules: whoever followed them would miss most of it.
    written_directly CONSTANT name[] := '{activity,customer_health,failures,health_counts,health_scores,missing_customers,queue,rejected_events}';
    created record;
BEGIN
    SELECT c.oid::regclass AS on_table, t.oid IS NOT NULL AND NOT pg_has_role(c.relowner, 'USAGE') AS by_another,
           c.relname = ANY (written_directly) AND NOT e.in_extension AS incomplete
    INTO created
    FROM pg_event_trigger_ddl_commands() e
    LEFT JOIN pg_trigger t ON e.classid = 'pg_trigger'::regclass AND t.oid = e.objid
    LEFT JOIN pg_rewrite r ON e.classid = 'pg_rewrite'::regclass AND r.oid = e.objid
    JOIN pg_class c ON c.oid = COALESCE(t.tgrelid, r.ev_class)
    JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
    JOIN pg_extension x ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = x.oid AND x.extname = 'chs';
    -- A foreign key that cascades works with the rights of the table's owner, and would run a trigger with them.  So the
    -- privilege TRIGGER, which GRANT ALL includes, does not suffice to create one.
    IF created.by_another THEN
        RAISE EXCEPTION 'must be owner of table % to create a trigger on it', created.on_table
            USING ERRCODE = 'insufficient_privilege',
                  DETAIL = 'It could be fired with the rights of the owner, by foreign keys.',
                  HINT = 'The privilege TRIGGER is of no use for tables of chs: ask their owner to create the trigger.';
    END IF;
    IF created.incomplete THEN
        RAISE EXCEPTION 'cannot create a trigger or rule on table "%"', created.on_table
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'chs writes this table directly, which fires neither, so what follows it by them would be incomplete.',
                  HINT = 'In place of a tool that copies the table, use VACUUM FULL, CLUSTER or REINDEX CONCURRENTLY; to follow scores, logical replication, or LISTEN chs_status and chs_status_changes().';
    END IF;
END
$$;
COMMENT ON FUNCTION chs.refuse_triggers()
    IS 'event trigger: refuses triggers on tables of chs by others than their owner, and triggers and rules on those that chs writes directly';
CREATE EVENT TRIGGER chs_refuse_triggers ON ddl_command_end WHEN TAG IN ('CREATE TRIGGER', 'CREATE RULE')
    EXECUTE FUNCTION chs.refuse_triggers();
COMMENT ON EVENT TRIGGER chs_refuse_triggers
    IS 'refuses triggers on tables of chs by others than their owner, and triggers and rules on those that chs writes directly';
ALTER EVENT TRIGGER chs_refuse_triggers ENABLE ALWAYS;

-- A crash empties unlogged tables, and leaves nobody to notice.
CREATE FUNCTION chs.refuse_unlogged() RETURNS event_trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changes_persistence CONSTANT integer := 1;
    changed CONSTANT regclass := pg_event_trigger_table_rewrite_oid();
BEGIN
    IF pg_event_trigger_table_rewrite_reason() & changes_persistence <> 0
       AND EXISTS (SELECT FROM pg_class c WHERE c.oid = changed AND c.relpersistence = 'p' AND c.relnamespace = to_regnamespace('chs')) THEN
        RAISE EXCEPTION 'table % cannot become unlogged', changed
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'A crash of the server would empty it, and scores would be wrong.',
                  HINT = 'For less write-ahead log set synchronous_commit to off in the sessions that insert.';
    END IF;
END
$$;
COMMENT ON FUNCTION chs.refuse_unlogged() IS 'event trigger: refuses to make a table of chs unlogged';
CREATE EVENT TRIGGER chs_refuse_unlogged ON table_rewrite EXECUTE FUNCTION chs.refuse_unlogged();
COMMENT ON EVENT TRIGGER chs_refuse_unlogged IS 'refuses to make a table of chs unlogged';
ALTER EVENT TRIGGER chs_refuse_unlogged ENABLE ALWAYS;
