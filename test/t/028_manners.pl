# Manners: workers connect to no database that they need not, make way for whoever owns one, wait for no standby, say what they
# are at, take up changed settings, and do not fill the log.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('manners', "chs.naptime = 1\nautovacuum = off\nwal_level = replica\nmax_wal_senders = 2");
$node->start;
add_chs($node, 'postgres');
wait_right($node, 'postgres', 'at the beginning');

sub value { return $node->safe_psql('postgres', $_[0]); }
sub wait_for { my ($query, $what) = @_; ok($node->poll_query_until('postgres', "SELECT $query"), $what); }
my $away = "NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'chs worker')";

# naps(N): so many naps pass, at the end of each of which a worker comes to the database with the extension.
sub naps
{
	for (1 .. $_[0])
	{
		my $before = value('SELECT started_at FROM chs.worker_status WHERE worker = 1');
		$node->poll_query_until('postgres', "SELECT started_at > '$before' FROM chs.worker_status WHERE worker = 1") or die 'no worker comes';
	}
}

# A database without the extension is looked at once; a closed one, a template and one left half dropped never.
is(value("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'chs launcher' AND datname IS NULL AND datid IS NULL"), '1',
	'the launcher is connected to no database');
value('CREATE DATABASE without');
value('CREATE DATABASE closed ALLOW_CONNECTIONS false');
value('CREATE DATABASE model IS_TEMPLATE true');
value('CREATE DATABASE invalid');
value(q(UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'invalid'));
my $transactions = q(SELECT datname, xact_commit + xact_rollback FROM pg_stat_database
	WHERE datname IN ('without', 'closed', 'model', 'invalid', 'template1') ORDER BY 1);
naps(2);
my $before = value($transactions);
naps(3);
is(value($transactions), $before, 'nap after nap nobody connects to databases without need');
unlike(slurp_file($node->logfile), qr/cannot connect to invalid database|not currently accepting connections/, 'nor tries to');

