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
