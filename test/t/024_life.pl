# The extension is created, updated and dropped beside busy workers; a server without slots for workers, and one that is upgraded.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('life', "chs.batch_size = 5\nchs.max_workers = 3");
$node->start;
add_chs($node, 'postgres');
wait_right($node, 'postgres', 'at the beginning');
my $version = $node->safe_psql('postgres', "SELECT extversion FROM pg_extension WHERE extname = 'chs'");
my $script = $node->config_data('--sharedir') . "/extension/chs--$version--next.sql";
END { unlink $script if $script; }
append_to_file($script, q(
ALTER TABLE chs.customer_health ADD COLUMN added_later integer;
ALTER TABLE chs.queue ADD COLUMN added_later text DEFAULT 'x';
ALTER TABLE chs.activity ALTER COLUMN folded_to SET STATISTICS 10;
CREATE FUNCTION chs.added_later() RETURNS integer LANGUAGE sql RETURN 1;
));

# ALTER EXTENSION UPDATE while clients insert and workers fold.
my $load = start_load($node, 'postgres');
$node->poll_query_until('postgres', 'SELECT count(*) > 100 FROM chs.customer_events');
# A deadlock with a writer is possible, as with any DDL; then try again.
my ($status, $error);
for (1 .. 5)
{
	$status = $node->psql('postgres', "ALTER EXTENSION chs UPDATE TO 'next'", stderr => \$error);
	last if $status == 0 || $error !~ /deadlock/;
}
is($status, 0, 'ALTER EXTENSION UPDATE beside workers and clients') or diag($error);
my $before = $node->safe_psql('postgres', 'SELECT count(*) FROM chs.customer_events');
$node->poll_query_until('postgres', "SELECT count(*) > $before + 100 FROM chs.customer_events") or die;
unlike(stop_load($load), qr/ERROR/, 'the clients do not notice');
wait_right($node, 'postgres', 'the workers go on with the new version');
is($node->safe_psql('postgres', "SELECT extversion, chs.added_later() FROM pg_extension WHERE extname = 'chs'"), 'next|1', 'which it is');

# DROP EXTENSION while workers have a backlog: it waits for a batch, not for the backlog.
$node->safe_psql('postgres', q(
	CREATE FUNCTION slow(timestamptz) RETURNS timestamptz LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM pg_sleep(0.02); RETURN $1; END $$;
	CREATE INDEX slow ON chs.customer_health (slow(calculated_at))));
$node->safe_psql('postgres', q(
	INSERT INTO chs.customers (customer_id, created_at) SELECT i, '2020-01-01' FROM generate_series(11, 3000) i));
ok($node->poll_query_until('postgres', 'SELECT count(*) > 1 FROM chs.worker_status WHERE pid IS NOT NULL'), 'several workers are at work');
my $start = time;
$node->safe_psql('postgres', 'DROP EXTENSION chs');
cmp_ok(time - $start, '<', 10, 'DROP EXTENSION does not wait for a backlog of a minute');
ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'chs worker')"), 'the workers leave');
add_chs($node, 'postgres');
log_in($node, 'postgres', 1, 3);
wait_right($node, 'postgres', 'made again, it works');
$node->stop;
is_quiet($node, qr/(ERROR|PANIC|FATAL): (?!.*(deadlock|connection to client lost|administrator command))|terminated by signal/, 'the log is quiet');

# No slot for a worker: reported once, and caught up when there is one.
$node->append_conf('postgresql.conf', "max_worker_processes = 2\nmax_logical_replication_workers = 4");
$node->start;
log_in($node, 'postgres', 2, 3);
ok($node->wait_for_log(qr/LOG:.*chs could not start a worker.*HINT:.*max_worker_processes/s), 'the log tells that there is no place for a worker');
is_right($node, 'postgres', 'scores are right without');
is($node->safe_psql('postgres', 'SELECT pid IS NULL AND lag_seconds > 0 FROM chs.worker_status'), 't', 'chs.worker_status shows the lag');
$node->append_conf('postgresql.conf', 'max_worker_processes = 16');
$node->restart;
wait_right($node, 'postgres', 'with a place for it the worker does what waited');

# pg_upgrade starts servers in a mode in which nothing may happen by itself.
$node->stop;
$node->command_ok([ 'pg_ctl', '-w', '-D', $node->data_dir, '-l', $node->logfile, '-o', '-b', 'start' ], 'a server in binary upgrade mode');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'chs%'"), '0', 'has no worker');
is_right($node, 'postgres', 'but scores');
is($node->safe_psql('postgres', 'SELECT count(*) FROM chs.worker_status'), '0', 'chs.worker_status knows that there are none');
$node->command_ok([ 'pg_ctl', '-w', '-D', $node->data_dir, 'stop' ], 'it stops');
done_testing();
