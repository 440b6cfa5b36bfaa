-- What must be the same on all nodes is changed on all nodes, or on none.

-- With two-phase commit where every node has it (max_prepared_transactions).  Without, a node that stops
-- between the commits of others is left behind, and chs_cluster.differences shows it.
CREATE FUNCTION chs_cluster.everywhere(statement text, OUT node name, OUT answer text) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    nodes     CONSTANT name[] := ARRAY(SELECT n.node FROM chs_cluster.nodes n);
    -- of each node, since nodes may be databases of one server
    id        CONSTANT text := 'chs_cluster_' || gen_random_uuid() || '_';
    answers   text[] := '{}';
    two_phase boolean := true;
    prepared  name[] := '{}';
    n         name;
BEGIN
    IF nodes = '{}' THEN
        RAISE EXCEPTION 'the cluster has no nodes' USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Use chs_cluster.add_nodes().';
    END IF;
    BEGIN
        FOREACH n IN ARRAY nodes LOOP
            PERFORM chs_cluster.connect(n);
            two_phase := two_phase AND chs_cluster.ask(n, 'SELECT current_setting(''max_prepared_transactions'')')::integer > 0;
        END LOOP;
        FOREACH n IN ARRAY nodes LOOP
            PERFORM chs_cluster.ask(n, 'BEGIN');
            answers := answers || chs_cluster.ask(n, statement);
        END LOOP;
        IF EXISTS (SELECT FROM unnest(answers) a HAVING count(DISTINCT COALESCE(a, '')) > 1) THEN
            RAISE EXCEPTION 'nodes give different answers, so nothing is changed' USING ERRCODE = 'serialization_failure',
                DETAIL = (SELECT string_agg(format('Node "%s": %s.', u.node, COALESCE(u.answer, 'nothing')), ' ') FROM unnest(nodes, answers) AS u(node, answer)),
                HINT = 'chs_cluster.differences shows in what they differ.';
        END IF;
        IF two_phase THEN
            FOREACH n IN ARRAY nodes LOOP
                PERFORM chs_cluster.ask(n, format('PREPARE TRANSACTION %L', id || n));
                prepared := prepared || n;
            END LOOP;
        END IF;
    EXCEPTION WHEN OTHERS THEN
        -- a transaction that is open ends with its connection
        FOREACH n IN ARRAY prepared LOOP
            PERFORM chs_cluster.ask(n, format('ROLLBACK PREPARED %L', id || n));
        END LOOP;
        FOREACH n IN ARRAY nodes LOOP
            PERFORM chs_cluster.disconnect(n);
        END LOOP;
        RAISE;
    END;
    -- decided: all that can be done now is to go on
    FOREACH n IN ARRAY nodes LOOP
        BEGIN
            PERFORM chs_cluster.ask(n, CASE WHEN two_phase THEN format('COMMIT PREPARED %L', id || n) ELSE 'COMMIT' END);
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING '%', SQLERRM USING ERRCODE = SQLSTATE,
                HINT = CASE WHEN two_phase THEN format('Run on node "%s", once it is back: COMMIT PREPARED %L', n, id || n)
                       ELSE format('Node "%s" may be behind: see chs_cluster.differences.', n) END;
        END;
        PERFORM chs_cluster.disconnect(n);
    END LOOP;
    RETURN QUERY SELECT u.node, u.answer FROM unnest(nodes, answers) AS u(node, answer);
END
$$;
COMMENT ON FUNCTION chs_cluster.everywhere(text)
    IS 'runs a statement on all nodes in one transaction of each, and keeps it only if all succeed with the same answer, which is the first column of its first row; it is committed at once, whatever becomes of the caller''s transaction';

CREATE FUNCTION chs_cluster.schema_on_nodes() RETURNS text
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    n    name;
    there text;
BEGIN
    SELECT o.node INTO n FROM chs_cluster.nodes o LIMIT 1;
    IF n IS NOT NULL THEN
        PERFORM chs_cluster.connect(n);
        there := chs_cluster.ask(n, 'SELECT e.extnamespace::regnamespace::text FROM pg_catalog.pg_extension e WHERE e.extname = ''chs''');
        PERFORM chs_cluster.disconnect(n);
    END IF;
    RETURN COALESCE(there, 'public');
END
$$;
COMMENT ON FUNCTION chs_cluster.schema_on_nodes() IS 'internal: where the functions of chs are on the nodes, which is the same on all';

