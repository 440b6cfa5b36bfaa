# Several workers share one database: only with a backlog, never two on one customer, nothing lost or counted twice;
# and the status that they report.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('workers', "chs.batch_size = 5\nchs.max_workers = 3\ntest.seconds = 0");
$node->start;
add_chs($node, 'postgres');
wait_right($node, 'postgres', 'at the beginning');
my $away = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'chs worker')";

# set(NAME, VALUE): changes a setting of the server.
sub set
{
	my ($name, $value) = @_;

	$node->safe_psql('postgres', "ALTER SYSTEM SET $name = $value");
	$node->reload;
}

# A little work needs one worker.
log_in($node, 'postgres', $_, 1) for (1 .. 10);
wait_right($node, 'postgres', 'ten transactions');
is($node->safe_psql('postgres', 'SELECT string_agg(worker::text, $$,$$) FROM chs.worker_status'), '1', 'one worker did that');

# Every customer's score takes a lock that the test can hold, and some time, so that workers are found at work.
$node->safe_psql('postgres', q(
	CREATE FUNCTION gate(bigint, timestamptz) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN
		PERFORM pg_advisory_xact_lock_shared(4711), pg_sleep(current_setting('test.seconds')::float);
		RETURN $1;
	END $$;
	CREATE INDEX gate ON chs.customer_health (gate(customer_id, calculated_at));
	INSERT INTO chs.customers (customer_id, name, created_at)
	SELECT i, 'Customer ' || i, '2020-01-01' FROM generate_series(11, 1500) i));
wait_right($node, 'postgres', 'with more customers');
my $gate;
sub close_gate
{
	$gate = $node->background_psql('postgres');
	$gate->query_safe('BEGIN; SELECT pg_advisory_xact_lock(4711)');
}
sub open_gate
{
	$gate->query_safe('COMMIT');
	$gate->quit;
}

# backlog(N [, CUSTOMERS]): so many deltas are queued, one transaction each, while no worker works.
sub backlog
{
	my ($n, $customers) = @_;

	$customers //= 1500;
	set('chs.enabled', 'off');
	$node->poll_query_until('postgres', $away) or die;
	$node->safe_psql('postgres', qq(DO \$\$ BEGIN FOR i IN 1 .. $n LOOP
		INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (1 + i % $customers, 'login', '{"ip_address": "::1"}');
		COMMIT; END LOOP; END \$\$));
	set('chs.enabled', 'on');
}

# workers(N): a backlog is queued, again and again if need be, until so many workers are there at a time.
sub workers
{
	my ($n) = @_;
	my $there = "SELECT count(*) >= $n FROM pg_stat_activity WHERE backend_type = 'chs worker'";

	set('test.seconds', 0.01);
	for (1 .. 20)
	{
		backlog(1500);
		$node->poll_query_until('postgres', "SELECT ($there) OR NOT EXISTS (SELECT FROM chs.queue)") or die;
		return 1 if $node->safe_psql('postgres', $there) eq 't';
	}
	return 0;
}

# A backlog brings more: the first one folds some batches before it calls for help.
ok(workers(3), 'with a backlog there are three workers');
set('test.seconds', 0);
wait_right($node, 'postgres', 'and together they fold everything, once');
ok($node->poll_query_until('postgres', 'SELECT count(*) FILTER (WHERE pid IS NOT NULL) <= 1 FROM chs.worker_status'), 'then the others leave');
is($node->safe_psql('postgres', 'SELECT count(*) FROM chs.worker_status WHERE last_batch_deltas > 0 AND last_batch_customers > 0
	AND last_batch_customers <= last_batch_deltas AND deltas_per_second > 0 AND customers_per_second > 0 AND last_error IS NULL'), '3',
	'chs.worker_status tells what they did');

# They work at the same time: each of them is found waiting at the gate, within one database.
sub at_gate
{
	my ($n) = @_;
	return "SELECT count(*) = $n FROM pg_stat_activity WHERE backend_type = 'chs worker' AND wait_event_type = 'Lock' AND wait_event = 'advisory'";
}
for (1 .. 20)
{
	workers(3) or last;
	close_gate();
	# one may have been about to leave
	$node->poll_query_until('postgres', 'SELECT (' . at_gate(3) . ") OR (SELECT count(*) < 3 FROM pg_stat_activity WHERE backend_type = 'chs worker')") or die;
	last if $node->safe_psql('postgres', at_gate(3)) eq 't';
	open_gate();
}
set('test.seconds', 0);
ok($node->poll_query_until('postgres', at_gate(3)), 'three workers are in the middle of their batches');
is($node->safe_psql('postgres', "SELECT string_agg(DISTINCT application_name, ',' ORDER BY application_name) FROM pg_stat_activity WHERE backend_type = 'chs worker'"),
	'chs worker,chs worker 2,chs worker 3', 'by names of their own');
like($node->safe_psql('postgres', "SELECT string_agg(DISTINCT query, ',') FROM pg_stat_activity WHERE backend_type = 'chs worker'"),
	qr/^chs: (folding the queue|scoring customers for a new day or scorecard version)/, 'pg_stat_activity tells what they are at');
is($node->safe_psql('postgres', 'SELECT count(*) FROM chs.worker_status WHERE pid IS NOT NULL AND lag_seconds > 0'), '3', 'there is a lag');
is_right($node, 'postgres', 'meanwhile scores are right');
# What one of them holds an inserter does not wait for.
log_in($node, 'postgres', $_, 1) for (1 .. 5);
is_right($node, 'postgres', 'and events are inserted as ever');
# One is ended in the middle: its part goes to the others.
my $second = $node->safe_psql('postgres', 'SELECT pid FROM chs.worker_status WHERE worker = 2');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($second)");
$node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $second)");
open_gate();
wait_right($node, 'postgres', 'what a worker had that was terminated is folded by others');

