# Attached tables: rows that arrive by logical replication, dumps, customers that are created at the same time as their
# events, and a worker that ingests existing rows.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('sources', 'log_statement = none', allows_streaming => 'logical');
$node->start;

# right(DATABASE, LOGINS OF CUSTOMER 1): waits until everything is folded and that many logins count.
sub right
{
	my ($database, $logins, $what) = @_;
	my $ok = $node->poll_query_until($database, qq(
		SELECT NOT EXISTS (SELECT FROM chs.queue) AND NOT EXISTS (SELECT FROM chs_verify())
		   AND (SELECT count(*) FROM chs.customers) = (SELECT count(*) FROM chs.customer_health)
		   AND NOT EXISTS (SELECT FROM chs.activity WHERE series_version <> (SELECT series_version FROM chs.scorecard_versions WHERE live_at IS NOT NULL ORDER BY version DESC LIMIT 1))
		   AND (SELECT value FROM chs_explain(1) WHERE metric = 'logins') = $logins));
	ok($ok, $what);
	diag($node->safe_psql($database, 'SELECT * FROM chs_verify()') . $node->safe_psql($database, q(SELECT value FROM chs_explain(1) WHERE metric = 'logins')))
	  if !$ok;
}

my $table = 'CREATE TABLE logins (id bigint PRIMARY KEY, account text, ip_address text, at timestamptz)';
my $attach = q(SELECT chs_attach('logins', 'account', 'login', 'at', customer_key => 'external_id'));

# Existing rows are ingested by the worker.
$node->safe_psql('postgres', 'CREATE DATABASE company');
$node->safe_psql('company', qq(
	CREATE EXTENSION chs;
	$table;
	CREATE INDEX ON logins (account, at);
	INSERT INTO chs.customers (external_id, created_at) SELECT 'c' || n, '2020-01-01' FROM generate_series(1, 50) n;
	INSERT INTO logins SELECT n, 'c' || 1 + n % 50, 'x', now() FROM generate_series(0, 499) n;
	$attach;));
right('company', 10, 'the worker takes in the rows that were there');
$node->safe_psql('company', q(INSERT INTO logins VALUES (1000, 'c1', 'x', now()), (1001, 'nobody', 'x', now())));
right('company', 11, 'and those that come');

# A customer that is created while its events are inserted: neither transaction sees the other.
my $creator = $node->background_psql('company');
$creator->query_safe('BEGIN');
$creator->query_safe(q(INSERT INTO chs.customers (external_id, created_at) VALUES ('nobody', '2020-01-01')));
$node->safe_psql('company', q(INSERT INTO logins VALUES (1002, 'nobody', 'x', now())));
$creator->query_safe('COMMIT');
$creator->quit;
is($node->safe_psql('company', q(SELECT value FROM chs_explain((SELECT customer_id FROM chs.customers WHERE external_id = 'nobody')) WHERE metric = 'logins')),
	'2', 'events before and while a customer is created count');
ok($node->poll_query_until('company', 'SELECT NOT EXISTS (SELECT FROM chs.missing_customers)'), 'the worker has looked for it');
is($node->safe_psql('company', 'SELECT count(*) FROM chs.rejected_events'), '2', 'the log has them');
is($node->safe_psql('company', 'SELECT chs_retry_rejected()'), '0', 'and they are not listed anew');

# A dump, restored with jobs, includes sources and rejected rows.
$node->safe_psql('company', q(INSERT INTO logins VALUES (1003, 'c1', NULL, now())));
my $file = PostgreSQL::Test::Utils::tempdir . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $file, '-d', $node->connstr('company') ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '--jobs=3', '-d', $node->connstr('restored'), $file ], 'pg_restore');
is($node->safe_psql('restored', 'SELECT relation, customer, occurred_at FROM chs.sources WHERE source_id > 1'), 'logins|account|at', 'the source is there');
is($node->safe_psql('restored', 'SELECT problem FROM chs.source_status WHERE source_id > 1'), '', 'and works');
is($node->safe_psql('restored', 'SELECT reason FROM chs.rejected_events'), 'event of customer 1 has no "ip_address"', 'what was put aside is there');
right('restored', 11, 'activities are made again from the rows');
$node->safe_psql('restored', q(INSERT INTO logins VALUES (1005, 'c1', 'x', now())));
right('restored', 12, 'and new rows count');

