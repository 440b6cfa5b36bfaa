# The worker: it starts with the server, folds automatically after a commit, and finds new databases.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('worker');
$node->start;
ok(worker_pid($node, 'chs launcher'), 'the launcher runs');

# The database is made while the launcher runs, and naps are long: the commit itself must wake it.
add_chs($node, 'postgres');
wait_right($node, 'postgres', 'new customers are scored by themselves');
log_in($node, 'postgres', 1, 3);
wait_right($node, 'postgres', 'an event is folded by itself after its commit');
log_in($node, 'postgres', 2, 5);
wait_right($node, 'postgres', 'and another one');
$node->safe_psql('postgres', "DELETE FROM chs.customer_events WHERE customer_id = 1 AND event_id % 2 = 0");
wait_right($node, 'postgres', 'a delete is');
$node->safe_psql('postgres', "BEGIN; SELECT chs_record_event(3, 'login', '{\"ip_address\": \"::1\"}'); ROLLBACK");
is_right($node, 'postgres', 'nothing of what was rolled back counts');

# It leaves when there is nothing to do, and comes back.
ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'chs worker')"),
	'the worker of a quiet database leaves');
log_in($node, 'postgres', 4, 2);
wait_right($node, 'postgres', 'and comes back for the next event');

# More arrives while it is working: the wake-up must not be lost.
for my $i (1 .. 30)
{
	log_in($node, 'postgres', 1 + $i % 10, 1);
}
wait_right($node, 'postgres', 'thirty transactions, one soon after the other');

# Waiting for a lock resets the latch that a commit sets: the worker would linger for a second although there is work.
$node->safe_psql('postgres', q(
	CREATE FUNCTION gate(bigint, timestamptz) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
		$$ BEGIN PERFORM pg_advisory_xact_lock_shared(4711) WHERE $1 = 1; RETURN $1; END $$;
	CREATE INDEX gate ON chs.customer_health (gate(customer_id, calculated_at))));
my $gate = $node->background_psql('postgres');
my $fastest = 1000;
for my $round (1 .. 5)
{
	$gate->query_safe('SELECT pg_advisory_lock(4711)');
	log_in($node, 'postgres', 1, 1);
	worker_pid($node, 'chs worker', "wait_event = 'advisory'");
	log_in($node, 'postgres', 2, 1);
	my $released = time;
	$gate->query_safe('SELECT pg_advisory_unlock(4711)');
	$node->poll_query_until('postgres', 'SELECT NOT EXISTS (SELECT FROM chs.queue)') or die 'not folded';
	$fastest = time - $released if time - $released < $fastest;
}
$gate->quit;
$node->safe_psql('postgres', 'DROP INDEX chs.gate');
cmp_ok($fastest, '<', 0.5, 'a commit while the worker waits for a lock is not forgotten');

# Several databases.
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('postgres', 'CREATE DATABASE without');
add_chs($node, 'other');
wait_right($node, 'other', 'a database that got the extension later is found');
log_in($node, 'postgres', 5, 4);
log_in($node, 'other', 5, 6);
wait_right($node, 'postgres', 'the worker serves one database');
wait_right($node, 'other', 'and the other');
{
	# One database that stands still does not hold up the others.
	my $held = hold($node, 'other');
	log_in($node, 'other', 6, 1);
	worker_pid($node, 'chs worker', "datname = 'other' AND wait_event_type = 'Lock'");
	log_in($node, 'postgres', 6, 1);
	wait_right($node, 'postgres', 'while the worker of one database waits the other goes on');
	release($held);
	wait_right($node, 'other', 'and then that one, too');
}

# Off and on.
$node->safe_psql('postgres', 'ALTER SYSTEM SET chs.enabled = off');
$node->reload;
$node->poll_query_until('postgres', "SELECT current_setting('chs.enabled') = 'off'");
ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'chs worker')"),
	'chs.enabled = off sends the workers away');
my $queued = $node->safe_psql('postgres', 'SELECT count(*) FROM chs.queue');
log_in($node, 'postgres', 8, 3);
log_in($node, 'postgres', 8, 2);
is_right($node, 'postgres', 'while it is off scores are right');
is($node->safe_psql('postgres', 'SELECT count(*) FROM chs.queue'), $queued + 2, 'and the queue fills');
is($node->safe_psql('postgres', 'SELECT chs_process_queue()'), $queued + 2, 'chs_process_queue does its job');
log_in($node, 'postgres', 9, 3);
$node->safe_psql('postgres', 'ALTER SYSTEM RESET chs.enabled');
$node->reload;
wait_right($node, 'postgres', 'switched on, it folds what was waiting');

# Settings meant for users do not stop it.
$node->safe_psql('postgres', q(
	ALTER DATABASE other SET default_transaction_read_only = on;
	ALTER DATABASE other SET statement_timeout = 1;
	ALTER DATABASE other SET search_path = nowhere;
	ALTER DATABASE other SET default_transaction_isolation = serializable;
	ALTER DATABASE other SET session_replication_role = replica;
	ALTER DATABASE other SET timezone = 'Australia/Lord_Howe';
	ALTER DATABASE other SET row_security = off;
	CREATE ROLE nobody;
	ALTER DATABASE other SET role = nobody;
	ALTER DATABASE other SET check_function_bodies = off;
	ALTER DATABASE other SET log_min_messages = panic;
	ALTER DATABASE other SET enable_indexscan = off));
ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'chs worker')"), 'quiet again');
$node->safe_psql('other', q(
	SET default_transaction_read_only = off; SET ROLE none; SET statement_timeout = 0; SET session_replication_role = origin;
	INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (9, 'login', '{"ip_address": "::1"}')));
$node->safe_psql('postgres', 'ALTER DATABASE other RESET ALL');
wait_right($node, 'other', 'settings of the database do not stop the worker');

# A stale day is caught up as soon as the worker looks, which it does when the server has started.
$node->safe_psql('postgres', q(
	UPDATE chs.customer_health SET as_of = as_of - 1, score = 0, status = 'critical', calculated_at = now() - interval '1 day'
	WHERE customer_id <= 5));
$node->restart;
wait_right($node, 'postgres', 'health of an earlier day is scored again');
is($node->safe_psql('postgres', "SELECT count(*) FROM chs.customer_health WHERE as_of < (now() AT TIME ZONE 'UTC')::date"), '0', 'all of it');

# A new version rescores everyone, even if the worker is running just then: it must not look
# before the caches of other sessions know about the version.
my $rescored = 0;
for my $version (2 .. 21)
{
	log_in($node, 'postgres', 1 + $version % 10, 1) if $version % 2;
	$node->safe_psql('postgres', "UPDATE chs.factors SET weight = $version WHERE factor = 'login_frequency'; SELECT chs_publish('by the test')");
	$rescored += $node->poll_query_until('postgres', "SELECT bool_and(version = $version) FROM chs.customer_health");
	last if $rescored < $version - 1;
}
is($rescored, 20, 'a published version rescores everyone by itself, each time');
wait_right($node, 'postgres', 'rightly');

$node->stop;
is_quiet($node, qr/(LOG|INFO|NOTICE): +chs/, 'nothing that happens every day is a line in the log');
is_quiet($node, qr/(ERROR|PANIC|WARNING|FATAL): (?!.*administrator command)|terminated by signal/, 'the log is quiet');
done_testing();