# Whoever owns a database need not be a superuser to drop it from under its worker, with FORCE or without.
value('CREATE ROLE owner LOGIN');
for my $force ('', ' WITH (FORCE)')
{
	value('CREATE DATABASE owned OWNER owner');
	add_chs($node, 'owned');
	$node->safe_psql('owned', q(
		CREATE FUNCTION slow(bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
			$$ BEGIN PERFORM pg_sleep(600) WHERE $1 = 11; RETURN $1; END $$;
		CREATE INDEX slow ON chs.customer_health (slow(customer_id));
		INSERT INTO chs.customers (customer_id, created_at) VALUES (11, '2020-01-01')));
	worker_pid($node, 'chs worker', "datname = 'owned' AND wait_event = 'PgSleep'");
	my $status = $node->psql('postgres', "DROP DATABASE owned$force", extra_params => [ '-U', 'owner' ], stderr => \my $error);
	is($status, 0, "its owner drops it$force") or diag($error);
}

# Settings are taken up by a worker that is there: it is kept by a customer that it cannot fold.
{
	my $holder = $node->background_psql('postgres');
	$holder->query_safe('BEGIN; SELECT chs_recalculate(1)');
	log_in($node, 'postgres', 1, 1);
	my $pid = worker_pid($node, 'chs worker', "datname = 'postgres'");
	wait_for(q(count(*) = 1 FROM chs.queue), 'a worker is kept');
	value('ALTER SYSTEM SET chs.history_threshold = 100');
	$node->reload;
	my $history = value('SELECT count(*) FROM chs.health_scores');
	for my $n (2 .. 4)
	{
		log_in($node, 'postgres', $n, 1);
	}
	wait_for(q((SELECT count(*) FROM chs.queue WHERE customer_id <> 1) = 0), 'others are folded');
	isnt(value('SELECT score FROM chs.customer_health WHERE customer_id = 4'), value('SELECT score FROM chs.customer_health WHERE customer_id = 5'), 'their scores have moved');
	is(value('SELECT count(*) FROM chs.health_scores'), $history, 'by less than what is recorded with the new chs.history_threshold');
	value('ALTER SYSTEM SET chs.history_threshold = 0');
	$node->reload;
	log_in($node, 'postgres', 5, 1);
	wait_for("(SELECT count(*) FROM chs.health_scores) = $history + 1", 'which is lowered again');
	value(q(ALTER SYSTEM RESET chs.history_threshold));
	value(q(ALTER SYSTEM SET chs.batch_size = 2));
	$node->reload;
	log_in($node, 'postgres', $_, 1) for (6 .. 9);
	value(q(INSERT INTO chs.customer_events (customer_id, event_type, event_data) SELECT n, 'login', '{"ip_address": "::1"}' FROM generate_series(2, 10) n));
	wait_for(q((SELECT count(*) FROM chs.queue WHERE customer_id <> 1) = 0), 'several more are folded');
	cmp_ok(value('SELECT last_batch_deltas FROM chs.worker_status WHERE worker = 1'), '<=', 2, 'by the new chs.batch_size');
	is(worker_pid($node, 'chs worker', "datname = 'postgres'"), $pid, 'all of it by the same worker');
	$holder->query_safe('COMMIT');
	$holder->quit;
	log_in($node, 'postgres', 10, 1);
	value(q(ALTER SYSTEM RESET chs.batch_size));
	$node->reload;
}
wait_right($node, 'postgres', 'and all is right');

# What the launcher and the workers wait for has its own names in pg_stat_activity, from PostgreSQL 17 on.
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
my $claimer = $node->background_psql('postgres');
$claimer->query_safe('BEGIN; SELECT chs_recalculate(1)');
log_in($node, 'postgres', 1, 1);
seen('chs worker', 'ChsWorkerMain', 'a worker waits for work');
is(value('SELECT state FROM chs.worker_status WHERE worker = 1'), 'waiting', 'as chs.worker_status says, too');
$claimer->query_safe('COMMIT');
$claimer->quit;
wait_right($node, 'postgres', 'it goes on');

# ... and while somebody restores.
my $restore = $node->background_psql('postgres');
$restore->query_safe(dump_settings($node));
$restore->query_safe(q(INSERT INTO chs.customers (customer_id, created_at) VALUES (77, '2020-01-01')));
seen('chs worker', 'ChsWorkerRestore', 'a worker waits for the end of a restore');
is(value('SELECT state FROM chs.worker_status WHERE worker = 1'), 'held up', 'as chs.worker_status says, too');
value('ALTER SYSTEM SET chs.enabled = off');
$node->reload;
ok($node->poll_query_until('postgres', q(SELECT state = 'disabled' FROM chs.worker_status WHERE worker = 1)), 'switched off it does not wait');
value('ALTER SYSTEM RESET chs.enabled');
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

# What it says that it is at.  (waiting and held up: above; paused: 010_operations; excluded: 020_statements.)
sub state_is { my ($state) = @_; wait_for("state = '$state' FROM chs.worker_status WHERE worker = 1", "chs.worker_status: $state"); }
value('ALTER SYSTEM SET chs.naptime = 3600');
$node->reload;
wait_for($away, 'nobody is there');
is(value('SELECT state, pid IS NULL, lag_seconds FROM chs.worker_status WHERE worker = 1'), 'away|t|0', 'chs.worker_status: away');
{
	my $held = hold($node, 'postgres');
	log_in($node, 'postgres', 1, 1);
	state_is('folding');
	cmp_ok(value('SELECT lag_seconds FROM chs.worker_status'), '>', 0, 'with a lag');
	release($held);
	wait_right($node, 'postgres', 'released');

	# Housekeeping waits for a lock, and does not keep the database from being used.
	value('ALTER SYSTEM SET chs.history_retention = $$100d$$');
	value('ALTER SYSTEM SET chs.naptime = 1');
	my $session = $node->background_psql('postgres');
	$session->query_safe('BEGIN; LOCK TABLE chs.retention IN ACCESS EXCLUSIVE MODE');
	$node->reload;
	state_is('housekeeping');
	log_in($node, 'postgres', 2, 1);
	is_right($node, 'postgres', 'scores are right meanwhile');
	$session->query_safe('COMMIT');
	$session->quit;
	value('ALTER SYSTEM RESET chs.history_retention');
	value('ALTER SYSTEM SET chs.naptime = 3600');
	$node->reload;
	wait_right($node, 'postgres', 'and then folded');
}

# An error that is nobody's in particular, again and again: it waits longer each time, and takes up the work in the end.
my $now = value('SELECT now()');
value("CREATE INDEX poison ON chs.health_counts ((1 / (healthy - healthy))) WHERE last_updated > '$now'");
log_in($node, 'postgres', 3, 1);
state_is('failed');
is(value('SELECT last_error FROM chs.worker_status WHERE worker = 1'), 'division by zero', 'chs.worker_status tells why');
my $failed_at = value('SELECT last_error_at FROM chs.worker_status WHERE worker = 1');
wait_for("last_error_at > '$failed_at' FROM chs.worker_status WHERE worker = 1", 'it is tried again');
is_right($node, 'postgres', 'scores are right meanwhile');
value('DROP INDEX chs.poison');
wait_right($node, 'postgres', 'and when the reason is gone it is done');

# Customers that fail, many at a time: the log has a few of them, and none again.
{
	my $offset = -s $node->logfile;

	value(q(INSERT INTO chs.customers (customer_id, created_at) SELECT n, '2020-01-01' FROM generate_series(101, 150) n));
	wait_right($node, 'postgres', 'with more customers');
	$now = value('SELECT now()');
	value("CREATE INDEX poison ON chs.customer_health ((1 / (customer_id / 100 - 1))) WHERE calculated_at > '$now'");
	value(q(INSERT INTO chs.customer_events (customer_id, event_type, event_data) SELECT n, 'login', '{"ip_address": "::1"}' FROM generate_series(101, 150) n));
	wait_for('count(*) = 50 FROM chs.failures', 'fifty customers fail');
	wait_for('min(attempts) >= 2 FROM chs.failures', 'again and again');
	log_in($node, 'postgres', 3, 1);
	wait_for('(SELECT count(*) FROM chs.queue WHERE customer_id = 3) = 0', 'others do not');
	my $log = slurp_file($node->logfile, $offset);
	is(scalar(() = $log =~ /LOG: .*chs could not score customer \d+/g), 5, 'the log has five of them');
	is(scalar(() = $log =~ /LOG: .*chs could not score 45 further customers/g), 1, 'and says how many more there are');
	value('DROP INDEX chs.poison; UPDATE chs.failures SET next_attempt = now()');
	log_in($node, 'postgres', 3, 1);
	wait_right($node, 'postgres', 'and when the reason is gone they are scored');
}
is($node->safe_psql('postgres', q(SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'chs%' AND state LIKE 'idle in transaction%')), '0', 'nobody is idle in a transaction');

# On a server that waits for a synchronous standby that is not there.
value(q(ALTER SYSTEM SET synchronous_standby_names = 'nobody'));
$node->reload;
my $waiting = $node->background_psql('postgres', on_error_stop => 0, on_error_die => 0);
$waiting->query_until(qr/waits/, "\\echo waits\nCREATE TABLE waits ();\n");
wait_for("EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')", 'others wait for a synchronous standby');
value(q(SET synchronous_commit = local;
	INSERT INTO chs.customer_events (customer_id, event_type, event_data) SELECT n, 'login', '{"ip_address": "::1"}' FROM generate_series(1, 10) n));
wait_right($node, 'postgres', 'a worker waits for no synchronous standby');
value(q(SET synchronous_commit = local;
	INSERT INTO chs.customer_events (customer_id, event_type, event_data) SELECT n, 'login', '{"ip_address": "::1"}' FROM generate_series(1, 10) n));
ok($node->stop('fast', fail_ok => 1), 'nor does a fast shutdown');
eval { $waiting->quit };
done_testing();