# Rows that arrive by logical replication, including the initial copy.
$node->safe_psql('postgres', 'CREATE DATABASE publisher');
$node->safe_psql('publisher', qq($table; CREATE PUBLICATION p FOR TABLE logins; INSERT INTO logins VALUES (1, 'c1', 'x', now()), (2, 'c1', 'x', now())));
$node->safe_psql('publisher', q(SELECT pg_create_logical_replication_slot('s', 'pgoutput')));
$node->safe_psql('postgres', 'CREATE DATABASE subscriber');
my $publisher = $node->connstr('publisher') =~ s/'/''/gr;
$node->safe_psql('subscriber', qq(
	CREATE EXTENSION chs;
	$table;
	INSERT INTO chs.customers (external_id, created_at) SELECT 'c' || n, '2020-01-01' FROM generate_series(1, 5) n;
	$attach;
	CREATE SUBSCRIPTION s CONNECTION '$publisher' PUBLICATION p WITH (create_slot = false, slot_name = 's')));
right('subscriber', 2, 'the initial copy counts');
$node->safe_psql('publisher', q(INSERT INTO logins VALUES (3, 'c1', 'x', now()), (4, 'nobody', 'x', now()), (5, 'c1', 'x', now())));
right('subscriber', 4, 'inserted rows that are replicated count');
$node->safe_psql('publisher', q(UPDATE logins SET account = 'c2' WHERE id = 1; DELETE FROM logins WHERE id = 2));
right('subscriber', 2, 'and so do updates and deletes');
is($node->safe_psql('subscriber', 'SELECT reason FROM chs.rejected_events'), 'event has an unknown external_id: "nobody"', 'what cannot be used does not stop replication');
$node->safe_psql('subscriber', 'DROP SUBSCRIPTION s');

# A transaction prepared before it was replicated is not committed by a statement, but wakes the worker nevertheless.
$node->safe_psql('publisher', q(SELECT pg_create_logical_replication_slot('two_phase', 'pgoutput', false, true)));
$node->safe_psql('subscriber', "CREATE SUBSCRIPTION s CONNECTION '$publisher' PUBLICATION p
	WITH (create_slot = false, slot_name = 'two_phase', two_phase = true, copy_data = false)");
$node->poll_query_until('subscriber', q(SELECT subtwophasestate = 'e' FROM pg_subscription)) or die 'no two phases';
my $prepared = q(SELECT count(*) FROM pg_prepared_xacts WHERE database = 'subscriber');
for my $end ('COMMIT', 'ROLLBACK')
{
	$node->safe_psql('publisher', q(BEGIN; INSERT INTO logins VALUES ((SELECT max(id) + 1 FROM logins), 'c1', 'x', now()); PREPARE TRANSACTION 'two phases'));
	$node->poll_query_until('subscriber', $prepared, 1) or die 'not prepared';
	$node->poll_query_until('postgres', q(SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'chs worker'))) or die 'a worker stays';
	$node->safe_psql('publisher', "$end PREPARED 'two phases'");
	$node->poll_query_until('subscriber', $prepared, 0) or die 'still prepared';
	right('subscriber', 3, "replicated in two phases: after $end it is folded what counts");
}
$node->safe_psql('subscriber', 'DROP SUBSCRIPTION s');

# What an unlogged table lost in a crash is reported and repaired.
$node->safe_psql('company', q(
	CREATE UNLOGGED TABLE calls (account text, endpoint text, at timestamptz);
	SELECT chs_attach('calls', 'account', 'api_call', 'at', customer_key => 'external_id');
	INSERT INTO calls SELECT 'c1', 'x', now() FROM generate_series(1, 7)));
right('company', 11, 'an unlogged table');
$node->stop('immediate');
$node->start;
is($node->safe_psql('company', q(SELECT string_agg(customer_id || ' ' || difference, ', ' ORDER BY difference) FROM chs_verify())),
	'1 activity, 1 live score', 'chs_verify tells what a crash took from it');
$node->safe_psql('company', 'CALL chs_rebuild()');
right('company', 11, 'chs_rebuild mends it');

done_testing();
