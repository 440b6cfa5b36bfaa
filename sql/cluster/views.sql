-- chs_cluster: several servers with chs as one. This file is made from sql/cluster/ by make.

\echo Use "CREATE EXTENSION chs_cluster" to load this file. \quit

SET LOCAL search_path = pg_catalog, pg_temp;

GRANT USAGE ON SCHEMA chs_cluster TO PUBLIC;
COMMENT ON SCHEMA chs_cluster IS 'several servers, each with chs for its own customers, as one';

-- What a node shows: a view of the same name in its schema chs_cluster, and here a table with one
-- foreign partition for each node.  A partition is dumped and restored with its database, and
-- pruned by its node; pages come by Merge Append with the ORDER BY on the nodes.

CREATE TABLE chs_cluster.customer_list (
    node text NOT NULL, customer_id bigint, external_id text, name text, email text, segment text, parent_id bigint,
    score double precision, status text, coverage double precision, trend text, as_of date, calculated_at timestamptz,
    created_at timestamptz, churned_at timestamptz, owner text, value double precision,
    status_since timestamptz, previous_status text
) PARTITION BY LIST (node);
COMMENT ON TABLE chs_cluster.customer_list IS 'chs.customer_list of every node; pages by customer_id and node, or name, customer_id and node';

CREATE TABLE chs_cluster.at_risk_customers (
    node text NOT NULL, customer_id bigint, external_id text, name text, email text, segment text,
    score double precision, status text, trend text, coverage double precision, weakest_factor text, as_of date,
    calculated_at timestamptz, owner text, value double precision, status_since timestamptz, previous_status text
) PARTITION BY LIST (node);
COMMENT ON TABLE chs_cluster.at_risk_customers IS 'chs.at_risk_customers of every node; pages by score, customer_id and node, after a row by: score >= s AND (score > s OR customer_id > c OR customer_id = c AND node > n)';

CREATE TABLE chs_cluster.node_counts (
    node text NOT NULL, segment text, healthy bigint, at_risk bigint, critical bigint, unknown bigint,
    score_sum double precision, last_updated timestamptz
) PARTITION BY LIST (node);
COMMENT ON TABLE chs_cluster.node_counts IS 'internal: the customers of each node, segment and status, from its counters';

CREATE TABLE chs_cluster.node_segments (node text NOT NULL, segment text, description text) PARTITION BY LIST (node);
COMMENT ON TABLE chs_cluster.node_segments IS 'internal: chs.segments of every node';

CREATE TABLE chs_cluster.node_score_distribution (
    node text NOT NULL, score_from double precision, score_to double precision, customers bigint
) PARTITION BY LIST (node);
COMMENT ON TABLE chs_cluster.node_score_distribution IS 'internal: chs.score_distribution of every node';

CREATE TABLE chs_cluster.node_daily_stats (
    node text NOT NULL, day date, segment text, total bigint, healthy bigint, at_risk bigint, critical bigint, unknown bigint,
    average_score double precision, arrivals bigint, departures bigint, improved bigint, worsened bigint,
    value double precision, value_at_risk double precision
) PARTITION BY LIST (node);
COMMENT ON TABLE chs_cluster.node_daily_stats IS 'internal: chs.daily_stats of every node';

CREATE TABLE chs_cluster.node_movements (
    node text NOT NULL, from_status text, to_status text, customers bigint
) PARTITION BY LIST (node);
COMMENT ON TABLE chs_cluster.node_movements IS 'internal: chs.status_movements of every node';

CREATE TABLE chs_cluster.queue_status (
    node text NOT NULL, depth bigint, is_estimate boolean, oldest_at timestamptz, oldest_age_seconds double precision,
    lag_seconds double precision, held_back bigint, failing bigint, total_bytes bigint, paused boolean, paused_at timestamptz,
    paused_by text, pause_reason text
) PARTITION BY LIST (node);
COMMENT ON TABLE chs_cluster.queue_status IS 'chs.queue_status of every node';

CREATE TABLE chs_cluster.worker_status (
    node text NOT NULL, worker integer, pid integer, state text, started_at timestamptz, last_batch_at timestamptz,
    last_batch_deltas bigint, last_batch_customers bigint, deltas_per_second double precision,
    customers_per_second double precision, last_error text, last_error_at timestamptz, lag_seconds double precision,
    left_customers bigint, in_the_way text, slow_customers bigint, slow_because text, rescored_to bigint
) PARTITION BY LIST (node);
COMMENT ON TABLE chs_cluster.worker_status IS 'chs.worker_status of every node';

