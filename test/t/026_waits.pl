# From PostgreSQL 17 on, what the launcher and the workers wait for has its own names in pg_stat_activity.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('waits');
$node->start;
add_chs($node, 'postgres');
wait_right($node, 'postgres', 'at the beginning');
my $has_names = $node->pg_version >= 17;

# seen(TYPE, NAME, WHAT): a process of a type is seen waiting for something, by its name where it has one.
sub seen
{
	my ($type, $name, $what) = @_;

	$name = 'Extension' unless $has_names;
	ok($node->poll_query_until('postgres', "SELECT EXISTS (SELECT FROM pg_stat_activity
		WHERE backend_type = '$type' AND wait_event_type = 'Extension' AND wait_event = '$name')"), "$what: $name")
	  or diag($node->safe_psql('postgres', 'SELECT backend_type, wait_event_type, wait_event FROM pg_stat_activity'));
}

seen('chs launcher', 'ChsLauncherMain', 'the launcher waits to be woken');

# A worker stays while it cannot fold a customer, and waits for that or for more work.
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN; SELECT chs_recalculate(1)');
log_in($node, 'postgres', 1, 1);
seen('chs worker', 'ChsWorkerMain', 'a worker waits for work');
is($node->safe_psql('postgres', 'SELECT state FROM chs.worker_status'), 'waiting', 'as chs.worker_status says, too');
$holder->query_safe('COMMIT');
$holder->quit;
log_in($node, 'postgres', 2, 1);
wait_right($node, 'postgres', 'it goes on');

# ... and while somebody restores.
my $restore = $node->background_psql('postgres');
$restore->query_safe(q(SET check_function_bodies = off; SELECT pg_catalog.set_config('search_path', '', false)));
$restore->query_safe(q(INSERT INTO chs.customers (customer_id, created_at) VALUES (77, '2020-01-01')));
seen('chs worker', 'ChsWorkerRestore', 'a worker waits for the end of a restore');
is($node->safe_psql('postgres', 'SELECT state FROM chs.worker_status'), 'held up', 'as chs.worker_status says, too');
$node->append_conf('postgresql.conf', 'chs.enabled = off');
$node->reload;
ok($node->poll_query_until('postgres', q(SELECT state = 'disabled' FROM chs.worker_status)), 'switched off it does not wait');
$node->append_conf('postgresql.conf', 'chs.enabled = on');
$node->reload;
seen('chs worker', 'ChsWorkerRestore', 'switched on it does again');
$restore->quit;
wait_right($node, 'postgres', 'it goes on');

# Ten milliseconds of waiting for more commits are hard to observe, but have a name, too, once they have happened.
SKIP:
{
	skip 'no names before PostgreSQL 17', 1 unless $has_names;
	my $load = start_load($node, 'postgres');
	ok($node->poll_query_until('postgres', q(
		SELECT string_agg(name, ' ' ORDER BY name COLLATE "C") = 'ChsLauncherMain ChsWorkerMain ChsWorkerPace ChsWorkerRestore'
		FROM pg_wait_events WHERE type = 'Extension' AND name LIKE 'Chs%')), 'pg_wait_events has these names and no others');
	stop_load($load);
}
$node->stop;
done_testing();
