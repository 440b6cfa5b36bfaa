# Workers do not get in the way of statements about databases, and find the resulting databases.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('statements', 'chs.batch_size = 5');
$node->start;

# stuck_worker(DATABASE): a worker that is at work for ten minutes, unless somebody ends it.
sub stuck_worker
{
	my ($database) = @_;

	$node->safe_psql($database, q(
		CREATE FUNCTION slow(bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
			$$ BEGIN PERFORM pg_sleep(600) WHERE $1 = 11; RETURN $1; END $$;
		CREATE INDEX slow ON chs.customer_health (slow(customer_id));
		INSERT INTO chs.customers (customer_id, created_at) VALUES (11, '2020-01-01')));
	return worker_pid($node, 'chs worker', "datname = '$database' AND wait_event = 'PgSleep'");
}

# goes_through(STATEMENT, WHAT): no session is in the way, as one would be for five seconds and then for good.
sub goes_through
{
	my ($statement, $what) = @_;
	my $start = time;
	my $status = $node->psql('postgres', $statement, stderr => \my $error);

	is($status, 0, $what) or diag($error);
	cmp_ok(time - $start, '<', 5, "$what: at once");
}

# A worker that is busy makes way; the work is taken up afterwards.
$node->safe_psql('postgres', 'CREATE DATABASE original');
add_chs($node, 'original');
log_in($node, 'original', 1, 3);
wait_right($node, 'original', 'at the beginning');
my $pid = stuck_worker('original');
goes_through('CREATE DATABASE copy TEMPLATE original', 'CREATE DATABASE ... TEMPLATE of one with a busy worker');
isnt(worker_pid($node, 'chs worker', "datname = 'original' AND wait_event = 'PgSleep'"), $pid, 'the work is taken up again');
# Nobody commits in the copy, and naps are long: the statement itself has it found.
worker_pid($node, 'chs worker', "datname = 'copy' AND wait_event = 'PgSleep'");
pass('a worker comes for the copy, too');
$pid = worker_pid($node, 'chs worker', "datname = 'copy'");
goes_through('ALTER DATABASE copy RENAME TO renamed', 'RENAME of one with a busy worker');
isnt(worker_pid($node, 'chs worker', "datname = 'renamed' AND wait_event = 'PgSleep'"), $pid, 'a worker comes under the new name');

my $space = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', "CREATE TABLESPACE space LOCATION '$space'");
goes_through('ALTER DATABASE renamed SET TABLESPACE space', 'SET TABLESPACE of one with a busy worker');
worker_pid($node, 'chs worker', "datname = 'renamed' AND wait_event = 'PgSleep'");
pass('a worker comes after the move');

# Whoever does not own the database cannot have its worker ended.
$node->safe_psql('postgres', 'CREATE ROLE stranger LOGIN CREATEDB');
$pid = worker_pid($node, 'chs worker', "datname = 'renamed'");
for my $statement ('DROP DATABASE renamed', 'ALTER DATABASE renamed RENAME TO mine', 'CREATE DATABASE mine TEMPLATE renamed')
{
	isnt($node->psql('postgres', $statement, extra_params => [ '-U', 'stranger' ]), 0, "a stranger may not: $statement");
}
# A statement that is refused leaves the worker what it was.
is(worker_pid($node, 'chs worker', "datname = 'renamed'"), $pid, 'the worker is still the same');
isnt($node->psql('postgres', 'CREATE DATABASE renamed TEMPLATE original'), 0, 'a name that is taken');
worker_pid($node, 'chs worker', "datname = 'original' AND wait_event = 'PgSleep'");
pass('after a statement that failed the worker comes again');

goes_through('DROP DATABASE renamed', 'DROP DATABASE with a busy worker');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_database WHERE datname = 'renamed'"), '0', 'it is gone');
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'original' AND backend_type = 'chs worker'");
goes_through('DROP DATABASE original', 'and with one that was terminated a moment ago');

# A statement that is cancelled, or whose session is ended, lets workers in again.
$node->safe_psql('postgres', 'CREATE DATABASE kept');
add_chs($node, 'kept');
wait_right($node, 'kept', 'before');
for my $how ('pg_cancel_backend', 'pg_terminate_backend')
{
	my $guest = $node->background_psql('kept');
	my $dropper = $node->background_psql('postgres', on_error_stop => 0, on_error_die => 0);
	$dropper->query_until(qr/dropping/, "\\echo dropping\nDROP DATABASE kept;\n");
	my $pid = "SELECT pid FROM pg_stat_activity WHERE query = 'DROP DATABASE kept;' AND state = 'active'";
	$node->poll_query_until('postgres', "SELECT EXISTS ($pid)") or die 'nobody drops';
	$node->safe_psql('postgres', "SELECT $how(pid) FROM ($pid) p");
	$node->poll_query_until('postgres', "SELECT NOT EXISTS ($pid)") or die 'still dropping';
	eval { $dropper->quit };
	$guest->quit;
	log_in($node, 'kept', 1, 1);
	wait_right($node, 'kept', "after $how of DROP DATABASE a worker comes again");
}

# A worker with a backlog leaves a database that becomes a template.
$node->safe_psql('kept', q(
	CREATE FUNCTION gate(bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
		$$ BEGIN PERFORM pg_advisory_xact_lock_shared(4711) WHERE $1 = 20; RETURN $1; END $$;
	CREATE INDEX gate ON chs.customer_health (gate(customer_id))));
{
	my $gate = $node->background_psql('kept');
	$gate->query_safe('BEGIN; SELECT pg_advisory_xact_lock(4711)');
	$node->safe_psql('kept', q(INSERT INTO chs.customers (customer_id, created_at) SELECT i, '2020-01-01' FROM generate_series(11, 60) i));
	worker_pid($node, 'chs worker', "datname = 'kept' AND wait_event = 'advisory'");
	$node->safe_psql('postgres', 'ALTER DATABASE kept IS_TEMPLATE true');
	# the launcher has looked once it knows of a database that came later
	$node->safe_psql('postgres', 'CREATE DATABASE later');
	add_chs($node, 'later');
	wait_right($node, 'later', 'a database that comes later is served');
	$gate->query_safe('COMMIT');
	$gate->quit;
	ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'chs worker' AND datname = 'kept')"), 'a busy worker leaves what became a template');
	is($node->safe_psql('kept', 'SELECT count(*) > 20 FROM chs.queue'), 't', 'with most of the work left');
	$node->safe_psql('postgres', 'ALTER DATABASE kept IS_TEMPLATE false');
	wait_right($node, 'kept', 'which is done when it is none any more');
}

# A rename that is prepared lets workers in again, too, although its session is gone.
$node->safe_psql('postgres', q(BEGIN; ALTER DATABASE kept RENAME TO kept_on; PREPARE TRANSACTION 'rename'));
$node->safe_psql('postgres', q(COMMIT PREPARED 'rename'));
log_in($node, 'kept_on', 1, 1);
wait_right($node, 'kept_on', 'after a rename in two phases a worker comes again');

# CREATE DATABASE without TEMPLATE copies template1, which need not be one.
$node->safe_psql('postgres', 'ALTER DATABASE template1 IS_TEMPLATE false');
add_chs($node, 'template1');
stuck_worker('template1');
goes_through('CREATE DATABASE copy', 'CREATE DATABASE while template1 has a busy worker');
$node->safe_psql('postgres', 'ALTER DATABASE template1 IS_TEMPLATE true');
$node->safe_psql('postgres', 'DROP DATABASE copy');
$node->safe_psql('template1', q(SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE backend_type = 'chs worker' AND datname = 'template1'));
$node->safe_psql('template1', 'DROP EXTENSION chs; DROP FUNCTION slow');

# A prepared transaction wakes the worker when it is committed, by whatever session.
$node->safe_psql('postgres', 'CREATE DATABASE two_phase');
add_chs($node, 'two_phase');
wait_right($node, 'two_phase', 'before');
$node->safe_psql('two_phase', q(
	BEGIN;
	SELECT chs_record_event(7, 'login', '{"ip_address": "::1"}');
	PREPARE TRANSACTION 'p';
	BEGIN;
	SELECT chs_record_event(8, 'login', '{"ip_address": "::1"}');
	PREPARE TRANSACTION 'q'));
ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'chs worker')"), 'nobody is awake');
$node->safe_psql('two_phase', "COMMIT PREPARED 'p'");
wait_right($node, 'two_phase', 'a prepared transaction is folded as soon as it is committed');
is($node->safe_psql('two_phase', "SELECT value FROM chs_explain(7) WHERE metric = 'logins'"), '1', 'it counts');
$node->safe_psql('two_phase', "ROLLBACK PREPARED 'q'");
is_right($node, 'two_phase', 'and one that is rolled back does not');
$node->safe_psql('postgres', 'CREATE DATABASE all_prepared');
$node->safe_psql('all_prepared', q(
	BEGIN;
	CREATE EXTENSION chs;
	INSERT INTO chs.customers (customer_id, created_at) VALUES (1, '2020-01-01');
	PREPARE TRANSACTION 'p'));
ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'chs worker')"), 'nobody is awake');
$node->safe_psql('all_prepared', "COMMIT PREPARED 'p'");
wait_right($node, 'all_prepared', 'CREATE EXTENSION that was prepared is noticed');

