-- The nodes: servers that foreign partitions of the cluster's tables are on.

CREATE VIEW chs_cluster.nodes WITH (security_invoker) AS
SELECT s.srvname AS node, o.host, o.port, o.dbname
FROM pg_foreign_server s
CROSS JOIN LATERAL (
    SELECT max(v.option_value) FILTER (WHERE v.option_name IN ('host', 'hostaddr')) AS host,
           max(v.option_value) FILTER (WHERE v.option_name = 'port') AS port,
           max(v.option_value) FILTER (WHERE v.option_name = 'dbname') AS dbname
    FROM pg_options_to_table(s.srvoptions) v) o
WHERE EXISTS (SELECT FROM pg_inherits i JOIN pg_foreign_table t ON t.ftrelid = i.inhrelid
              WHERE i.inhparent = 'chs_cluster.node_counts'::regclass AND t.ftserver = s.oid)
ORDER BY s.srvname COLLATE "C";
COMMENT ON VIEW chs_cluster.nodes IS 'the nodes of the cluster, and where they are';
COMMENT ON COLUMN chs_cluster.nodes.node IS 'its name, which is that of the foreign server';
COMMENT ON COLUMN chs_cluster.nodes.host IS 'its address';
COMMENT ON COLUMN chs_cluster.nodes.port IS 'its port; NULL: the usual one';
COMMENT ON COLUMN chs_cluster.nodes.dbname IS 'its database';

-- Opens a connection to a node as the caller's user mapping says, or finds it open, and returns its name.
-- The caller closes it.
CREATE FUNCTION chs_cluster.connect(node name) RETURNS text
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    connection CONSTANT text := 'chs_cluster.' || node;
    dblink     CONSTANT text := (SELECT e.extnamespace::regnamespace::text FROM pg_extension e WHERE e.extname = 'dblink');
BEGIN
    BEGIN
        EXECUTE format('SELECT %s.dblink_connect($1, $2)', dblink) USING connection, node;
    EXCEPTION
        WHEN duplicate_object THEN NULL;
        WHEN connection_exception OR sqlclient_unable_to_establish_sqlconnection THEN
            RAISE EXCEPTION 'cannot connect to node "%"', node USING ERRCODE = SQLSTATE, DETAIL = SQLERRM,
                HINT = 'chs_cluster.nodes says where it is, and the user mapping of its server as whom.';
    END;
    RETURN connection;
END
$$;
COMMENT ON FUNCTION chs_cluster.connect(name) IS 'internal: connects to a node by dblink';

-- Runs statements on a node, of which the last gives one value or none; errors name the node.
CREATE FUNCTION chs_cluster.ask(node name, statement text) RETURNS text
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    dblink CONSTANT text := (SELECT e.extnamespace::regnamespace::text FROM pg_extension e WHERE e.extname = 'dblink');
    answer text;
    detail text;
    hint   text;
BEGIN
    IF statement ~* '^\s*(select|with|values)\M' THEN
        EXECUTE format('SELECT * FROM %s.dblink($1, $2) AS r(answer text)', dblink) INTO answer USING 'chs_cluster.' || node, statement;
    ELSE
        EXECUTE format('SELECT %s.dblink_exec($1, $2)', dblink) INTO answer USING 'chs_cluster.' || node, statement;
    END IF;
    RETURN answer;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    IF hint <> '' THEN
        RAISE EXCEPTION 'on node "%": %', node, SQLERRM USING ERRCODE = SQLSTATE, DETAIL = detail, HINT = hint;
    END IF;
    RAISE EXCEPTION 'on node "%": %', node, SQLERRM USING ERRCODE = SQLSTATE, DETAIL = detail;
END
$$;
COMMENT ON FUNCTION chs_cluster.ask(name, text) IS 'internal: runs a statement on a node to which there is a connection';

CREATE FUNCTION chs_cluster.disconnect(node name) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    dblink CONSTANT text := (SELECT e.extnamespace::regnamespace::text FROM pg_extension e WHERE e.extname = 'dblink');
    is_open boolean;
BEGIN
    EXECUTE format('SELECT %L = ANY (%s.dblink_get_connections())', 'chs_cluster.' || node, dblink) INTO is_open;
    IF is_open THEN
        EXECUTE format('SELECT %s.dblink_disconnect($1)', dblink) USING 'chs_cluster.' || node;
    END IF;
END
$$;
COMMENT ON FUNCTION chs_cluster.disconnect(name) IS 'internal: closes the connection to a node, if there is one';

-- Makes the views of a node, and checks that it fits.
CREATE FUNCTION chs_cluster.prepare_node(node name) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v      record;
    there  jsonb;
    here   text;
    script text := '';
