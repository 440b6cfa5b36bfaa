-- Tables that must not lose rows unnoticed: what is in the queue and the activities would be
-- missing from scores.

-- Whoever empties them has everyone rebuilt, as in TRUNCATE of the events.
CREATE TRIGGER "00_chs_capture_truncate"
    AFTER TRUNCATE ON chs.queue
    FOR EACH STATEMENT EXECUTE FUNCTION chs.capture_truncate();
CREATE TRIGGER "00_chs_capture_truncate"
    AFTER TRUNCATE ON chs.activity
    FOR EACH STATEMENT EXECUTE FUNCTION chs.capture_truncate();
ALTER TABLE chs.queue ENABLE ALWAYS TRIGGER "00_chs_capture_truncate";
ALTER TABLE chs.activity ENABLE ALWAYS TRIGGER "00_chs_capture_truncate";

-- A crash empties unlogged tables, and leaves nobody to notice.
CREATE FUNCTION chs.keep_logged() RETURNS event_trigger
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
COMMENT ON FUNCTION chs.keep_logged() IS 'event trigger: refuses to make a table of chs unlogged';
CREATE EVENT TRIGGER chs_keep_logged ON table_rewrite EXECUTE FUNCTION chs.keep_logged();
ALTER EVENT TRIGGER chs_keep_logged ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER chs_keep_logged IS 'refuses to make a table of chs unlogged';