# Fewer are allowed while more are there.
workers(2) or die;
set('chs.max_workers', 1);
set('test.seconds', 0);
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM chs.worker_status WHERE worker > 1 AND pid IS NOT NULL'), 'chs.max_workers = 1 sends the others away');
wait_right($node, 'postgres', 'and the one that stays does all');
set('chs.max_workers', 3);

# The first worker does not leave before the others: they leave what is left to it, as that a version becomes live.
$node->safe_psql('postgres', q(
	CREATE FUNCTION last_gate(bigint, timestamptz) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
		$$ BEGIN PERFORM pg_advisory_xact_lock_shared(4712) WHERE $1 = 1503; RETURN $1; END $$;
	CREATE INDEX last_gate ON chs.customer_health (last_gate(customer_id, calculated_at));
	INSERT INTO chs.metrics (scorecard, factor, metric, event_type, aggregate, field, window_days, curve, weight, missing)
	VALUES ('default', 'login_frequency', 'places', 'login', 'distinct', 'place', 30, '0:0 10:100', 1, 'missing');
	INSERT INTO chs.customers (customer_id, created_at) SELECT i, '2020-01-01' FROM generate_series(1501, 1503) i));
wait_right($node, 'postgres', 'three customers more');
is($node->safe_psql('postgres', 'SELECT hashint8(1503) & 1'), '1', 'the last one is of the part of the second worker');
for (1 .. 20)
{
	my $last_gate = $node->background_psql('postgres');
	$last_gate->query_safe('BEGIN; SELECT pg_advisory_xact_lock(4712)');
	set('chs.enabled', 'off');
	$node->poll_query_until('postgres', $away) or die;
	my $version = $node->safe_psql('postgres', q(UPDATE chs.metrics SET window_days = window_days + 1 WHERE metric = 'places'; SELECT chs_publish()));
	set('test.seconds', 0.002);
	backlog(100, 100);
	my $who = q(SELECT min(worker) FROM chs.worker_status JOIN pg_stat_activity USING (pid) WHERE wait_event = 'advisory');
	$node->poll_query_until('postgres', "SELECT ($who) IS NOT NULL") or die;
	my $is_second = $node->safe_psql('postgres', $who) eq '2';
	if ($is_second)
	{
		$node->poll_query_until('postgres', q(SELECT state IN ('waiting', 'away') FROM chs.worker_status WHERE worker = 1)) or die;
		# it looks again when nobody has woken it for long enough, instead of leaving
		my $looked = q(SELECT COALESCE((SELECT state_change FROM chs.worker_status JOIN pg_stat_activity USING (pid) WHERE worker = 1), 'infinity'));
		my $before = $node->safe_psql('postgres', $looked);
		$node->poll_query_until('postgres', "SELECT ($looked) > '$before' OR '$before' = 'infinity'") or die;
	}
	$last_gate->query_safe('COMMIT');
	$last_gate->quit;
	ok($node->poll_query_until('postgres', "SELECT live_at IS NOT NULL FROM chs.scorecard_versions WHERE version = $version"),
		'a version becomes live') if $is_second;
	last if $is_second;
	wait_right($node, 'postgres', 'once more');
}
set('test.seconds', 0);
wait_right($node, 'postgres', 'all is right');
$node->safe_psql('postgres', 'DROP INDEX chs.last_gate; DELETE FROM chs.customers WHERE customer_id > 1500');