CREATE VIEW chs_cluster.differences WITH (security_invoker) AS
SELECT r.what, r.node, r.fingerprint
FROM chs_cluster.node_rules r
JOIN (SELECT n.what FROM chs_cluster.node_rules n GROUP BY n.what HAVING count(DISTINCT COALESCE(n.fingerprint, '')) > 1) d USING (what)
ORDER BY r.what, r.fingerprint, r.node;
COMMENT ON VIEW chs_cluster.differences IS 'what is not the same on all nodes: no rows normally';
COMMENT ON COLUMN chs_cluster.differences.what IS 'version of chs, number of the live version, live version, draft, event types, or functions of roles (by chs_grant)';
COMMENT ON COLUMN chs_cluster.differences.node IS 'the node';
COMMENT ON COLUMN chs_cluster.differences.fingerprint IS 'a number or hash: nodes that agree have the same';

CREATE FUNCTION chs_cluster.publish(note text DEFAULT NULL, document jsonb DEFAULT NULL) RETURNS integer
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    functions CONSTANT text := chs_cluster.schema_on_nodes();
    draft     text;
BEGIN
    -- without a document all nodes must have the same draft
    IF document IS NULL THEN
        draft := (SELECT min(e.answer) FROM chs_cluster.everywhere('SELECT chs.draft_hash()') e);
        RETURN (SELECT min(e.answer)::integer
                FROM chs_cluster.everywhere(format('SELECT %s.chs_publish(%L, %L)', functions, note, draft)) e);
    END IF;
    RETURN (SELECT min(e.answer)::integer
            FROM chs_cluster.everywhere(format(
                'WITH imported AS MATERIALIZED (SELECT %1$s.chs_scorecard_import(%2$L::jsonb) AS changes)'
                ' SELECT CASE WHEN changes IS NOT NULL THEN %1$s.chs_publish(%3$L) END FROM imported', functions, document, note)) e);
END
$$;
COMMENT ON FUNCTION chs_cluster.publish(text, jsonb)
    IS 'publishes the draft, which must be the same on all nodes, or the given document, on all nodes or none; returns the number of the version, which is the same on all';

CREATE FUNCTION chs_cluster.copy_event_types(from_node name) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    types   text;
    columns text;
    given   text;
BEGIN
    PERFORM chs_cluster.connect(from_node);
    types := chs_cluster.ask(from_node, 'SELECT pg_catalog.jsonb_agg(e) FROM chs.event_types e');
    PERFORM chs_cluster.disconnect(from_node);
    SELECT string_agg(quote_ident(k), ', '), string_agg('g.' || quote_ident(k), ', ') INTO columns, given
    FROM jsonb_object_keys(types::jsonb -> 0) k WHERE k <> 'event_type';
    RETURN (SELECT min(e.answer)::bigint FROM chs_cluster.everywhere(format(
        'WITH given AS (SELECT * FROM pg_catalog.jsonb_populate_recordset(NULL::chs.event_types, %L)),'
        ' gone AS (DELETE FROM chs.event_types t WHERE t.event_type NOT IN (SELECT event_type FROM given)),'
        ' changed AS (UPDATE chs.event_types t SET (%s) = ROW(%s) FROM given g WHERE g.event_type = t.event_type),'
        ' new AS (INSERT INTO chs.event_types SELECT * FROM given g WHERE g.event_type NOT IN (SELECT event_type FROM chs.event_types))'
        ' SELECT pg_catalog.count(*) FROM given', types, columns, given)) e);
END
$$;
COMMENT ON FUNCTION chs_cluster.copy_event_types(name) IS 'gives all nodes the event types of one; returns their number';

CREATE FUNCTION chs_cluster.grant(role_name name, may text) RETURNS void
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT count(*) FROM chs_cluster.everywhere(
        format('SELECT %s.chs_grant(%L, %L)::text', chs_cluster.schema_on_nodes(), role_name, may));
    SELECT NULL::void;
END;
COMMENT ON FUNCTION chs_cluster.grant(name, text) IS 'chs_grant() on all nodes, for a role that exists on all of them';

CREATE FUNCTION chs_cluster.revoke(role_name name, may text) RETURNS void
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT count(*) FROM chs_cluster.everywhere(
        format('SELECT %s.chs_revoke(%L, %L)::text', chs_cluster.schema_on_nodes(), role_name, may));
    SELECT NULL::void;
END;
COMMENT ON FUNCTION chs_cluster.revoke(name, text) IS 'chs_revoke() on all nodes';