CREATE TABLE chs_cluster.stale_health (
    node text NOT NULL, customer_id bigint, name text, reason text, version integer, as_of date, calculated_at timestamptz
) PARTITION BY LIST (node);
COMMENT ON TABLE chs_cluster.stale_health IS 'chs.stale_health of every node';

CREATE TABLE chs_cluster.failures (
    node text NOT NULL, customer_id bigint, sqlstate text, message text, detail text, attempts integer, failed_at timestamptz,
    next_attempt timestamptz, version integer
) PARTITION BY LIST (node);
COMMENT ON TABLE chs_cluster.failures IS 'chs.failures of every node';

CREATE TABLE chs_cluster.source_status (
    node text NOT NULL, source_id integer, relation text, kind text, problem text, rejected bigint, attached_at timestamptz,
    too_slow bigint
) PARTITION BY LIST (node);
COMMENT ON TABLE chs_cluster.source_status IS 'chs.source_status of every node';

CREATE TABLE chs_cluster.node_verify (
    node text NOT NULL, customer_id bigint, difference text, stored text, expected text
) PARTITION BY LIST (node);
COMMENT ON TABLE chs_cluster.node_verify IS 'internal: chs_verify() of every node';

CREATE TABLE chs_cluster.node_rules (
    node text NOT NULL, what text, fingerprint text
) PARTITION BY LIST (node);
COMMENT ON TABLE chs_cluster.node_rules IS 'internal: what must be the same on every node, as one hash each';

-- The view behind each of them on a node: %1$L is the node, %2$I the schema of chs's functions there.
-- Those who read it need the rights that chs asks for: security_invoker.
CREATE FUNCTION chs_cluster.node_views(OUT view name, OUT query text) RETURNS SETOF record
    LANGUAGE sql IMMUTABLE ROWS 12
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    VALUES
    ('customer_list'::name, 'SELECT %1$L::text AS node, customer_id, external_id, name, email, segment, parent_id, score, status, coverage, trend, as_of, calculated_at, created_at, churned_at, owner, value, status_since, previous_status FROM chs.customer_list'),
    ('at_risk_customers', 'SELECT %1$L::text AS node, customer_id, external_id, name, email, segment, score, status, trend, coverage, weakest_factor, as_of, calculated_at, owner, value, status_since, previous_status FROM chs.at_risk_customers'),
    ('node_counts', 'SELECT %1$L::text AS node, segment, healthy, at_risk, critical, unknown, score_sum, last_updated FROM chs.count_health()'),
    ('node_segments', 'SELECT %1$L::text AS node, segment, description FROM chs.segments'),
    ('node_score_distribution', 'SELECT %1$L::text AS node, score_from, score_to, customers FROM chs.score_distribution'),
    ('node_daily_stats', 'SELECT %1$L::text AS node, day, segment, total, healthy, at_risk, critical, unknown, average_score, arrivals, departures, improved, worsened, value, value_at_risk FROM chs.daily_stats'),
    ('node_movements', 'SELECT %1$L::text AS node, from_status, to_status, customers FROM chs.status_movements'),
    ('queue_status', 'SELECT %1$L::text AS node, depth, is_estimate, oldest_at, oldest_age_seconds, lag_seconds, held_back, failing, total_bytes, paused, paused_at, paused_by, pause_reason FROM chs.queue_status'),
    ('worker_status', 'SELECT %1$L::text AS node, worker, pid, state, started_at, last_batch_at, last_batch_deltas, last_batch_customers, deltas_per_second, customers_per_second, last_error, last_error_at, lag_seconds, left_customers, in_the_way, slow_customers, slow_because, rescored_to FROM chs.worker_status'),
    ('stale_health', 'SELECT %1$L::text AS node, customer_id, name, reason, version, as_of, calculated_at FROM chs.stale_health'),
    ('failures', 'SELECT %1$L::text AS node, customer_id, sqlstate, message, detail, attempts, failed_at, next_attempt, version FROM chs.failures'),
    ('source_status', 'SELECT %1$L::text AS node, source_id, relation, kind, problem, rejected, attached_at, too_slow FROM chs.source_status'),
    ('node_verify', 'SELECT %1$L::text AS node, customer_id, difference, stored, expected FROM %2$I.chs_verify()'),
    ('node_rules', 'SELECT %1$L::text AS node, what, fingerprint FROM ('
        'SELECT ''version of chs'' AS what, (SELECT extversion FROM pg_extension WHERE extname = ''chs'') AS fingerprint'
        ' UNION ALL SELECT ''number of the live version'', (SELECT max(version)::text FROM chs.scorecard_versions WHERE live_at <= now())'
        ' UNION ALL SELECT ''live version'', (SELECT md5(document::text) FROM chs.scorecard_versions WHERE live_at <= now() ORDER BY version DESC LIMIT 1)'
        ' UNION ALL SELECT ''draft'', md5(%2$I.chs_scorecard_export()::text)'
        ' UNION ALL SELECT ''event types'', (SELECT md5(COALESCE(string_agg(to_jsonb(e)::text, E''\n'' ORDER BY e.event_type), '''')) FROM chs.event_types e)'
        ' UNION ALL SELECT ''functions of roles'', (SELECT md5(COALESCE(string_agg(r.rolname || chs.granted(r.rolname)::text, E''\n'' ORDER BY r.rolname COLLATE "C"), '''')) FROM pg_roles r WHERE chs.granted(r.rolname) <> ''{}'')'
        ') r');
