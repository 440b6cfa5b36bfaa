-- What the API needs in a database that has the extension chs.  Run it as a superuser; running it again changes nothing
-- but what has become different.  Run it after a restore, too: dumps leave out triggers on tables of extensions.
--
--   psql -X -v ON_ERROR_STOP=1 -d DATABASE -f web/sql/setup.sql
--
-- It creates the role chs_web, as which the server connects.  Apart from adding to the audit, that role has no rights of
-- its own: it may only become the roles that chs_web.admit() names, and PostgreSQL decides what these may see and do.
-- Give it a password (\password chs_web), or let pg_hba.conf admit it otherwise.

\set ON_ERROR_STOP on
BEGIN;
SET LOCAL client_min_messages = warning;

-- chs may be in any schema; functions here, and the server, call its functions without naming it.
SELECT set_config('search_path', format('pg_catalog, %I, pg_temp', n.nspname), true)
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'chs' \g /dev/null

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'chs') THEN
        RAISE EXCEPTION 'this database has no extension chs' USING HINT = 'Run CREATE EXTENSION chs first.';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'chs_web') THEN
        CREATE ROLE chs_web;
    END IF;
    EXECUTE (SELECT format('ALTER ROLE chs_web IN DATABASE %I SET search_path = pg_catalog, %I, pg_temp', current_database(), n.nspname)
             FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'chs');
    EXECUTE format('ALTER ROLE chs_web IN DATABASE %I SET timezone = ''UTC''', current_database());
    EXECUTE format('ALTER ROLE chs_web IN DATABASE %I SET jit = off', current_database());
END
$$;
ALTER ROLE chs_web LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

CREATE SCHEMA IF NOT EXISTS chs_web;
COMMENT ON SCHEMA chs_web IS 'what the HTTP API of chs keeps: who wrote what, notes on customers, saved views';
GRANT USAGE ON SCHEMA chs_web TO chs_web;

-- Who wrote what by the API.  The server adds a row in the transaction of each write, as chs_web; nobody changes one.
CREATE TABLE IF NOT EXISTS chs_web.audit (
    audit_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    role_name  text NOT NULL,
    actor      text NOT NULL,
    method     text NOT NULL,
    route      text NOT NULL,
    target     text,
    request_id text NOT NULL
);
COMMENT ON TABLE chs_web.audit IS 'every write by the API, recorded by the transaction that made it';
COMMENT ON COLUMN chs_web.audit.audit_id IS 'identifies the row';
COMMENT ON COLUMN chs_web.audit.at IS 'when its transaction began';
COMMENT ON COLUMN chs_web.audit.role_name IS 'the role that it was made as';
COMMENT ON COLUMN chs_web.audit.actor IS 'the person';
COMMENT ON COLUMN chs_web.audit.method IS 'POST, PUT, PATCH or DELETE';
COMMENT ON COLUMN chs_web.audit.route IS 'what was called, with the names of its parameters';
COMMENT ON COLUMN chs_web.audit.target IS 'what it was about: the number of a customer, event, version or note, or how many events';
COMMENT ON COLUMN chs_web.audit.request_id IS 'as in the server''s log and in answers';
CREATE INDEX IF NOT EXISTS audit_at_idx ON chs_web.audit USING brin (at);
REVOKE ALL ON chs_web.audit FROM PUBLIC, chs_web;
GRANT INSERT (role_name, actor, method, route, target, request_id) ON chs_web.audit TO chs_web;

-- Notes that people write about customers.  A foreign key to chs.customers would keep customers from being purged.
CREATE TABLE IF NOT EXISTS chs_web.notes (
    note_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id bigint NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    role_name   text NOT NULL DEFAULT current_user,
    actor       text NOT NULL DEFAULT COALESCE(nullif(current_setting('chs.actor', true), ''), current_user),
    note        text NOT NULL CHECK (note <> '' AND length(note) <= 10000)
);
COMMENT ON TABLE chs_web.notes IS 'notes on customers, for those who may see the customer';
COMMENT ON COLUMN chs_web.notes.note_id IS 'identifies the note';
COMMENT ON COLUMN chs_web.notes.customer_id IS 'whom it is about';
COMMENT ON COLUMN chs_web.notes.at IS 'when it was written';
COMMENT ON COLUMN chs_web.notes.role_name IS 'the role that wrote it';
COMMENT ON COLUMN chs_web.notes.actor IS 'the person who wrote it';
COMMENT ON COLUMN chs_web.notes.note IS 'the text';
CREATE INDEX IF NOT EXISTS notes_customer_idx ON chs_web.notes (customer_id, at, note_id);
ALTER TABLE chs_web.notes ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS follow_customers ON chs_web.notes;
DROP POLICY IF EXISTS write_own ON chs_web.notes;
DROP POLICY IF EXISTS delete_own ON chs_web.notes;
CREATE POLICY follow_customers ON chs_web.notes FOR SELECT
    USING (EXISTS (SELECT FROM chs.customers c WHERE c.customer_id = notes.customer_id));