# By hand, beside the workers: it waits for them, and then everything is folded.
backlog(800);
$node->safe_psql('postgres', 'SELECT chs_process_queue()');
is($node->safe_psql('postgres', 'SELECT count(*) FROM chs.queue'), '0', 'chs_process_queue beside workers leaves nothing');
wait_right($node, 'postgres', 'rightly');

# Another session has more customers than are remembered, while a worker has one: all are tried again when that has ended.
{
	$node->safe_psql('postgres', q(
		CREATE FUNCTION one_gate(bigint, timestamptz) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
			$$ BEGIN PERFORM pg_advisory_xact_lock_shared(4713) WHERE $1 = 1490; RETURN $1; END $$;
		CREATE INDEX one_gate ON chs.customer_health (one_gate(customer_id, calculated_at))));
	my $one_gate = $node->background_psql('postgres');
	$one_gate->query_safe('BEGIN; SELECT pg_advisory_xact_lock(4713)');
	my $holder = $node->background_psql('postgres');
	$holder->query_safe('BEGIN; SELECT count(chs_recalculate(customer_id)) FROM chs.customers WHERE customer_id <= 1100');
	log_in($node, 'postgres', 1490, 1);
	$node->poll_query_until('postgres', at_gate(1)) or die 'no worker has the customer';
	$node->safe_psql('postgres', q(INSERT INTO chs.customer_events (customer_id, event_type, event_data)
		SELECT i, 'login', '{"ip_address": "::1"}' FROM generate_series(1, 1100) i));
	my $rows = '';
	my $call = IPC::Run::start([ 'psql', '-XAt', '-d', $node->connstr('postgres'), '-c', 'SELECT chs_process_queue()' ], '>', \$rows);
	$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_stat_activity
		WHERE query = 'SELECT chs_process_queue()' AND wait_event = 'transactionid')) or die 'it waits for nobody';
	$one_gate->query_safe('COMMIT');
	$call->finish;
	cmp_ok($rows, '>=', 2201, 'a session that has waited for it looks at all of them again');
	$holder->query_safe('COMMIT');
	$_->quit for ($one_gate, $holder);
	$node->safe_psql('postgres', 'DROP INDEX chs.one_gate');
	wait_right($node, 'postgres', 'they are folded in the end');
}

# A few customers have all the events, and clients insert, recalculate and read them meanwhile: nobody gets into a deadlock,
# no statement fails.  (The log is looked at in the end.)
{
	my $load = start_load($node, 'postgres', q(
\set c random(1, 3)
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
SELECT c, 'login', '{"ip_address": "::1"}' FROM generate_series(1, 3) c ORDER BY random();
SELECT chs_recalculate(:c);
SELECT chs_score(:c);
BEGIN;
UPDATE chs.customers SET segment = 'smb' WHERE customer_id = :c;
INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (:c, 'login', '{"ip_address": "::1"}');
COMMIT;
));
	backlog(1500, 3);
	$node->poll_query_until('postgres', 'SELECT count(*) > 1500 + 300 FROM chs.customer_events WHERE customer_id <= 3') or die 'no load';
	is_right($node, 'postgres', 'scores of hot customers are right');
	unlike(stop_load($load), qr/ERROR|FATAL|error:/, 'and none of their clients has an error');
	wait_right($node, 'postgres', 'in the end they are folded');
}

# Who may see that.
$node->safe_psql('postgres', 'CREATE ROLE monitor LOGIN IN ROLE pg_monitor; CREATE ROLE somebody LOGIN');
is($node->safe_psql('postgres', 'SELECT count(*) >= 1 FROM chs.worker_status', extra_params => [ '-U', 'monitor' ]), 't', 'members of pg_monitor may look');
isnt($node->psql('postgres', 'SELECT count(*) FROM chs.worker_status', extra_params => [ '-U', 'somebody' ], stderr => \my $denied), 0, 'others may not');
like($denied, qr/permission denied/, 'as they are told');

my $offset = -s $node->logfile;
backlog(1200);
$node->stop('fast');
unlike(slurp_file($node->logfile, $offset), qr/FATAL:.*chs|ERROR/, 'a fast shutdown with workers at work leaves no errors in the log');
$node->start;
wait_right($node, 'postgres', 'after it the rest is folded');
$node->stop;
is_quiet($node, qr/(PANIC|FATAL): (?!.*(terminating connection|connection to client lost))|deadlock|terminated by signal|written concurrently|tuple concurrently/, 'no deadlock, no conflict, no crash');
done_testing();
