# REINDEX TABLE locks a table against changes first, and then its indexes.  Nothing may do it the other way round, read by an
# index and then want to change the table: the two would wait for each other until one of them fails.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('reindex', 'autovacuum = off');
$node->start;
add_chs($node, 'postgres');
$node->safe_psql('postgres', q(
	CREATE TABLE logins (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account bigint, at timestamptz DEFAULT now());
	SELECT chs_attach('logins', 'account', 'login', 'at');
	INSERT INTO logins (account) SELECT i % 15 FROM generate_series(1, 60) i;));
wait_right($node, 'postgres', 'at the beginning');
$node->safe_psql('postgres', q(
	SELECT chs_pause('everything is done by hand');
	INSERT INTO logins (account) SELECT i % 15 FROM generate_series(1, 60) i;
	DELETE FROM logins WHERE id % 7 = 0;
	INSERT INTO chs.customer_events (customer_id, event_type, event_data) SELECT i, 'login', '{"ip_address": "::1"}' FROM generate_series(3, 9) i));

my ($reindexing, $working, $watching) = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. 3;
my $pid = ask($working, 'SELECT pg_backend_pid()');
ask($watching, qq(
	CREATE PROCEDURE stopped() LANGUAGE plpgsql AS \$\$ BEGIN
		LOOP
			PERFORM pg_stat_clear_snapshot();
			EXIT WHEN EXISTS (SELECT FROM pg_locks WHERE pid = $pid AND NOT granted)
				OR EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid AND state LIKE 'idle%' AND query LIKE '%done%');
			PERFORM pg_sleep(0.001);
		END LOOP;
	END \$\$));
my @tables = split /\n/, $node->safe_psql('postgres', q(SELECT oid::regclass FROM pg_class WHERE relnamespace = 'chs'::regnamespace AND relkind = 'r' AND relhasindex ORDER BY 1));
my (@crossed, $waits);
for my $work ('SELECT chs_process_queue()', 'SELECT count(chs_recalculate(i)) FROM generate_series(1, 3) i', 'SELECT chs_rebuild(2)',
	'CALL chs_rebuild()', 'CALL chs_recalculate_all()', 'SELECT chs_purge_customer(9)', 'SELECT chs_retry_rejected()', "SELECT chs_publish('again')",
	q(INSERT INTO chs.customer_events (customer_id, event_type, event_data) SELECT i, 'login', '{"ip_address": "::1"}' FROM generate_series(1, 5) i),
	'INSERT INTO logins (account) SELECT generate_series(5, 15)', 'UPDATE logins SET account = account + 1', 'DELETE FROM logins',
	'UPDATE chs.customers SET external_id = customer_id', q(INSERT INTO chs.customers (customer_id, created_at) VALUES (14, '2020-01-01')), 'DELETE FROM chs.customers WHERE customer_id > 7')
{
	for my $table (@tables)
	{
		$reindexing->query_safe("BEGIN; LOCK TABLE $table IN SHARE MODE");
		# procedures end their transactions
		my $begin = $work =~ /^CALL/ ? '' : 'BEGIN;';
		$working->query_until(qr/begun/, "\\echo begun\n$begin $work; SELECT 'done';\n");
		$watching->query_safe('CALL stopped()');
		$waits += my $waiting = ask($watching, "SELECT count(*) FROM pg_locks WHERE pid = $pid AND relation = '$table'::regclass AND NOT granted");
		push @crossed, "$work reads an index of $table, and then changes the table"
		  if $waiting && ask($watching, "SELECT count(*) FROM pg_locks JOIN pg_index ON relation = indexrelid WHERE pid = $pid AND granted AND indrelid = '$table'::regclass");
		$reindexing->query_safe('ROLLBACK');
		$working->query_safe($begin ? 'ROLLBACK' : 'SELECT');
	}
}
is(join("\n", @crossed), '', 'nothing reads an index and then wants to change its table');
cmp_ok($waits, '>', 50, 'there was something to wait for');
$_->quit for $reindexing, $working, $watching;
$node->stop;
done_testing();
