-- The application's tables over the nodes: partitioned by hash of whose rows they are, each partition on a node.

CREATE FUNCTION chs_cluster.route(relation regclass, remote_schema name DEFAULT 'public', partitions integer DEFAULT NULL) RETURNS integer
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    nodes CONSTANT name[] := ARRAY(SELECT n.node FROM chs_cluster.nodes n);
    n     CONSTANT integer := COALESCE(partitions, cardinality(nodes));
    r     record;
BEGIN
    SELECT c.relname, s.nspname INTO r FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
    JOIN pg_partitioned_table p ON p.partrelid = c.oid AND p.partstrat = 'h' WHERE c.oid = relation;
    IF NOT FOUND THEN
        RAISE EXCEPTION '% is not a table partitioned by hash', relation USING ERRCODE = 'wrong_object_type',
            HINT = 'Use CREATE TABLE ... PARTITION BY HASH (column that tells the customer).';
    END IF;
    IF cardinality(nodes) = 0 OR n < cardinality(nodes) OR n > 1024 THEN
        RAISE EXCEPTION 'invalid number of partitions for % nodes: %', cardinality(nodes), n USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Use chs_cluster.add_nodes(), and at least one partition for each node, at most 1024.';
    END IF;
    FOR i IN 0 .. n - 1 LOOP
        -- with one partition a node it is the node's whole table
        EXECUTE format('CREATE FOREIGN TABLE %I.%I PARTITION OF %s FOR VALUES WITH (MODULUS %s, REMAINDER %s) SERVER %I OPTIONS (schema_name %L, table_name %L)',
                       r.nspname, r.relname || '_' || i, relation, n, i, nodes[1 + i % cardinality(nodes)], remote_schema,
                       CASE WHEN n = cardinality(nodes) THEN r.relname::text ELSE r.relname || '_' || i END);
    END LOOP;
    RETURN n;
END
$$;
COMMENT ON FUNCTION chs_cluster.route(regclass, name, integer)
    IS 'gives a table that is partitioned by hash, and has no partitions yet, one on each node in turn: the table of the same name there or, where more partitions than nodes are asked for, TABLE_REMAINDER; returns their number';

-- Scores by the application's own key, from the node that has the customer.  The key has the type of the column that
-- its table is partitioned by, so that a score is looked for where the customer's rows are.
CREATE FUNCTION chs_cluster.route_scores(customers regclass, remote_schema name DEFAULT 'public') RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    functions CONSTANT text := chs_cluster.schema_on_nodes();
    key   record;
    p     record;
    v     record;
BEGIN
    SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type INTO key
    FROM pg_partitioned_table t JOIN pg_attribute a ON a.attrelid = t.partrelid AND a.attnum = t.partattrs[0]
    WHERE t.partrelid = customers AND t.partnatts = 1 AND t.partstrat = 'h';
    IF NOT FOUND THEN
        RAISE EXCEPTION '% is not partitioned by hash of one column', customers USING ERRCODE = 'wrong_object_type',
            HINT = 'Use chs_cluster.route() for the table of customers first.';
    END IF;
    FOR v IN
        SELECT * FROM (VALUES
            ('scores', 'score double precision, status text', '%1$s.chs_score(c.customer_id) AS score, %1$s.chs_status(c.customer_id) AS status', ''),
            ('explanations', 'factor text, metric text, value double precision, target double precision, score double precision, weight double precision, effective_weight double precision, contribution double precision, trend text',
             'e.factor, e.metric, e.value, e.target, e.score, e.weight, e.effective_weight, e.contribution, e.trend', 'CROSS JOIN LATERAL %1$s.chs_explain(c.customer_id) e'),
            ('documents', 'document jsonb', '%1$s.chs_health(c.customer_id) AS document', '')) AS w(name, columns, query, from_also)
    LOOP
        EXECUTE format('CREATE TABLE chs_cluster.%I (key %s NOT NULL, customer_id bigint, %s) PARTITION BY HASH (key)', v.name, key.type, v.columns);
        EXECUTE format('COMMENT ON TABLE chs_cluster.%I IS %L', v.name,
                       CASE v.name WHEN 'scores' THEN 'the score and status of a customer, by the application''s key, from its node'
                       WHEN 'explanations' THEN 'chs_explain() of a customer, likewise' ELSE 'chs_health() of a customer, likewise' END);
        FOR p IN SELECT s.srvname AS node, pg_get_expr(c.relpartbound, c.oid) AS bound, count(*) OVER (PARTITION BY s.srvname) AS of_node,
                        (SELECT o.option_value FROM pg_options_to_table(t.ftoptions) o WHERE o.option_name = 'table_name') AS remote, row_number() OVER () AS i
                 FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                 JOIN pg_foreign_table t ON t.ftrelid = c.oid JOIN pg_foreign_server s ON s.oid = t.ftserver
                 WHERE i.inhparent = customers LOOP
            -- external_id is looked up by its index, and the key in the application's table by its own
            PERFORM chs_cluster.connect(p.node);
            BEGIN
                PERFORM chs_cluster.ask(p.node, format('CREATE OR REPLACE VIEW chs_cluster.%I WITH (security_invoker) AS', v.name || '_of_' || p.remote)
                    || format(' SELECT a.%I AS key, c.customer_id, ', key.name) || format(v.query, functions)
                    || format(' FROM %I.%I a JOIN chs.customers c ON c.external_id = a.%I::text ', remote_schema, p.remote, key.name) || format(v.from_also, functions));
                PERFORM chs_cluster.ask(p.node, format('GRANT SELECT ON chs_cluster.%I TO PUBLIC', v.name || '_of_' || p.remote));
            EXCEPTION WHEN OTHERS THEN
                PERFORM chs_cluster.disconnect(p.node);
                RAISE;
            END;
            PERFORM chs_cluster.disconnect(p.node);
            EXECUTE format('CREATE FOREIGN TABLE chs_cluster.%I PARTITION OF chs_cluster.%I %s SERVER %I OPTIONS (schema_name ''chs_cluster'', table_name %L)',
                           v.name || '_' || p.i, v.name, p.bound, p.node, v.name || '_of_' || p.remote);
        END LOOP;
    END LOOP;
END
$$;
COMMENT ON FUNCTION chs_cluster.route_scores(regclass, name)
    IS 'makes chs_cluster.scores, explanations and documents, which find a customer by the key that its table is routed by, and which is, as text, its external_id';

CREATE FUNCTION chs_cluster.chs_score(key anyelement) RETURNS double precision
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_score double precision;
    n           bigint;
BEGIN
    EXECUTE 'SELECT s.score, count(*) OVER () FROM chs_cluster.scores s WHERE s.key = $1' INTO found_score, n USING key;
    IF n IS NULL THEN
        RAISE EXCEPTION 'customer % does not exist', quote_literal(key::text) USING ERRCODE = 'no_data_found';
    END IF;
    RETURN found_score;
END
$$;
COMMENT ON FUNCTION chs_cluster.chs_score(anyelement) IS 'the score of a customer, by the application''s key, from its node: exact, also with rows that the transaction has written and not committed';