CREATE POLICY write_own ON chs_web.notes FOR INSERT
    WITH CHECK (role_name = current_user AND EXISTS (SELECT FROM chs.customers c WHERE c.customer_id = notes.customer_id));
CREATE POLICY delete_own ON chs_web.notes FOR DELETE
    USING (role_name = current_user AND actor = COALESCE(nullif(current_setting('chs.actor', true), ''), current_user));

CREATE OR REPLACE FUNCTION chs_web.forget_notes() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM chs_web.notes n WHERE n.customer_id = OLD.customer_id;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION chs_web.forget_notes() IS 'trigger: deletes the notes of a customer who is deleted or purged';
REVOKE EXECUTE ON FUNCTION chs_web.forget_notes() FROM PUBLIC;
DROP TRIGGER IF EXISTS chs_web_forget_notes ON chs.customers;
CREATE TRIGGER chs_web_forget_notes AFTER DELETE ON chs.customers FOR EACH ROW EXECUTE FUNCTION chs_web.forget_notes();
ALTER TABLE chs.customers ENABLE ALWAYS TRIGGER chs_web_forget_notes;

-- Views of the dashboard that a person has given a name: what stands behind the "?" of its address.
CREATE TABLE IF NOT EXISTS chs_web.saved_views (
    role_name text NOT NULL DEFAULT current_user,
    actor     text NOT NULL DEFAULT COALESCE(nullif(current_setting('chs.actor', true), ''), current_user),
    name      text NOT NULL CHECK (name <> '' AND length(name) <= 100),
    page      text NOT NULL CHECK (length(page) <= 100),
    query     text NOT NULL CHECK (length(query) <= 2000),
    PRIMARY KEY (role_name, actor, name)
);
COMMENT ON TABLE chs_web.saved_views IS 'views of the dashboard that a person has named';
COMMENT ON COLUMN chs_web.saved_views.role_name IS 'the role of the person';
COMMENT ON COLUMN chs_web.saved_views.actor IS 'the person';
COMMENT ON COLUMN chs_web.saved_views.name IS 'what the person calls it';
COMMENT ON COLUMN chs_web.saved_views.page IS 'the page, such as /customers';
COMMENT ON COLUMN chs_web.saved_views.query IS 'its filters and sorting, as in the address';
ALTER TABLE chs_web.saved_views ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS own ON chs_web.saved_views;
CREATE POLICY own ON chs_web.saved_views
    USING (role_name = current_user AND actor = COALESCE(nullif(current_setting('chs.actor', true), ''), current_user));

