-- Attached tables: random inserts, updates and deletes of rows, good and bad, and of
-- customers, with savepoints and rollbacks.  After each one scores are those of the
-- rows, as a view written by hand tells, and chs_verify() finds nothing.
\set QUIET on
SET client_min_messages = error;
SELECT rnd.nobody() \g /dev/null
DROP SCHEMA IF EXISTS attached CASCADE;
CREATE SCHEMA attached;
INSERT INTO chs.customers (customer_id, external_id, segment, created_at)
SELECT n, 'x' || n, 'smb', now() - interval '1 year' FROM generate_series(1, 8) n;

-- By columns; and by expressions that may fail, one of them a subquery, over partitions.
CREATE TABLE attached.login (id serial, c int, ip_address text, user_id text, at timestamptz);
CREATE TABLE attached.use (id serial, k text, f text, day text) PARTITION BY LIST (f);
CREATE TABLE attached.use_pq PARTITION OF attached.use FOR VALUES IN ('p', 'q');
CREATE TABLE attached.use_other PARTITION OF attached.use DEFAULT;
CREATE TABLE attached.contract (k text, x text);
INSERT INTO attached.contract SELECT 'm' || n, 'x' || n FROM generate_series(1, 8) n;
CREATE PROCEDURE attached.attach() LANGUAGE plpgsql AS $$
BEGIN
    PERFORM chs_attach('attached.login', 'c', 'login', 'at');
    PERFORM chs_attach('attached.use', '(SELECT x FROM attached.contract m WHERE m.k = use.k)', 'feature_use',
                       $x$(day || ' UTC')::timestamptz$x$, $x$jsonb_build_object('feature_name', f)$x$, 'external_id');
END
$$;
CALL attached.attach();
CREATE VIEW attached.event AS
SELECT c::bigint AS customer_id, 'login' AS event_type,
       jsonb_build_object('ip_address', ip_address, 'user_id', user_id) AS event_data, at AS occurred_at
FROM attached.login WHERE ip_address IS NOT NULL AND at IS NOT NULL AND c IN (SELECT customer_id FROM chs.customers)
UNION ALL
SELECT c.customer_id, 'feature_use', jsonb_build_object('feature_name', f), (day || ' UTC')::timestamptz
FROM attached.use JOIN attached.contract USING (k) JOIN chs.customers c ON c.external_id = x
WHERE f IS NOT NULL AND day ~ '^20\d\d-\d\d-\d\d$';
CREATE FUNCTION attached.fresh(id bigint) RETURNS double precision LANGUAGE sql STABLE AS $$
    SELECT (chs_activity_score(
        (SELECT chs_activity_agg(v.document, e.event_type, e.event_data, e.occurred_at) FROM attached.event e WHERE e.customer_id = c.customer_id),
        v.document, c.segment, c.created_at, now())).score
    FROM chs.customers c, (SELECT document FROM chs.scorecard_versions WHERE live_at IS NOT NULL ORDER BY version DESC LIMIT 1) v
    WHERE c.customer_id = id
$$;

CREATE FUNCTION attached.day() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT CASE WHEN random() < 0.85 THEN to_char(now() AT TIME ZONE 'UTC' - random() * interval '40 days', 'YYYY-MM-DD') ELSE 'bad' END
$$;
CREATE FUNCTION attached.feature() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT (ARRAY['p', 'q', 'z', NULL])[rnd.whole(1, 4)]
$$;
CREATE FUNCTION attached.change() RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    what integer := rnd.whole(0, 13);
BEGIN
    CASE what
        WHEN 0 THEN
            INSERT INTO attached.login (c, ip_address, user_id, at)
            SELECT rnd.whole(0, 11), CASE WHEN random() < 0.9 THEN 'i' END, 'u' || rnd.whole(1, 5),
                   CASE WHEN random() < 0.9 THEN now() - random() * interval '40 days' END
            FROM generate_series(1, rnd.whole(0, 20));
        WHEN 1 THEN
            INSERT INTO attached.use (k, f, day) SELECT 'm' || rnd.whole(0, 10), attached.feature(), attached.day()
            FROM generate_series(1, rnd.whole(0, 20));
        WHEN 2 THEN
            INSERT INTO attached.use_pq (k, f, day) SELECT 'm' || rnd.whole(0, 10), 'p', attached.day()
            FROM generate_series(1, rnd.whole(0, 5));
        WHEN 3 THEN
            UPDATE attached.login SET c = rnd.whole(0, 9) WHERE id % 7 = rnd.whole(0, 6);
        WHEN 4 THEN
            UPDATE attached.login SET ip_address = CASE WHEN random() < 0.5 THEN 'j' END WHERE id % 9 = rnd.whole(0, 8);
        WHEN 5 THEN
            DELETE FROM attached.login WHERE id % 11 = rnd.whole(0, 10);
        WHEN 6 THEN
            UPDATE attached.use SET f = attached.feature() WHERE id % 5 = rnd.whole(0, 4);
        WHEN 7 THEN
            UPDATE attached.use SET day = attached.day() WHERE id % 5 = rnd.whole(0, 4);
        WHEN 8 THEN
            DELETE FROM attached.use WHERE id % 6 = rnd.whole(0, 5);
        WHEN 9 THEN
            DELETE FROM chs.customers WHERE customer_id = rnd.whole(0, 8);
        WHEN 10 THEN
            INSERT INTO chs.customers (customer_id, external_id, segment, created_at)
            SELECT n, 'x' || n, 'smb', now() - interval '1 year' FROM (SELECT rnd.whole(0, 10) AS n) s ON CONFLICT DO NOTHING;
        WHEN 11 THEN
            IF random() < 0.2 THEN TRUNCATE attached.login; END IF;
        WHEN 12 THEN
            BEGIN
                UPDATE chs.customers SET external_id = 'x' || rnd.whole(0, 10) WHERE customer_id = rnd.whole(0, 8);
            EXCEPTION WHEN unique_violation THEN
                NULL;
            END;
        WHEN 13 THEN
            BEGIN
                PERFORM attached.change();
                IF random() < 0.5 THEN RAISE EXCEPTION 'to be undone'; END IF;
            EXCEPTION WHEN raise_exception THEN
                NULL;
            END;
    END CASE;
    RETURN what;
