# Several servers as one: three nodes with chs, and a server without it that routes rows to them and reads them.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %node = map { $_ => new_node($_) } qw(n1 n2 n3);
$_->start for values %node;
$node{$_}->safe_psql('postgres', 'CREATE EXTENSION chs; CREATE ROLE analyst LOGIN; CREATE ROLE partial LOGIN') for sort keys %node;

my $router = PostgreSQL::Test::Cluster->new('router');
$router->init;
$router->append_conf('postgresql.conf', "timezone = 'UTC'\n");
$router->start;

# run(SQL), value(SQL): on the router; fails(SQL): the error of it, with SQLSTATE.
sub run   { return $router->safe_psql('postgres', shift); }
sub value { return run(shift); }
sub fails
{
	my ($out, $err);

	$router->psql('postgres', shift, stdout => \$out, stderr => \$err, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return $err;
}

my $addresses = '{' . join(', ', map { sprintf '"%s": {"host": "%s", "port": "%s", "dbname": "postgres"}', $_, $node{$_}->host, $node{$_}->port } sort keys %node) . '}';
my ($user) = value('SELECT current_user');

# ---------------------------------------------------------------- nodes
run('CREATE EXTENSION chs_cluster CASCADE');
is(value('SELECT count(*) FROM chs_cluster.dashboard_stats'), 1, 'a cluster without nodes has totals');
run(qq(SELECT chs_cluster.add_nodes('$addresses', '{"user": "$user"}')));
is(value('SELECT string_agg(node, \' \') FROM chs_cluster.nodes'), 'n1 n2 n3', 'nodes are there');

like(fails(q(SELECT chs_cluster.add_nodes('{"n1": {}}'))), qr/42710: server "n1" already exists.*HINT/s, 'a node is added once');
like(fails(q(SELECT chs_cluster.add_nodes('{"N 4": {}}'))), qr/42602: invalid name of a node: "N 4".*HINT/s, 'names of nodes are checked');
like(fails(q(SELECT chs_cluster.add_nodes('{"n4": "here"}'))), qr/22023: the address of node "n4".*HINT/s, 'so are addresses');
like(fails(q(SELECT chs_cluster.add_nodes('["n4"]'))), qr/22023: invalid value for parameter "nodes".*HINT/s, 'and their kind');
like(fails(qq(SELECT chs_cluster.add_nodes('{"n4": {"host": "@{[$node{n1}->host]}", "port": "1"}}', '{"user": "$user"}'))),
	qr/08001: cannot connect to node "n4"/, 'a node that is not there is named');
like(fails(sprintf q(SELECT chs_cluster.add_nodes('{"n4": {"host": "%s", "port": "%s", "dbname": "template1"}}', '{"user": "%s"}')), $node{n1}->host, $node{n1}->port, $user),
	qr/55000: node "n4" does not have chs.*HINT/s, 'a database without chs is none');
$node{n1}->safe_psql('postgres', q(CREATE DATABASE sorted TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C' ENCODING 'SQL_ASCII'));
$node{n1}->safe_psql('sorted', 'CREATE EXTENSION chs');
SKIP:
{
	skip 'this server sorts by C', 1 if value('SELECT datcollate FROM pg_database WHERE datname = current_database()') eq 'C';
	like(fails(sprintf q(SELECT chs_cluster.add_nodes('{"n4": {"host": "%s", "port": "%s", "dbname": "sorted"}}', '{"user": "%s"}')), $node{n1}->host, $node{n1}->port, $user),
		qr/55000: node "n4" sorts text by .*HINT/s, 'a node that sorts in another way is refused');
}
is(value('SELECT string_agg(node, \' \') FROM chs_cluster.nodes'), 'n1 n2 n3', 'what failed has left nothing');

# every table here has the columns and types of the view behind it
is(value(q(
	SELECT string_agg(format('%s.%s', v.view, a.attname), ' ')
	FROM chs_cluster.node_views() v
	JOIN pg_attribute a ON a.attrelid = format('chs_cluster.%I', v.view)::regclass AND a.attnum > 0 AND NOT a.attisdropped
	WHERE format_type(a.atttypid, NULL) IS DISTINCT FROM (
		SELECT t.type FROM dblink('n1', format('SELECT format_type(a.atttypid, NULL) FROM pg_attribute a WHERE a.attrelid = %L::regclass AND a.attname = %L', 'chs_cluster.' || v.view, a.attname)) AS t(type text)))),
	'', 'types here and there are the same');
is(value(q(
	SELECT string_agg(v.view, ' ') FROM chs_cluster.node_views() v
	WHERE v.view IN ('customer_list', 'at_risk_customers', 'queue_status', 'worker_status', 'stale_health', 'failures', 'source_status', 'node_daily_stats')
	  AND (SELECT t.n FROM dblink('n1', format('SELECT count(*) FROM pg_attribute WHERE attrelid = %L::regclass AND attnum > 0 AND NOT attisdropped', 'chs.' || replace(v.view, 'node_', ''))) AS t(n bigint))
	   <> (SELECT count(*) - 1 FROM pg_attribute WHERE attrelid = format('chs_cluster.%I', v.view)::regclass AND attnum > 0 AND NOT attisdropped))),
	'', 'no column of the views of chs is left out');

# ---------------------------------------------------------------- the application's tables
for my $statement (
	q(CREATE TABLE customers (id bigint PRIMARY KEY, title text, plan text, since timestamptz NOT NULL, left_at timestamptz)),
	q(CREATE TABLE events (id bigint, customer bigint NOT NULL, kind text NOT NULL, at timestamptz NOT NULL, data jsonb)),
	'CREATE INDEX ON events ((customer::text), at)',
	q(SELECT chs_attach('events', 'customer::text', 'kind', 'at', 'data', 'external_id')),
	q(SELECT chs_attach_customers('customers', 'id::text', name => 'title', segment => 'plan', created_at => 'since', churned_at => 'left_at')))
{
	$router->safe_psql('postgres', "SELECT chs_cluster.everywhere(\$s\$$statement\$s\$)");
}
run(q(
	CREATE TABLE customers (id bigint NOT NULL, title text, plan text, since timestamptz NOT NULL, left_at timestamptz) PARTITION BY HASH (id);
	CREATE TABLE events (id bigint, customer bigint NOT NULL, kind text NOT NULL, at timestamptz NOT NULL, data jsonb) PARTITION BY HASH (customer);
	CREATE TABLE plain (id bigint);
	SELECT chs_cluster.route('customers'), chs_cluster.route('events');
	SELECT chs_cluster.route_scores('customers')));
like(fails(q(SELECT chs_cluster.route('plain'))), qr/42809: public.plain is not a table partitioned by hash.*HINT/s, 'only such tables are routed');
like(fails(q(SELECT chs_cluster.route('customers', partitions => 2))), qr/22023: invalid number of partitions for 3 nodes: 2.*HINT/s, 'each node has a partition');

# wait_done(NODE, WHAT): eventually the node has folded everything, and finds no difference.
sub wait_done
{
	my ($node, $what) = @_;

	ok($node->poll_query_until('postgres', q(SELECT NOT EXISTS (SELECT FROM chs.queue) AND NOT EXISTS (SELECT FROM chs.stale_health)
		AND NOT EXISTS (SELECT FROM chs_verify()))), $what);
}

# all_right(WHAT): when every worker is done, every node is right, and logins are those that plain SQL counts here.
sub all_right
{
	my ($what) = @_;

	wait_done($node{$_}, "$what: $_ is right") for sort keys %node;
	is(value('SELECT count(*) FROM chs_cluster.verify()'), 0, "$what: verify() of all nodes finds nothing");
	is(value(q(
		SELECT string_agg(id::text, ' ') FROM (
			SELECT c.id, (SELECT count(*) FROM events e WHERE e.customer = c.id AND e.kind = 'login'
							AND e.at >= (date_trunc('day', now() AT TIME ZONE 'UTC') - interval '29 days') AT TIME ZONE 'UTC' AND e.at < now()) AS expected
			FROM customers c WHERE c.left_at IS NULL) c
		LEFT JOIN chs_cluster.explanations x ON x.key = c.id AND x.metric = 'logins'
		WHERE x.value IS DISTINCT FROM expected)), '', "$what: every customer's logins are as plain SQL counts them");
}

run(q(INSERT INTO customers SELECT n, 'Company ' || n, CASE n % 3 WHEN 0 THEN 'smb' WHEN 1 THEN 'startup' END, now() - interval '200 days' FROM generate_series(1, 150) n));
run(q(INSERT INTO events SELECT n, n % 150 + 1, 'login', now() - n % 60 * interval '1 day' - interval '1 second',
	jsonb_build_object('ip_address', '::1', 'user_id', 'u' || n % 7, 'session_duration', n % 900) FROM generate_series(1, 4000) n));
all_right('INSERT ... SELECT');
is(value('SELECT count(DISTINCT node) FROM chs_cluster.customer_list'), 3, 'every node has customers');
run(q(COPY events FROM PROGRAM 'seq 1 900 | awk ''{print $1 "\t" $1 % 150 + 1 "\tlogin\t" strftime("%Y-%m-%d", systime() - 86400, 1) " 10:00:00Z\t{\"ip_address\": \"::1\", \"user_id\": \"c\"}"}'''));
all_right('COPY');
run(q(UPDATE events SET at = at - interval '40 days' WHERE customer % 10 = 0; DELETE FROM events WHERE customer % 11 = 0;
	UPDATE customers SET left_at = now() WHERE id = 7; DELETE FROM customers WHERE id = 8));
all_right('UPDATE and DELETE');

my $committed = value('SELECT chs_cluster.chs_score(42::bigint)');
is(value(q(SELECT score FROM chs_cluster.scores WHERE key = 42)), $committed, 'one score is found by the key of the application');
is(value(q(SELECT score FROM chs_cluster.customer_list WHERE external_id = '42')), $committed, 'and is what its node stored');
is(value(q(SELECT document ->> 'score' FROM chs_cluster.documents WHERE key = 42)), $committed, 'and in its document');
like(value(q(EXPLAIN (VERBOSE, COSTS OFF) SELECT score FROM chs_cluster.scores WHERE key = 42)), qr/^Foreign Scan(?!.*Foreign Scan).*WHERE \(\(key = 42\)\)/s, 'by one node');
like(fails('SELECT chs_cluster.chs_score(8::bigint)'), qr/P0002: customer '8' does not exist/, 'a customer who is nowhere is an error');
my @within = split /\n/, run(q(
	BEGIN;
	INSERT INTO events SELECT 1, c, 'login', now(), '{"ip_address": "::1", "user_id": "new"}' FROM generate_series(41, 46) c, generate_series(1, 100);
	SELECT bool_and(x.value = (SELECT count(*) FROM events e WHERE e.customer = x.key AND e.at >= now() - interval '29 days')) AND count(*) = 5
	FROM chs_cluster.explanations x WHERE x.key BETWEEN 41 AND 46 AND x.key % 10 <> 0 AND x.key <> 44 AND x.metric = 'logins';
	SELECT chs_cluster.chs_score(42::bigint) > ) . $committed . q(;
	ROLLBACK;
	SELECT chs_cluster.chs_score(42::bigint)));
is("@within", "t t $committed", 'scores on several nodes count what the transaction has not committed');

# ---------------------------------------------------------------- lists and totals
is(value(q(SELECT (total, healthy, at_risk, critical, unknown, average_score) FROM chs_cluster.dashboard_stats)),
	value(q(SELECT (count(*), count(*) FILTER (WHERE status = 'healthy'), count(*) FILTER (WHERE status = 'at_risk'), count(*) FILTER (WHERE status = 'critical'),
		count(*) FILTER (WHERE status = 'unknown'), round(avg(score::numeric), 2)) FROM chs_cluster.customer_list WHERE churned_at IS NULL)),
	'totals are those of all rows');
is(value('SELECT (healthy_percent, at_risk_percent, critical_percent, unknown_percent) FROM chs_cluster.dashboard_stats'),
	value(q(SELECT (round(avg((status = 'healthy')::integer) * 100, 1), round(avg((status = 'at_risk')::integer) * 100, 1), round(avg((status = 'critical')::integer) * 100, 1),
		round(avg((status = 'unknown')::integer) * 100, 1)) FROM chs_cluster.customer_list WHERE churned_at IS NULL)) =~ s/\.0(?=[,)])//gr, 'and so are their shares');
is(value(q(SELECT string_agg(format('%s %s %s', segment, total, average_score), ', ' ORDER BY segment) FROM chs_cluster.segment_stats WHERE total > 0)),
	value(q(SELECT string_agg(format('%s %s %s', segment, n, a), ', ' ORDER BY segment) FROM (
		SELECT segment, count(*) AS n, round(avg(score::numeric), 2)::float8 AS a FROM chs_cluster.customer_list WHERE churned_at IS NULL GROUP BY segment) s)),
	'and of each segment');
is(value(q(SELECT string_agg(customers::text, ' ' ORDER BY score_from) FROM chs_cluster.score_distribution)),
	value(q(SELECT string_agg((SELECT count(*) FROM chs_cluster.customer_list WHERE churned_at IS NULL AND least(floor(score / 5), 19) = b)::text, ' ' ORDER BY b) FROM generate_series(0, 19) b)),
	'and of each range of scores');

# four days of the past, counted by each node
$node{$_}->safe_psql('postgres', 'CALL chs_backfill_history(current_date - 4)') for sort keys %node;
is(value(q(SELECT string_agg(format('%s %s %s', day, t, a), ', ' ORDER BY day) FROM (SELECT day, sum(total) AS t, sum(arrivals) AS a FROM chs_cluster.daily_stats GROUP BY day) d)),
	value(q(SELECT string_agg(format('%s %s %s', day, t, a), ', ' ORDER BY day) FROM (
		SELECT day, sum(total) AS t, sum(arrivals) AS a FROM chs_cluster.node_daily_stats GROUP BY day) d)), 'days are the sums of those of the nodes');
cmp_ok(value('SELECT count(DISTINCT day) FROM chs_cluster.daily_stats'), '>=', 4, 'which have counted some');
is(value('SELECT sum(customers) FROM chs_cluster.status_movements'), value(q(SELECT sum(total + departures) FROM chs_cluster.daily_stats WHERE day = (SELECT max(day) FROM chs_cluster.daily_stats))), 'and so are movements');

my ($page, $list, $pages) = ('true', '', 0);
while (1)
{
	my $rows = value(qq(SELECT score, customer_id, node FROM chs_cluster.at_risk_customers WHERE $page ORDER BY score, customer_id, node LIMIT 20)) or last;
	my ($s, $c, $n) = split /\|/, (split /\n/, $rows)[-1];

	$list .= "$rows\n";
	$pages++;
	$page = "score >= $s AND (score > $s OR customer_id > $c OR customer_id = $c AND node > '$n')";
}
is($list, value('SELECT score, customer_id, node FROM chs_cluster.at_risk_customers ORDER BY score, customer_id, node') . "\n", "$pages pages are the whole list");
cmp_ok($pages, '>', 3, 'which takes several');
like(value("EXPLAIN (VERBOSE, COSTS OFF) SELECT * FROM chs_cluster.at_risk_customers WHERE $page ORDER BY score, customer_id, node LIMIT 20"),
	qr/Merge Append.*(Remote SQL: [^\n]*score >= [^\n]*ORDER BY score.*){3}/s, 'by Merge Append, sorted and filtered on the nodes');
like(value(q(EXPLAIN (COSTS OFF) SELECT * FROM chs_cluster.failures WHERE node = 'n2')), qr/^Foreign Scan on failures_n2 /, 'what is asked of one node, no other is asked');

# ---------------------------------------------------------------- the same rules everywhere
is(value('SELECT count(*) FROM chs_cluster.differences'), 0, 'nodes do not differ');
my $version = value(q(SELECT chs_cluster.publish('as it is')));
is(join(' ', map { $node{$_}->safe_psql('postgres', 'SELECT max(version) FROM chs.scorecard_versions') } sort keys %node), "$version $version $version", 'a version is published on all nodes');
$node{n2}->safe_psql('postgres', 'UPDATE chs.targets SET target = target + 1');
like(fails(q(SELECT chs_cluster.publish('not the same'))), qr/40001: nodes give different answers, so nothing is changed.*Node "n2": .*HINT.*differences/s, 'not if drafts differ');
like(value('SELECT string_agg(what || node, \' \') FROM chs_cluster.differences'), qr/draftn/, 'which is shown');
is(join(' ', map { $node{$_}->safe_psql('postgres', 'SELECT max(version) FROM chs.scorecard_versions') } sort keys %node), "$version $version $version", 'and nothing is published');
my $document = $node{n1}->safe_psql('postgres', 'SELECT chs_scorecard_export()');
is(value(qq(SELECT chs_cluster.publish('one for all', \$d\$$document\$d\$))), $version + 1, 'a document is published everywhere, whatever the drafts are');
is(value('SELECT count(*) FROM chs_cluster.differences'), 0, 'and nodes are the same again');
$node{n3}->safe_psql('postgres', q(SELECT chs_publish('alone')));
like(fails(qq(SELECT chs_cluster.publish('one for all', \$d\$$document\$d\$))), qr/Node "n3": @{[$version + 3]}/, 'a node that has published alone is named');
is(value(q(SELECT string_agg(node, ' ' ORDER BY node) FROM chs_cluster.differences WHERE what = 'number of the live version')), 'n1 n2 n3', 'and shown');
$node{$_}->safe_psql('postgres', q(SELECT chs_publish('in step'))) for qw(n1 n2);
is(value('SELECT count(*) FROM chs_cluster.differences'), 0, 'until the others have');

$node{n1}->safe_psql('postgres', q(INSERT INTO chs.event_types (event_type, description) VALUES ('visit', 'a visit'); UPDATE chs.event_types SET description = 'changed' WHERE event_type = 'login'));
is(value(q(SELECT count(*) FROM chs_cluster.differences WHERE what = 'event types')), 3, 'other event types are a difference');
run(q(SELECT chs_cluster.copy_event_types('n1')));
is(value('SELECT count(*) FROM chs_cluster.differences'), 0, 'and copied from a node to all');
run(q(SELECT chs_cluster.grant('analyst', 'read'); SELECT chs_cluster.grant('partial', 'read')));
is(join(' ', map { $node{$_}->safe_psql('postgres', q(SELECT chs.granted('analyst'))) } sort keys %node), '{read} {read} {read}', 'roles are granted everywhere');
$node{n2}->safe_psql('postgres', q(SELECT chs_revoke('analyst', 'read'); SELECT chs_grant('analyst', 'operate')));
is(value(q(SELECT string_agg(node, ' ' ORDER BY node) FROM chs_cluster.differences WHERE what = 'functions of roles')), 'n1 n2 n3', 'what a node grants otherwise is a difference');
$node{n2}->safe_psql('postgres', q(SELECT chs_revoke('analyst', 'operate')));
run(q(SELECT chs_cluster.revoke('analyst', 'read')));
is(value('SELECT count(*) FROM chs_cluster.differences'), 0, 'and roles are revoked everywhere');
run(q(SELECT chs_cluster.grant('analyst', 'read')));
like(fails(q(SELECT chs_cluster.grant('nobody', 'read'))), qr/42704: on node "n1": role "nobody" does not exist/, 'an error says on which node');
is(join('', map { $node{$_}->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts') } sort keys %node), '000', 'no prepared transaction is left behind');

# ---------------------------------------------------------------- who reads what
run(q(CREATE ROLE analyst LOGIN; CREATE ROLE partial LOGIN; CREATE ROLE stranger LOGIN;
	SELECT chs_cluster.add_reader('analyst', '{"user": "analyst", "password_required": "false"}'), chs_cluster.add_reader('partial', '{"user": "partial", "password_required": "false"}')));
for my $n (values %node)
{
	$n->safe_psql('postgres', q(ALTER TABLE chs.customers ENABLE ROW LEVEL SECURITY;
		CREATE POLICY for_analyst ON chs.customers TO analyst USING (true); CREATE POLICY for_partial ON chs.customers TO partial USING (segment = 'smb'); SELECT chs.follow_customers()));
}
my $all = value('SELECT count(*) FROM chs_cluster.customer_list');
my $some = value(q(SELECT count(*) FROM chs_cluster.customer_list WHERE segment = 'smb'));
is(run("SET ROLE analyst; SELECT count(*) FROM chs_cluster.customer_list"), $all, 'a reader reads as its own user on the nodes');
is(run("SET ROLE partial; SELECT count(*) FROM chs_cluster.customer_list"), $some, 'row-level security of the nodes decides');
is(run("SET ROLE partial; SELECT total FROM chs_cluster.dashboard_stats"),
	value(q(SELECT count(*) FROM chs_cluster.customer_list WHERE segment = 'smb' AND churned_at IS NULL)), 'also about totals');
like(fails('SET ROLE analyst; SELECT * FROM chs_cluster.queue_status'), qr/42501: permission denied/, 'who may not monitor the nodes does not here');
like(fails('SET ROLE stranger; SELECT * FROM chs_cluster.customer_list'), qr/42501: permission denied/, 'a stranger sees nothing');
like(fails(q(SET ROLE analyst; SELECT chs_cluster.everywhere('SELECT 1'))), qr/42501: permission denied/, 'a reader runs nothing on the nodes');

# ---------------------------------------------------------------- commit on all nodes, or none: not promised
$node{n2}->safe_psql('postgres', q(
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = -1 THEN RAISE EXCEPTION 'refused at commit'; END IF; RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()));
like(fails(q(INSERT INTO events SELECT -1, n, 'login', now() - interval '1 second', '{"ip_address": "::1", "user_id": "u"}' FROM generate_series(20, 40) n)),
	qr/refused at commit/, 'a node may refuse at commit');
my $left = value('SELECT count(*) FROM events WHERE id = -1');
ok($left < 18, "and $left rows of other nodes may be there or not");
$node{n2}->safe_psql('postgres', 'DROP FUNCTION refuse CASCADE');
all_right('a transaction that was committed in part');

# ---------------------------------------------------------------- a node that stops
my ($total, $without) = (value('SELECT total FROM chs_cluster.dashboard_stats'), value(q(SELECT sum(healthy + at_risk + critical + unknown) FROM chs_cluster.node_counts WHERE node <> 'n2')));
my ($here) = value(q(SELECT external_id FROM chs_cluster.customer_list WHERE node = 'n1' AND churned_at IS NULL ORDER BY 1 LIMIT 1));
my ($there) = value(q(SELECT external_id FROM chs_cluster.customer_list WHERE node = 'n2' AND churned_at IS NULL ORDER BY 1 LIMIT 1));
$node{n2}->stop('immediate');
for my $query ('SELECT * FROM chs_cluster.dashboard_stats', 'SELECT * FROM chs_cluster.customer_list ORDER BY customer_id LIMIT 5', "SELECT chs_cluster.chs_score($there\::bigint)")
{
	like(fails($query), qr/could not connect to server "n2"/, "$query: names the node that is down");
}
is(value(q(SELECT total || ' ' || missing::text FROM chs_cluster.stats(available_only => true))), "$without {n2}", 'totals of those that answer say who is missing');
is(value(q(SELECT count(*) FILTER (WHERE customer_id IS NOT NULL) < count(*) AND count(*) FILTER (WHERE customer_id IS NULL AND node = 'n2') = 1 FROM chs_cluster.available(NULL::chs_cluster.customer_list))), 't', 'lists mark it');
like(fails('SELECT count(*) FROM chs_cluster.available(NULL::chs_cluster.customer_list)'), qr/WARNING: .*node "n2" does not answer/, 'and warn');
isnt(value("SELECT chs_cluster.chs_score($here\::bigint)"), '', 'customers of other nodes are not concerned');
like(fails(q(SELECT chs_cluster.publish('two of three'))), qr/08001: cannot connect to node "n2"/, 'nothing is published');
is(join(' ', map { $node{$_}->safe_psql('postgres', q(SELECT count(*) FROM chs.scorecard_versions WHERE note = 'two of three')) } qw(n1 n3)), '0 0', 'anywhere');
$node{n2}->start;
is(value('SELECT total FROM chs_cluster.dashboard_stats'), $total, 'a node that is back is read again');
all_right('a node that has stopped and is back');

# ---------------------------------------------------------------- dump, restore, and taking nodes out
my $dump = $router->basedir . '/router.sql';
$router->command_ok([ 'pg_dump', '-f', $dump, '-d', $router->connstr('postgres'), '--exclude-schema=nothing' ], 'the cluster is dumped');
run('CREATE DATABASE restored TEMPLATE template0');
$router->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $router->connstr('restored'), '-f', $dump ], 'and restored');
is($router->safe_psql('restored', 'SELECT total FROM chs_cluster.dashboard_stats'), $total, 'and reads the nodes');
is($router->safe_psql('restored', 'SELECT chs_cluster.chs_score(42::bigint)'), value('SELECT chs_cluster.chs_score(42::bigint)'), 'and finds customers');
run('SELECT chs_cluster.refresh_nodes()');
is(value('SELECT total FROM chs_cluster.dashboard_stats'), $total, 'nodes are prepared again at any time');

like(fails(q(SELECT chs_cluster.drop_node('n2'))), qr/2BP01: tables are routed to node "n2".*HINT/s, 'a node that has rows stays');
like(fails(q(SELECT chs_cluster.drop_node('n9'))), qr/42704: there is no node "n9".*HINT/s, 'one that is none is an error');
run(q(DROP TABLE customers, events; DROP TABLE chs_cluster.scores, chs_cluster.explanations, chs_cluster.documents; SELECT chs_cluster.drop_node('n2')));
is(value('SELECT total FROM chs_cluster.dashboard_stats'), $without, 'then it is out');
run('DROP EXTENSION chs_cluster');
is(value(q(SELECT count(*) FROM pg_class WHERE relnamespace = 'chs_cluster'::regnamespace OR relkind = 'f')), 0, 'the extension goes with its tables');

$_->stop for $router, values %node;
done_testing();