-- An event that is recorded, or was before under the same key.
CREATE OR REPLACE FUNCTION chs_web.record_event(customer_id bigint, event_type text, event_data jsonb, occurred_at timestamptz, idempotency_key text,
                                                OUT event_id bigint, OUT recorded boolean)
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    recorded := true;
    -- Again if the first event with the key is deleted while it is looked up.
    WHILE event_id IS NULL LOOP
        INSERT INTO chs.customer_events AS e (customer_id, event_type, event_data, occurred_at, idempotency_key)
        VALUES ($1, $2, COALESCE($3, '{}'), COALESCE($4, now()), $5)
        ON CONFLICT (customer_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
        RETURNING e.event_id INTO record_event.event_id;
        IF record_event.event_id IS NULL THEN
            recorded := false;
            SELECT e.event_id INTO record_event.event_id FROM chs.customer_events e
            WHERE e.customer_id = $1 AND e.idempotency_key = $5;
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION chs_web.record_event(bigint, text, jsonb, timestamptz, text)
    IS 'does what chs_record_event does, and tells whether the event is new';

-- The draft, if it still is the one that somebody has seen.
CREATE OR REPLACE FUNCTION chs_web.replace_draft(document jsonb, expected text) RETURNS text
    LANGUAGE plpgsql AS $$
BEGIN
    -- as chs_scorecard_import() does: one at a time
    LOCK TABLE chs.scorecards IN SHARE ROW EXCLUSIVE MODE;
    IF expected <> '*' AND chs.draft_hash() <> expected THEN
        RETURN NULL;
    END IF;
    PERFORM chs_scorecard_import(document);
    RETURN chs.draft_hash();
END
$$;
COMMENT ON FUNCTION chs_web.replace_draft(jsonb, text)
    IS 'replaces the draft if it has the expected hash (*: whatever it has), and returns the new one; NULL: somebody has changed it';

CREATE OR REPLACE FUNCTION chs_web.rollback(version integer, note text, discard boolean, expected text) RETURNS integer
    LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE chs.scorecards IN SHARE ROW EXCLUSIVE MODE;
    IF expected <> '*' AND chs.draft_hash() <> expected THEN
        RETURN NULL;
    END IF;
    RETURN chs_rollback(version, note, discard);
END
$$;
COMMENT ON FUNCTION chs_web.rollback(integer, text, boolean, text)
    IS 'rolls back if the draft has the expected hash (*: whatever it has), and returns the new version; NULL: somebody has changed it';

-- Two numbers about all, which readers need to tell how old what they see is; the tables behind them say more.
CREATE OR REPLACE FUNCTION chs_web.live_version() RETURNS integer
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    RETURN (SELECT max(v.version) FROM chs.scorecard_versions v WHERE v.live_at IS NOT NULL);
COMMENT ON FUNCTION chs_web.live_version() IS 'the version of the rules that is live';
CREATE OR REPLACE FUNCTION chs_web.lag_seconds() RETURNS double precision
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    RETURN (SELECT q.lag_seconds FROM chs.queue_status_now() q);
COMMENT ON FUNCTION chs_web.lag_seconds() IS 'how far stored scores lag behind the events; 0 if they do not';

-- What readers need to draw scores: where statuses begin, and curves.  Of published rules nothing else is told.
CREATE OR REPLACE FUNCTION chs_web.rules() RETURNS json
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (
        SELECT json_build_object('version', v.version, 'live_at', v.live_at,
                   'scorecards', (
            SELECT json_agg(json_build_object(
                       'scorecard', s.key, 'description', s.value -> 'description',
                       'healthy_from', s.value -> 'healthy_from', 'at_risk_from', s.value -> 'at_risk_from',
                       'factors', (
                SELECT json_agg(json_build_object(
                           'factor', f.value -> 'factor', 'description', f.value -> 'description', 'weight', f.value -> 'weight',
                           'metrics', (
                    SELECT COALESCE(json_agg(json_build_object(
                               'metric', m.value -> 'metric', 'description', m.value -> 'description', 'aggregate', m.value -> 'aggregate',
                               'window_days', m.value -> 'window_days', 'measure', m.value -> 'measure', 'curve', m.value -> 'curve',
                               'penalty', m.value -> 'penalty') ORDER BY m.ordinality), '[]')
                    FROM jsonb_array_elements(f.value -> 'metrics') WITH ORDINALITY m)) ORDER BY f.ordinality)
                FROM jsonb_array_elements(s.value -> 'factors') WITH ORDINALITY f)) ORDER BY s.key)
            FROM jsonb_each(v.document -> 'scorecards') s))
        FROM chs.scorecard_versions v WHERE v.live_at IS NOT NULL ORDER BY v.version DESC LIMIT 1);
END
$$;
COMMENT ON FUNCTION chs_web.rules() IS 'the live rules as far as charts need them: where statuses begin, factors, metrics and their curves';

\ir pages.sql

-- admit(ROLE): lets the server become the role, for those who log in as it or whose token names it.
CREATE OR REPLACE FUNCTION chs_web.admit(role_name name) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
DECLARE
    f regprocedure;
BEGIN
    EXECUTE format('GRANT %I TO chs_web', role_name);
    EXECUTE format('GRANT USAGE ON SCHEMA chs_web TO %I', role_name);
    EXECUTE format('GRANT SELECT, INSERT (customer_id, note), DELETE ON chs_web.notes TO %I', role_name);
    EXECUTE format('GRANT SELECT, INSERT (name, page, query), UPDATE (page, query), DELETE ON chs_web.saved_views TO %I', role_name);
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p
             WHERE p.pronamespace = 'chs_web'::regnamespace AND p.proname NOT IN ('admit', 'forget_notes') LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', f, role_name);
    END LOOP;
END
$$;
COMMENT ON FUNCTION chs_web.admit(name) IS 'lets people of a role use the API: the server may become it';

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA chs_web FROM PUBLIC;
-- Who was admitted before may call what is new.
SELECT chs_web.admit(r.rolname) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid WHERE m.member = 'chs_web'::regrole \g /dev/null

COMMIT;