END
$$;
CREATE PROCEDURE attached.check_scores(after text) LANGUAGE plpgsql AS $$
DECLARE
    wrong text;
BEGIN
    SELECT string_agg(format('customer %s: %s, rows %s', customer_id, chs_score(customer_id), attached.fresh(customer_id)), '; ')
    INTO wrong FROM chs.customers WHERE chs_score(customer_id) IS DISTINCT FROM attached.fresh(customer_id);
    IF wrong IS NOT NULL THEN RAISE SQLSTATE 'XX000' USING MESSAGE = format('after%s: %s', after, wrong); END IF;
END
$$;
-- What cannot be used is listed, once for each row, when rows have been listed anew.
CREATE PROCEDURE attached.check_listed(after text) LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    wrong text;
BEGIN
    SELECT string_agg(x::text, '; ') INTO wrong FROM (
        (SELECT 'not there: ' || event_row::text FROM chs.rejected_events
         EXCEPT ALL (SELECT 'not there: ' || to_jsonb(l)::text FROM attached.login l UNION ALL SELECT 'not there: ' || to_jsonb(u)::text FROM attached.use u))
        UNION ALL
        ((SELECT 'missing: ' || to_jsonb(l)::text FROM attached.login l WHERE ip_address IS NULL OR at IS NULL
          UNION ALL SELECT 'missing: ' || to_jsonb(u)::text FROM attached.use u WHERE f IS NULL OR day !~ '^20\d\d-\d\d-\d\d$')
         EXCEPT ALL SELECT 'missing: ' || event_row::text FROM chs.rejected_events)) x(x);
    IF wrong IS NOT NULL THEN RAISE SQLSTATE 'XX000' USING MESSAGE = format('after%s: %s', after, wrong); END IF;
END
$$;
CREATE PROCEDURE attached.run(rounds integer) LANGUAGE plpgsql AS $$
DECLARE
    done text := '';
    wrong text;
BEGIN
    FOR i IN 1 .. rounds LOOP
        FOR j IN 1 .. rnd.whole(1, 4) LOOP
            done := right(done, 80) || ' ' || attached.change();
            CALL attached.check_scores(done);
        END LOOP;
        IF random() < 0.3 THEN ROLLBACK; done := done || ' rollback'; ELSE COMMIT; done := done || ' commit'; END IF;
        SET default_transaction_isolation = 'read committed';
        COMMIT;
        IF random() < 0.4 THEN PERFORM chs_process_queue(); COMMIT; done := done || ' fold'; END IF;
        IF random() < 0.2 THEN PERFORM chs_retry_rejected(); done := done || ' retry'; CALL attached.check_listed(done); COMMIT; END IF;
        IF random() < 0.05 THEN
            CALL attached.attach();
            COMMIT;
            done := done || ' attach';
        END IF;
        CALL attached.check_scores(done);
        COMMIT;
        SELECT string_agg(v::text, '; ') INTO wrong FROM chs_verify() v;
        IF wrong IS NOT NULL THEN RAISE SQLSTATE 'XX000' USING MESSAGE = format('after%s: chs_verify: %s', done, wrong); END IF;
        -- What applications do may be of one snapshot.
        IF random() < 0.4 THEN SET default_transaction_isolation = 'repeatable read'; done := done || ' repeatable'; END IF;
        COMMIT;
    END LOOP;
END
$$;

SELECT setseed((:seed % 1000) / 1000.0) \g /dev/null
CALL attached.run(greatest(10, :customers / 3));
SELECT 'ok 1 - attached tables: scores are those of the rows after every change';
RESET default_transaction_isolation;
SELECT * FROM tap.none('SELECT rnd.past_differs(45, 0.5)', 'with attached tables the past from one pass is that of each day, too');
DROP SCHEMA attached CASCADE;
SELECT rnd.nobody(), chs_process_queue() \g /dev/null
\echo 1..1