END;
COMMENT ON FUNCTION chs_cluster.node_views() IS 'internal: the views that a node has for the cluster';

-- available(NULL::chs_cluster.at_risk_customers): like the table, without the nodes that do not answer.
CREATE FUNCTION chs_cluster.available(relation anyelement) RETURNS SETOF anyelement
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    n name;
BEGIN
    FOR n IN SELECT node FROM chs_cluster.nodes LOOP
        BEGIN
            RETURN QUERY EXECUTE format('SELECT * FROM %s WHERE node = $1', pg_typeof(relation)) USING n::text;
        EXCEPTION
            -- of class 08, and what a server says that is starting or stopping
            WHEN connection_exception OR sqlclient_unable_to_establish_sqlconnection OR connection_failure
                 OR admin_shutdown OR crash_shutdown OR cannot_connect_now THEN
                RAISE WARNING 'node "%" does not answer: %', n, SQLERRM USING ERRCODE = SQLSTATE;
                RETURN QUERY SELECT (jsonb_populate_record(relation, jsonb_build_object('node', n))).*;
        END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION chs_cluster.available(anyelement)
    IS 'the rows of one of the cluster''s tables, named by NULL::chs_cluster.TABLE, from the nodes that answer; for each of the others a warning, and a row in which everything but the node is NULL';

-- chs.dashboard_stats of all nodes: by the same arithmetic from the sum of their counters.
CREATE FUNCTION chs_cluster.stats(available_only boolean DEFAULT false,
        OUT total bigint, OUT healthy bigint, OUT at_risk bigint, OUT critical bigint, OUT unknown bigint,
        OUT average_score double precision, OUT last_updated timestamptz, OUT missing text[])
    RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    counts chs_cluster.node_counts[];
BEGIN
    IF available_only THEN
        counts := ARRAY(SELECT c FROM chs_cluster.available(NULL::chs_cluster.node_counts) c);
    ELSE
        counts := ARRAY(SELECT c FROM chs_cluster.node_counts c);
    END IF;
    SELECT COALESCE(sum(c.healthy + c.at_risk + c.critical + c.unknown), 0), COALESCE(sum(c.healthy), 0),
           COALESCE(sum(c.at_risk), 0), COALESCE(sum(c.critical), 0), COALESCE(sum(c.unknown), 0),
           round((sum(round(c.score_sum::numeric, 2)) / nullif(sum(c.healthy + c.at_risk + c.critical), 0)), 2)::double precision,
           max(c.last_updated), COALESCE(array_agg(c.node ORDER BY c.node) FILTER (WHERE c.healthy IS NULL), '{}')
    INTO stats.total, stats.healthy, stats.at_risk, stats.critical, stats.unknown, stats.average_score, stats.last_updated, stats.missing
    FROM unnest(counts) c;
END
$$;
COMMENT ON FUNCTION chs_cluster.stats(boolean)
    IS 'one row: the customers of each status on all nodes or, if only available ones are asked for, on those that answer; missing names the others';

-- As chs.percent on the nodes, which this database need not have.
CREATE FUNCTION chs_cluster.percent(part bigint, total bigint) RETURNS double precision
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
RETURN round(100.0 * part / nullif(total, 0), 1)::double precision;
COMMENT ON FUNCTION chs_cluster.percent(bigint, bigint) IS 'internal: the percentage that a part is of a total, to one decimal; NULL of nothing';

CREATE VIEW chs_cluster.dashboard_stats WITH (security_invoker) AS
SELECT s.total, s.healthy, s.at_risk, s.critical, s.unknown,
       chs_cluster.percent(s.healthy, s.total) AS healthy_percent,
       chs_cluster.percent(s.at_risk, s.total) AS at_risk_percent,
       chs_cluster.percent(s.critical, s.total) AS critical_percent,
       chs_cluster.percent(s.unknown, s.total) AS unknown_percent,
       s.last_updated, s.average_score
