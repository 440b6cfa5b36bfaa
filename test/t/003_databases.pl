# Databases and the extension are created and dropped while events are loaded; the worker is in nobody's way.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('databases');
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE busy');
add_chs($node, 'busy');
my $load = start_load($node, 'busy');
$node->poll_query_until('busy', 'SELECT count(*) > 50 FROM chs.customer_events');

# Databases with the extension and a fresh queue: dropped at once, again and again.
my ($slowest, $failed) = (0, 0);
for my $i (1 .. 5)
{
	$node->safe_psql('postgres', 'CREATE DATABASE brief');
	add_chs($node, 'brief');
	log_in($node, 'brief', 1, 2);
	my $start = time;
	my $status = $node->psql('postgres', 'DROP DATABASE brief', stderr => \my $error);
	$slowest = time - $start if time - $start > $slowest;
	if ($status)
	{
		$failed++;
		diag($error);
		$node->safe_psql('postgres', 'DROP DATABASE brief WITH (FORCE)');
	}
}
is($failed, 0, 'DROP DATABASE goes through, five times');
cmp_ok($slowest, '<', 6, sprintf('the slowest took %.1f seconds', $slowest));

# Nobody commits in the copy of a database: it is found at the end of a nap.
stop_load($load);
$node->adjust_conf('postgresql.conf', 'chs.naptime', '1');
$node->restart;
$load = start_load($node, 'busy');

# A database as a template, with events still in its queue.
$node->safe_psql('postgres', 'CREATE DATABASE original');
add_chs($node, 'original');
log_in($node, 'original', 1, 7);
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE original');
is($node->safe_psql('copy', 'SELECT count(*) FROM chs.customer_events'), '7', 'CREATE DATABASE ... TEMPLATE goes through');
is_right($node, 'copy', 'the copy has the right scores');
wait_right($node, 'copy', 'and is folded, although nobody committed in it');
wait_right($node, 'original', 'as is the original');
$node->safe_psql('postgres', 'ALTER DATABASE copy RENAME TO renamed');
log_in($node, 'renamed', 2, 3);
wait_right($node, 'renamed', 'a renamed database goes on');
$node->safe_psql('postgres', "ALTER DATABASE renamed ALLOW_CONNECTIONS false");
$node->safe_psql('postgres', 'DROP DATABASE renamed');
log_in($node, 'original', 2, 3);
wait_right($node, 'original', 'others go on');

# As a template database itself.
$node->safe_psql('template1', 'CREATE EXTENSION chs');
$node->safe_psql('postgres', 'CREATE DATABASE born');
$node->safe_psql('born', "INSERT INTO chs.customers (customer_id, created_at) VALUES (1, '2020-01-01')");
log_in($node, 'born', 1, 3);
wait_right($node, 'born', 'a database born with the extension');
$node->safe_psql('postgres', 'CREATE DATABASE born_too');
$node->safe_psql('template1', 'DROP EXTENSION chs');

# The extension is dropped while its database is loaded; the client finds its table gone, nothing worse.
my $second = start_load($node, 'original');
my $before = $node->safe_psql('original', 'SELECT count(*) FROM chs.customer_events');
$node->poll_query_until('original', "SELECT count(*) > $before + 50 FROM chs.customer_events");
my $start = time;
my ($out, $err, $timed_out);
my $status = 1;
# A deadlock with a writer is possible, as with any DDL; then try again.
for (1 .. 5)
{
	$status = $node->psql('original', 'DROP EXTENSION chs', stderr => \$err, timeout => 60, timed_out => \$timed_out);
	last if $status == 0 || $err !~ /deadlock/;
}
is($status, 0, 'DROP EXTENSION under load') or diag($err);
cmp_ok(time - $start, '<', 30, 'does not wait long');
like(end_load($second), qr/does not exist/, 'the clients find no table');
$node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'chs worker' AND datname = 'original')");
add_chs($node, 'original');
log_in($node, 'original', 3, 3);
wait_right($node, 'original', 'made again, it works');

# Dropped and recreated while a worker of the database lingers.
for my $i (1 .. 5)
{
	$node->safe_psql('original', 'DROP EXTENSION chs');
	add_chs($node, 'original');
	log_in($node, 'original', $i, 2);
}
wait_right($node, 'original', 'five times in a row');

is($node->safe_psql('busy', 'SELECT count(*) > 0 FROM chs.customer_events'), 't', 'the load went on meanwhile');
unlike(stop_load($load), qr/ERROR|FATAL/, 'without an error');
wait_right($node, 'busy', 'and all of it counts');

$node->safe_psql('postgres', 'DROP DATABASE busy WITH (FORCE)');
log_in($node, 'original', 6, 1);
wait_right($node, 'original', 'at the end');
$node->stop;
is_quiet($node, qr/PANIC:|TRAP:|terminated by signal|could not open relation with OID|cache lookup failed/, 'no process crashed or lost its footing');
done_testing();
