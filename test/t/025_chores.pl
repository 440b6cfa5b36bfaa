# What workers do besides scoring fails separately: scores stay fresh, chs.worker_status has the error, and the log has it once.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('chores');
$node->start;
add_chs($node, 'postgres');
log_in($node, 'postgres', 1, 3);
wait_right($node, 'postgres', 'at the beginning');

sub value { return $node->safe_psql('postgres', $_[0]); }
sub wait_for { my ($query, $what) = @_; ok($node->poll_query_until('postgres', "SELECT $query"), $what); }
sub lines_of { my ($pattern) = @_; my @lines = slurp_file($node->logfile) =~ /$pattern/g; return scalar(@lines); }

# attempts(N): waits until the worker has done its housekeeping N more times, as its failures show.
sub attempts
{
	my ($n) = @_;

	for (1 .. $n)
	{
		my $before = value('SELECT last_error_at FROM chs.worker_status WHERE worker = 1');
		$node->poll_query_until('postgres', "SELECT last_error_at > '$before' FROM chs.worker_status WHERE worker = 1") or die 'no attempt';
	}
}

# What housekeeping needs is locked by somebody whose transaction stays open.
my $open = $node->background_psql('postgres');
$open->query_safe('BEGIN; LOCK TABLE chs.retention IN ACCESS EXCLUSIVE MODE');
value(q(ALTER SYSTEM SET chs.event_retention = '150d'));
value(q(ALTER SYSTEM SET chs.naptime = 1));
$node->reload;
wait_for(q(last_error = 'canceling statement due to lock timeout' FROM chs.worker_status WHERE worker = 1), 'housekeeping does not wait for a lock for long');
log_in($node, 'postgres', 3, 1);
wait_for('NOT EXISTS (SELECT FROM chs.queue WHERE customer_id = 3)', 'and scores do not wait with it');
$open->query_safe('COMMIT');
$open->quit;
wait_for(q(complete FROM chs.retention_status WHERE kind = 'events'), 'when the lock is gone it is done');
value('ALTER SYSTEM RESET chs.event_retention');
value('DELETE FROM chs.retention');
$node->reload;

# Deleting old events fails because of a user's trigger; deleting history, which comes next, does not.
value(q(
	INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
	SELECT n % 10 + 1, 'login', '{"ip_address": "::1"}', now() - interval '200 days' FROM generate_series(1, 20) n;
	INSERT INTO chs.health_scores (customer_id, score, status, coverage, factor_scores, scorecard, version, as_of, calculated_at)
	SELECT n % 10 + 1, 50, 'at_risk', 1, '{}', 'default', 1, '2020-01-01', '2020-01-01' FROM generate_series(1, 20) n;
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'nothing is deleted here'; END $$;
	CREATE TRIGGER refuse BEFORE DELETE ON chs.customer_events FOR EACH STATEMENT EXECUTE FUNCTION refuse();
	ALTER TABLE chs.customer_events ENABLE ALWAYS TRIGGER refuse;
	ALTER SYSTEM SET chs.event_retention = '150d';
	ALTER SYSTEM SET chs.history_retention = '150d';
	ALTER SYSTEM SET chs.naptime = 1));
$node->reload;
wait_for(q(last_error = 'nothing is deleted here' FROM chs.worker_status WHERE worker = 1), 'chs.worker_status shows why old events are not deleted');
wait_for(q(complete AND deleted = 20 FROM chs.retention_status WHERE kind = 'history'), 'old history is deleted all the same');
value(q(INSERT INTO chs.customers (customer_id, created_at) VALUES (11, '2020-01-01')));
wait_for('EXISTS (SELECT FROM chs.customer_health WHERE customer_id = 11)', 'and customers are scored');
attempts(2);
is(lines_of(qr/ERROR: .*nothing is deleted here/), 1, 'it is tried again and again, and the log has it once');
like(slurp_file($node->logfile), qr/ERROR: .*nothing is deleted here.*CONTEXT: .*chs worker in database "postgres", deleting old events/s, 'and what it was at');
value(q(CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'still nothing'; END $$));
wait_for(q(last_error = 'still nothing' FROM chs.worker_status WHERE worker = 1), 'another error');
attempts(1);
is(lines_of(qr/ERROR: .*still nothing/), 1, 'is news for the log');
value('DROP TRIGGER refuse ON chs.customer_events');
wait_for(q(complete AND deleted = 20 FROM chs.retention_status WHERE kind = 'events'), 'without the reason it succeeds');
is(value('SELECT count(*) FROM pg_stat_activity WHERE backend_type = $$chs launcher$$'), '1', 'nobody was ended');
value('ALTER SYSTEM RESET chs.event_retention');
value('ALTER SYSTEM RESET chs.history_retention');
value('ALTER SYSTEM RESET chs.naptime');
$node->reload;
wait_right($node, 'postgres', 'and all is right');

# Missing customers cannot be looked for, since somebody has locked the table.
value(q(
	CREATE TABLE logins (account text, ip_address text, at timestamptz);
	SELECT chs_attach('logins', 'account', 'login', 'at', customer_key => 'external_id');
	UPDATE chs.customers SET external_id = 'c' || customer_id WHERE customer_id < 5;
	SELECT chs_pause('until the table is locked');
	INSERT INTO logins VALUES ('nobody', 'x', now()), ('c1', 'x', now())));
my $locker = $node->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE chs.missing_customers IN SHARE MODE');
value('SELECT chs_resume()');
wait_for(q(NOT EXISTS (SELECT FROM chs.queue)), 'the queue is folded while missing customers cannot be looked for');
is(value(q(SELECT value FROM chs_explain(1) WHERE metric = 'logins')), '4', 'and what could be used counts');
is(value('SELECT external_id FROM chs.missing_customers'), 'nobody', 'one is missing');
$locker->query_safe('COMMIT');
$locker->quit;
wait_for(q(NOT EXISTS (SELECT FROM chs.missing_customers)), 'and is looked for then');
is(value('SELECT * FROM chs_verify()'), '', 'chs_verify finds nothing');
is_quiet($node, qr/(PANIC|FATAL): |terminated by signal|exited with exit code/, 'no process was ended');
$node->stop;
done_testing();
