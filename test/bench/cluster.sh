# shellcheck shell=bash
# Point 11: three nodes read as one, beside one database with all customers.  The nodes are databases of one server.

n=$(size 9000 90000)
group page ms "a page of 50, the lowest scores, of $(grouped "$n") customers"
group totals ms "totals"
group one ms "one score"

# fill_node NAME CUSTOMERS: a database with customers who have some events and a score.
fill_node() {
	database "$1" 1
	value "SELECT bench.fill_customers(2, $2)" >/dev/null
	value "INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
		SELECT e.customer_id, e.event_type, e.event_data, e.occurred_at FROM bench.events($(($2 * 2)), $2, 20) e" >/dev/null
	value "CREATE TABLE customers AS SELECT c.external_id AS id FROM chs.customers c"
	value "ALTER TABLE customers ADD PRIMARY KEY (id)"
	value "SELECT chs_process_queue()" >/dev/null
	settle
	value ANALYZE
}
for node in node_1 node_2 node_3; do fill_node $node $((n / 3)); done
fill_node whole "$n"

export PGDATABASE=postgres
value 'CREATE DATABASE reporting'
export PGDATABASE=reporting
# what measures, without what makes customers
sed -n '/^CREATE SCHEMA/,/1e9;$/p; /^-- Milliseconds/,/^\$\$;/p' "$bench/data.sql" | psql -Xq -v ON_ERROR_STOP=1 -f -
value 'SET client_min_messages = warning; CREATE EXTENSION chs_cluster CASCADE'
for node in node_1 node_2 node_3; do
	value "SELECT chs_cluster.add_nodes('{\"$node\": {\"host\": \"$PGHOST\", \"port\": \"$PGPORT\", \"dbname\": \"$node\"}}', '{\"user\": \"$PGUSER\"}')" >/dev/null
done
value 'CREATE TABLE customers (id text NOT NULL) PARTITION BY HASH (id)'
value "SELECT chs_cluster.route('customers')" >/dev/null
value "SELECT chs_cluster.route_scores('customers')" >/dev/null
# whichever node it is routed to has such a customer
key=C5

# both GROUP SQL_OF_THE_CLUSTER SQL_OF_ONE
both() {
	PGDATABASE=reporting sample "$1" 'three nodes' "$(PGDATABASE=reporting value "CALL bench.time_query('$2', NULL, NULL)")"
	sample "$1" 'one database' "$(PGDATABASE=whole value "CALL bench.time_query('$3', NULL, NULL)")"
}
for _ in $(rounds "$(size 3 7)"); do
	both page 'SELECT * FROM chs_cluster.at_risk_customers ORDER BY score, customer_id, node LIMIT 50' 'SELECT * FROM chs.at_risk_customers ORDER BY score, customer_id LIMIT 50'
	both totals 'SELECT * FROM chs_cluster.dashboard_stats' 'SELECT * FROM chs.dashboard_stats'
	both one "SELECT score FROM chs_cluster.scores WHERE key = ''$key''" "SELECT chs_score(c.customer_id) FROM chs.customers c WHERE c.external_id = ''$key''"
done
target page 'three nodes' '<=' 10
target totals 'three nodes' '<=' 5
leave
for database in whole node_1 node_2 node_3; do
	export PGDATABASE=$database
	leave
done