BEGIN
    PERFORM chs_cluster.connect(node);
    BEGIN
        there := chs_cluster.ask(node, $q$SELECT pg_catalog.jsonb_build_object(
            'chs', (SELECT e.extversion FROM pg_catalog.pg_extension e WHERE e.extname = 'chs'),
            'schema', (SELECT n.nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'chs'),
            'collation', (SELECT pg_catalog.concat_ws(' ', pg_catalog.to_jsonb(d) ->> 'datlocprovider', d.datcollate,
                              COALESCE(pg_catalog.to_jsonb(d) ->> 'datlocale', pg_catalog.to_jsonb(d) ->> 'daticulocale'))
                          FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))$q$)::jsonb;
        here := (SELECT e.extversion FROM pg_extension e WHERE e.extname = 'chs_cluster');
        IF there ->> 'chs' IS DISTINCT FROM here THEN
            RAISE EXCEPTION '%', CASE WHEN there ->> 'chs' IS NULL THEN format('node "%s" does not have chs', node)
                                 ELSE format('node "%s" has version %s of chs, and this database version %s of chs_cluster', node, there ->> 'chs', here) END
                USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Use CREATE EXTENSION chs or ALTER EXTENSION UPDATE.';
        END IF;
        here := (SELECT concat_ws(' ', to_jsonb(d) ->> 'datlocprovider', d.datcollate, COALESCE(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'))
                 FROM pg_database d WHERE d.datname = current_database());
        IF there ->> 'collation' IS DISTINCT FROM here THEN
            RAISE EXCEPTION 'node "%" sorts text by "%", and this database by "%"', node, there ->> 'collation', here
                USING ERRCODE = 'object_not_in_prerequisite_state', DETAIL = 'Lists that nodes sort by name could not be merged.',
                HINT = 'Use a database of the node''s collation for the cluster.';
        END IF;
        script := 'BEGIN; SET LOCAL client_min_messages = warning; CREATE SCHEMA IF NOT EXISTS chs_cluster;';
        FOR v IN SELECT w.view, w.query FROM chs_cluster.node_views() w LOOP
            script := script || format('DROP VIEW IF EXISTS chs_cluster.%I; CREATE VIEW chs_cluster.%I WITH (security_invoker) AS ', v.view, v.view)
                || format(v.query, node, there ->> 'schema') || ';';
        END LOOP;
        -- who may read what is decided by the rights on what they show
        PERFORM chs_cluster.ask(node, script || 'GRANT USAGE ON SCHEMA chs_cluster TO PUBLIC;'
            'GRANT SELECT ON ALL TABLES IN SCHEMA chs_cluster TO PUBLIC; COMMIT');
    EXCEPTION WHEN OTHERS THEN
        PERFORM chs_cluster.disconnect(node);
        RAISE;
    END;
    PERFORM chs_cluster.disconnect(node);
END
$$;
COMMENT ON FUNCTION chs_cluster.prepare_node(name) IS 'internal: makes the views in the schema chs_cluster of a node';

-- Makes the partitions of a node that are not there yet.
CREATE FUNCTION chs_cluster.add_partitions(node name) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v name;
BEGIN
    FOR v IN SELECT w.view FROM chs_cluster.node_views() w
             WHERE NOT EXISTS (SELECT FROM pg_inherits i JOIN pg_foreign_table t ON t.ftrelid = i.inhrelid
                               JOIN pg_foreign_server s ON s.oid = t.ftserver
                               WHERE i.inhparent = format('chs_cluster.%I', w.view)::regclass AND s.srvname = $1) LOOP
        EXECUTE format('CREATE FOREIGN TABLE chs_cluster.%I PARTITION OF chs_cluster.%I FOR VALUES IN (%L) SERVER %I'
                       ' OPTIONS (schema_name ''chs_cluster'', table_name %L)', v || '_' || node, v, node, node, v);
    END LOOP;
END
$$;
COMMENT ON FUNCTION chs_cluster.add_partitions(name) IS 'internal: makes the foreign tables of a node';

CREATE FUNCTION chs_cluster.options(given jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
RETURN (SELECT COALESCE('OPTIONS (' || string_agg(format('%I %L', o.key, o.value), ', ' ORDER BY o.key) || ')', '')
        FROM jsonb_each_text(given) o);
COMMENT ON FUNCTION chs_cluster.options(jsonb) IS 'internal: an OPTIONS clause of names and values';

CREATE FUNCTION chs_cluster.add_nodes(nodes jsonb, login jsonb DEFAULT '{}') RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    n record;
BEGIN
    IF jsonb_typeof(nodes) IS DISTINCT FROM 'object' OR jsonb_typeof(login) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'invalid value for parameter "%"', CASE WHEN jsonb_typeof(login) = 'object' THEN 'nodes' ELSE 'login' END
            USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Give an object, such as {"n1": {"host": "10.0.0.1", "dbname": "app"}}, and for login {"user": "reports", "password": "..."}.';
    END IF;
    FOR n IN SELECT e.key AS node, e.value AS address FROM jsonb_each(nodes) e ORDER BY e.key COLLATE "C" LOOP
        -- its name is a part of names of tables
        IF n.node !~ '^[a-z][a-z0-9_]{0,29}$' THEN
            RAISE EXCEPTION 'invalid name of a node: "%"', n.node USING ERRCODE = 'invalid_name',
                HINT = 'A name begins with a lower-case letter and has at most 30 letters, digits and underscores.';
        END IF;
        IF jsonb_typeof(n.address) <> 'object' THEN
            RAISE EXCEPTION 'the address of node "%" is not an object', n.node USING ERRCODE = 'invalid_parameter_value',
                HINT = 'Give options of libpq, such as {"host": "10.0.0.1", "port": "5432", "dbname": "app"}.';
        END IF;
        IF EXISTS (SELECT FROM pg_foreign_server s WHERE s.srvname = n.node) THEN
            RAISE EXCEPTION 'server "%" already exists', n.node USING ERRCODE = 'duplicate_object',
                HINT = 'Use chs_cluster.refresh_nodes() for nodes that are in the cluster, and ALTER SERVER if they have moved.';
        END IF;
        EXECUTE format('CREATE SERVER %I FOREIGN DATA WRAPPER postgres_fdw %s', n.node,
                       chs_cluster.options('{"async_capable": "true", "fetch_size": "100", "batch_size": "100", "connect_timeout": "5"}' || n.address));
        EXECUTE format('CREATE USER MAPPING FOR CURRENT_USER SERVER %I %s', n.node, chs_cluster.options(login));
        PERFORM chs_cluster.prepare_node(n.node::name);
        PERFORM chs_cluster.add_partitions(n.node::name);
    END LOOP;
END
$$;
COMMENT ON FUNCTION chs_cluster.add_nodes(jsonb, jsonb)
    IS 'adds nodes to the cluster: their addresses, by name, as options of a server of postgres_fdw, and as whom the caller logs in there; makes the schema chs_cluster with views on each';

CREATE FUNCTION chs_cluster.refresh_nodes() RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM chs_cluster.prepare_node(n.node), chs_cluster.add_partitions(n.node) FROM chs_cluster.nodes n;
END
$$;
COMMENT ON FUNCTION chs_cluster.refresh_nodes() IS 'makes the views on all nodes, and the foreign tables, anew where they are missing: after an update of chs';

CREATE FUNCTION chs_cluster.drop_node(node name) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM chs_cluster.nodes n WHERE n.node = $1) THEN
        RAISE EXCEPTION 'there is no node "%"', $1 USING ERRCODE = 'undefined_object', HINT = 'chs_cluster.nodes lists them.';
    END IF;
    IF EXISTS (SELECT FROM pg_foreign_table t JOIN pg_foreign_server s ON s.oid = t.ftserver
               WHERE s.srvname = $1 AND NOT EXISTS (SELECT FROM pg_inherits i JOIN chs_cluster.node_views() w
                   ON i.inhparent = format('chs_cluster.%I', w.view)::regclass WHERE i.inhrelid = t.ftrelid)) THEN
        RAISE EXCEPTION 'tables are routed to node "%"', $1 USING ERRCODE = 'dependent_objects_still_exist',
            HINT = 'Move their rows, and drop its partitions of them.';
    END IF;
    EXECUTE format('DROP SERVER %I CASCADE', $1);
END
$$;
COMMENT ON FUNCTION chs_cluster.drop_node(name) IS 'takes a node out of the cluster; nothing is changed on it';

-- Whoever reads the cluster does so on each node as somebody of its own, whose rights there decide.
CREATE FUNCTION chs_cluster.add_reader(reader name, login jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    n name;
    r record;
BEGIN
    FOR n IN SELECT o.node FROM chs_cluster.nodes o LOOP
        EXECUTE format('GRANT USAGE ON FOREIGN SERVER %I TO %I', n, reader);
        EXECUTE format('DROP USER MAPPING IF EXISTS FOR %I SERVER %I', reader, n);
        EXECUTE format('CREATE USER MAPPING FOR %I SERVER %I %s', reader, n, chs_cluster.options(login));
    END LOOP;
    FOR r IN SELECT c.oid::regclass AS name FROM pg_class c
             WHERE c.relnamespace = 'chs_cluster'::regnamespace AND c.relkind IN ('p', 'v') LOOP
        EXECUTE format('GRANT SELECT ON %s TO %I', r.name, reader);
    END LOOP;
END
$$;
COMMENT ON FUNCTION chs_cluster.add_reader(name, jsonb)
    IS 'lets a role read the cluster, on every node as the user that it logs in as there, whose rights and row-level security decide';