# The extension in a template: no worker in the template, one in what is made of it.
$node->safe_psql('template1', 'CREATE EXTENSION chs; INSERT INTO chs.customers (customer_id, created_at) VALUES (1, $$2020-01-01$$)');
$node->safe_psql('postgres', 'CREATE DATABASE born');
wait_right($node, 'born', 'a database born with customers is folded, although nobody committed in it');
is($node->safe_psql('template1', 'SELECT count(*) FROM chs.customer_health'), '0', 'the template is left alone');
is($node->safe_psql('template1', 'SELECT state FROM chs.worker_status'), 'excluded', 'as it says itself');
$node->safe_psql('postgres', "ALTER DATABASE born IS_TEMPLATE true");
log_in($node, 'born', 1, 1);
is_right($node, 'born', 'one that became a template has right scores');
$node->safe_psql('postgres', "ALTER DATABASE born IS_TEMPLATE false");
wait_right($node, 'born', 'and is served again when it is none any more');

$node->safe_psql('template1', 'DROP EXTENSION chs');

# Only the databases that chs.databases names.
$node->safe_psql('postgres', 'CREATE DATABASE "Odd, name"');
add_chs($node, 'Odd, name');
wait_right($node, 'Odd, name', 'with chs.databases empty every database is served');
$node->append_conf('postgresql.conf', q(chs.databases = 'two_phase, "Odd, name"'));
$node->reload;
ok($node->poll_query_until('born', "SELECT state = 'excluded' AND pid IS NULL FROM chs.worker_status"), 'one that is not named says so');
log_in($node, 'born', 1, 1);
log_in($node, 'Odd, name', 1, 1);
wait_right($node, 'Odd, name', 'one that is named goes on');
is($node->safe_psql('born', 'SELECT count(*) > 0 FROM chs.queue'), 't', 'the other is not folded');
is_right($node, 'born', 'though its scores are right');
$node->append_conf('postgresql.conf', q(chs.databases = ''));
$node->reload;
wait_right($node, 'born', 'named again, or everybody: it is folded');
$node->append_conf('postgresql.conf', q(chs.databases = 'a,,b'));
$node->reload;
ok($node->wait_for_log(qr/invalid value for parameter "chs.databases"/), 'a list with an error is refused');

$node->stop;
# No line about a database that is no more, and none about workers that were ended.
is_quiet($node, qr/(ERROR|PANIC|WARNING|FATAL): (?!.*(must be owner|permission denied to copy|already exists|administrator command|canceling statement))|terminated by signal/, 'the log is quiet otherwise');
done_testing();