FROM chs_cluster.stats() s;
COMMENT ON VIEW chs_cluster.dashboard_stats IS 'one row: the number of customers of each status on all nodes, from their counters';

CREATE VIEW chs_cluster.segment_stats WITH (security_invoker) AS
SELECT n.segment, n.description, n.total, n.healthy, n.at_risk, n.critical, n.unknown,
       chs_cluster.percent(n.healthy, n.total) AS healthy_percent,
       chs_cluster.percent(n.at_risk, n.total) AS at_risk_percent,
       chs_cluster.percent(n.critical, n.total) AS critical_percent,
       chs_cluster.percent(n.unknown, n.total) AS unknown_percent,
       n.average_score, n.last_updated
FROM (SELECT segment, g.description, COALESCE(c.healthy + c.at_risk + c.critical + c.unknown, 0) AS total,
             COALESCE(c.healthy, 0) AS healthy, COALESCE(c.at_risk, 0) AS at_risk, COALESCE(c.critical, 0) AS critical,
             COALESCE(c.unknown, 0) AS unknown, c.average_score, c.last_updated
      FROM (SELECT s.segment, min(s.description) AS description FROM chs_cluster.node_segments s GROUP BY s.segment) g
      FULL JOIN (SELECT k.segment, sum(k.healthy)::bigint AS healthy, sum(k.at_risk)::bigint AS at_risk,
                        sum(k.critical)::bigint AS critical, sum(k.unknown)::bigint AS unknown,
                        round(sum(round(k.score_sum::numeric, 2)) / nullif(sum(k.healthy + k.at_risk + k.critical), 0), 2)::double precision AS average_score,
                        max(k.last_updated) AS last_updated
                 FROM chs_cluster.node_counts k GROUP BY k.segment) c USING (segment)) n;
COMMENT ON VIEW chs_cluster.segment_stats IS 'the number of customers of each segment and status on all nodes, from their counters';

CREATE VIEW chs_cluster.score_distribution WITH (security_invoker) AS
SELECT d.score_from, d.score_to, sum(d.customers)::bigint AS customers
FROM chs_cluster.node_score_distribution d
GROUP BY d.score_from, d.score_to
ORDER BY d.score_from;
COMMENT ON VIEW chs_cluster.score_distribution IS 'chs.score_distribution of all nodes together';

CREATE VIEW chs_cluster.daily_stats WITH (security_invoker) AS
SELECT d.day, d.segment, sum(d.total)::bigint AS total, sum(d.healthy)::bigint AS healthy, sum(d.at_risk)::bigint AS at_risk,
       sum(d.critical)::bigint AS critical, sum(d.unknown)::bigint AS unknown,
       round((sum(d.average_score * (d.total - d.unknown)) / nullif(sum(d.total - d.unknown) FILTER (WHERE d.average_score IS NOT NULL), 0))::numeric, 2)::double precision AS average_score,
       sum(d.arrivals)::bigint AS arrivals, sum(d.departures)::bigint AS departures, sum(d.improved)::bigint AS improved,
       sum(d.worsened)::bigint AS worsened, sum(d.value) AS value, sum(d.value_at_risk) AS value_at_risk,
       array_agg(d.node ORDER BY d.node) AS nodes
FROM chs_cluster.node_daily_stats d
GROUP BY d.day, d.segment;
COMMENT ON VIEW chs_cluster.daily_stats IS 'chs.daily_stats of all nodes together; the mean score is that of the nodes'' means, so may be off by a hundredth';
COMMENT ON COLUMN chs_cluster.daily_stats.nodes IS 'the nodes that have counted the day and have such a segment';

CREATE VIEW chs_cluster.status_movements WITH (security_invoker) AS
SELECT m.from_status, m.to_status, sum(m.customers)::bigint AS customers
FROM chs_cluster.node_movements m
GROUP BY m.from_status, m.to_status;
COMMENT ON VIEW chs_cluster.status_movements IS 'chs.status_movements of all nodes together';

CREATE FUNCTION chs_cluster.verify(OUT node text, OUT customer_id bigint, OUT difference text, OUT stored text, OUT expected text)
    RETURNS SETOF record
    LANGUAGE sql VOLATILE ROWS 10
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT v.node, v.customer_id, v.difference, v.stored, v.expected FROM chs_cluster.node_verify v;
END;
COMMENT ON FUNCTION chs_cluster.verify() IS 'chs_verify() on every node: no rows if all that they stored is right';
