# The worker is killed, terminated and stopped: it comes back, and no event is lost or counted twice.  (Crashes under load: 023_kill.)
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# fsync matters where a crash is meant to lose nothing, though not for a crash of the server alone.
my $node = new_node('survive', "restart_after_crash = on\ntest.sleep = 0");
$node->start;
add_chs($node, 'postgres');
log_in($node, 'postgres', 1, 3);
wait_right($node, 'postgres', 'at the beginning');

# kill -9 while it is in the middle of a transaction: the server restarts everything.
{
	my $held = hold($node, 'postgres');
	log_in($node, 'postgres', 2, 4);
	my $pid = worker_pid($node, 'chs worker', "wait_event_type = 'Lock'");
	is(kill('KILL', $pid), 1, 'worker killed');
	# The crash ends all sessions, and with the holder its lock.
	$node->wait_for_log(qr/all server processes terminated; reinitializing/);
	$held->{run}->finish;
	ok($node->poll_query_until('postgres', 'SELECT true'), 'the server is back');
	is_right($node, 'postgres', 'scores are right at once after the crash');
	wait_right($node, 'postgres', 'and what was queued is folded');
	log_in($node, 'postgres', 2, 1);
	wait_right($node, 'postgres', 'as is what comes then');
}

# kill -9 of the launcher.
{
	my $offset = -s $node->logfile;
	kill('KILL', worker_pid($node, 'chs launcher'));
	$node->wait_for_log(qr/all server processes terminated; reinitializing/, $offset);
	$node->poll_query_until('postgres', 'SELECT true');
	log_in($node, 'postgres', 3, 1);
	wait_right($node, 'postgres', 'after the launcher was killed');
}

# pg_terminate_backend and pg_cancel_backend of a worker at work.
for my $how ('pg_terminate_backend', 'pg_cancel_backend')
{
	my $held = hold($node, 'postgres');
	log_in($node, 'postgres', 4, 2);
	my $pid = worker_pid($node, 'chs worker', "wait_event_type = 'Lock'");
	is($node->safe_psql('postgres', "SELECT $how($pid)"), 't', "$how");
	$node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)") if $how eq 'pg_terminate_backend';
	release($held);
	wait_right($node, 'postgres', "$how: another worker does the work");
}
# ... of an idle one, and of the launcher.
log_in($node, 'postgres', 5, 1);
my $idle = worker_pid($node, 'chs worker');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($idle)");
log_in($node, 'postgres', 5, 1);
wait_right($node, 'postgres', 'after the idle worker was terminated');
my $launcher = worker_pid($node, 'chs launcher');
is($node->safe_psql('postgres', "SELECT pg_terminate_backend($launcher)"), 't', 'launcher terminated');
log_in($node, 'postgres', 6, 1);
is_right($node, 'postgres', 'scores are right without a launcher');
isnt(worker_pid($node, 'chs launcher', "pid <> $launcher"), $launcher, 'the launcher comes back');
wait_right($node, 'postgres', 'and does what waited for it');

# The launcher is told of a database and to read its settings at the same time: it starts workers all the same.  (There is
# one database with the extension, whose commit has woken it before.)
$launcher = worker_pid($node, 'chs launcher');
$node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'chs worker')") or die;
kill('STOP', $launcher);
$node->safe_psql('postgres', 'ALTER DATABASE postgres CONNECTION LIMIT -1');
$node->reload;
log_in($node, 'postgres', 6, 1);
kill('CONT', $launcher);
wait_right($node, 'postgres', 'a launcher that is woken for several reasons at once forgets none');

# A customer that cannot be scored is written down, tried again, and does not keep
# the others from their scores.
{
	my $offset = -s $node->logfile;
	$node->safe_psql('postgres', 'CREATE INDEX poison ON chs.customer_health ((1 / (customer_id - 11)))');
	$node->safe_psql('postgres', "INSERT INTO chs.customers (customer_id, created_at) VALUES (11, '2020-01-01')");
	log_in($node, 'postgres', 11, 1);
	log_in($node, 'postgres', 7, 1);
	ok($node->wait_for_log(qr/LOG:  22012: chs could not score customer 11|LOG:  chs could not score customer 11: division by zero/, $offset),
		'the log names the customer');
	is($node->safe_psql('postgres', 'SELECT customer_id, sqlstate FROM chs.failures'), '11|22012', 'so does chs.failures');
	ok($node->poll_query_until('postgres', "SELECT value = (SELECT count(*) FROM chs.customer_events WHERE customer_id = 7 AND event_type = 'login')
		FROM chs_explain(7) WHERE metric = 'logins' AND NOT EXISTS (SELECT FROM chs.queue WHERE customer_id = 7)"),
		'the others are folded');
	is_right($node, 'postgres', 'meanwhile scores are right');
	is($node->safe_psql('postgres', 'SELECT held_back > 0, failing FROM chs.queue_status'), 't|1', 'chs.queue_status tells what is held back');
	$node->safe_psql('postgres', 'DROP INDEX chs.poison');
	wait_right($node, 'postgres', 'when the reason is gone the work is done');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM chs.failures'), '0', 'and the failure is cleared');
}

# Fast shutdown with a worker at work, and with one that waits for a lock.
{
	my $load = start_load($node, 'postgres');
	$node->poll_query_until('postgres', 'SELECT count(*) > 100 FROM chs.customer_events');
	ok($node->stop('fast', fail_ok => 1), 'fast shutdown under load');
	stop_load($load);
	$node->start;
	is_right($node, 'postgres', 'scores are right after fast shutdown');
	wait_right($node, 'postgres', 'and what was left is folded after the start');

	my $held = hold($node, 'postgres');
	log_in($node, 'postgres', 8, 1);
	worker_pid($node, 'chs worker', "wait_event_type = 'Lock'");
	ok($node->stop('fast', fail_ok => 1), 'fast shutdown with a worker that waits for a lock');
	$held->{run}->finish;
	$node->start;
	wait_right($node, 'postgres', 'after the start');

	# Smart: the worker and the launcher are no clients that it would wait for.
	log_in($node, 'postgres', 8, 1);
	ok($node->stop('smart', fail_ok => 1), 'smart shutdown does not wait for the worker');
	$node->start;
	wait_right($node, 'postgres', 'after the start');

	# ... nor for one that would be at work for ten minutes.
	$node->safe_psql('postgres', q(
		ALTER SYSTEM SET test.sleep = 600;
		SELECT pg_reload_conf();
		CREATE FUNCTION slow(bigint, timestamptz) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
			$$ BEGIN PERFORM pg_sleep(current_setting('test.sleep')::float) WHERE $1 = 12; RETURN $1; END $$;
		CREATE INDEX slow ON chs.customer_health (slow(customer_id, calculated_at))));
	$node->poll_query_until('postgres', "SELECT current_setting('test.sleep') = '600'") or die;
	$node->safe_psql('postgres', "INSERT INTO chs.customers (customer_id, created_at) VALUES (12, '2020-01-01')");
	worker_pid($node, 'chs worker', "wait_event = 'PgSleep'");
	$node->safe_psql('postgres', 'ALTER SYSTEM RESET test.sleep');
	ok($node->stop('smart', fail_ok => 1), 'smart shutdown ends a worker that is busy');
	$node->start;
	wait_right($node, 'postgres', 'after the start it takes up its work');
}

$node->stop;
is_quiet($node, qr/PANIC:|TRAP:|terminated by signal (?!9)/, 'nothing crashed but what was killed');
done_testing();
