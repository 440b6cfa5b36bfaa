# A UTC day begins: the worker scores everyone again, according to a clock that the test sets.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('day', "timezone = 'America/New_York'\nchs.batch_size = 20");
my %clock = make_clock($node) or plan skip_all => 'the clock cannot be compiled';
set_clock($node, 1800);
{
	local @ENV{keys %clock} = values %clock;
	$node->start;
}
is($node->safe_psql('postgres', "SELECT to_char(now() AT TIME ZONE 'UTC', 'HH24:MI') BETWEEN '23:29' AND '23:35'"), 't', 'the clock is ours');

add_chs($node, 'postgres');
# Ten logins that the 30-day window sees for the last time today, and one from today.
$node->safe_psql('postgres', q(
	INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
	SELECT 1, 'login', '{"ip_address": "::1"}'::jsonb, now() - interval '29 days' FROM generate_series(1, 10)
	UNION ALL SELECT 1, 'login', '{"ip_address": "::1"}', now()));
wait_right($node, 'postgres', 'before midnight all is folded');
my $today = $node->safe_psql('postgres', "SELECT (now() AT TIME ZONE 'UTC')::date");
my $logins = "SELECT value FROM chs_explain(1) WHERE metric = 'logins'";
is($node->safe_psql('postgres', $logins), '11', 'eleven logins');
is($node->safe_psql('postgres', 'SELECT DISTINCT as_of FROM chs.customer_health'), $today, 'health is of today');
my $score = $node->safe_psql('postgres', 'SELECT score FROM chs.customer_health WHERE customer_id = 1');
ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'chs worker')"), 'the worker has left');

# Three seconds to go.  A reload makes the launcher look at the clock, and see that it is too early.
set_clock($node, 3);
$node->reload;
ok($node->poll_query_until('postgres', "SELECT bool_and(as_of = '$today'::date + 1) FROM chs.customer_health"), 'the day has begun for everyone');
is($node->safe_psql('postgres', "SELECT (now() AT TIME ZONE 'UTC')::date = '$today'::date + 1"), 't', 'as it has by the clock');
is($node->safe_psql('postgres', $logins), '1', 'one login is left');
isnt($node->safe_psql('postgres', 'SELECT score FROM chs.customer_health WHERE customer_id = 1'), $score, 'the stored score has moved');
is($node->safe_psql('postgres', 'SELECT count(*) FROM chs_verify()'), '0', 'chs_verify finds nothing');
is($node->safe_psql('postgres', 'SELECT count(*) FROM chs.customers c JOIN chs.customer_health h USING (customer_id) WHERE h.score IS DISTINCT FROM chs_score(customer_id)'),
	'0', 'all stored scores are those of the new day');
is($node->safe_psql('postgres', "SELECT count(*) FROM chs.health_scores WHERE as_of = '$today'::date + 1"), '10', 'the history has a row for the new day of each customer');
is($node->safe_psql('postgres', "SELECT (calculated_at AT TIME ZONE 'UTC')::date = '$today'::date + 1 FROM chs.customer_health WHERE customer_id = 10"), 't',
	'also of one without events');

# The next day, with many customers: they are scored in slices, with fresh events in between.
# (Events that no window sees any more would be missed by the checks.)
$node->safe_psql('postgres', "DELETE FROM chs.customer_events WHERE occurred_at < now() - interval '10 days'");
$node->safe_psql('postgres', q(
	INSERT INTO chs.customers (customer_id, created_at) SELECT i, '2020-01-01' FROM generate_series(11, 1200) i));
wait_right($node, 'postgres', 'with more customers');
$node->safe_psql('postgres', q(
	CREATE FUNCTION gate(bigint, timestamptz) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
		$$ BEGIN PERFORM pg_advisory_xact_lock_shared(4711) WHERE $1 = 600; RETURN $1; END $$;
	CREATE INDEX gate ON chs.customer_health (gate(customer_id, calculated_at))));
my $gate = $node->background_psql('postgres');
$gate->query_safe('BEGIN; SELECT pg_advisory_xact_lock(4711)');
set_clock($node, 3 - 86400);
$node->reload;
worker_pid($node, 'chs worker', "wait_event_type = 'Lock'");
is($node->safe_psql('postgres', "SELECT as_of - '$today'::date FROM chs.customer_health WHERE customer_id IN (1, 500, 700) ORDER BY customer_id"), "2\n2\n1",
	'some slices are done when the worker is stopped in one');
log_in($node, 'postgres', 1, 5);
is_right($node, 'postgres', 'scores are right');
$gate->query_safe('COMMIT');
$gate->quit;
wait_right($node, 'postgres', 'then everyone is scored for the day');
is($node->safe_psql('postgres', 'SELECT (SELECT calculated_at FROM chs.customer_health WHERE customer_id = 1) < calculated_at FROM chs.customer_health WHERE customer_id = 1200'),
	't', 'the fresh event did not wait for the last slice');
is($node->safe_psql('postgres', "SELECT count(DISTINCT customer_id) FROM chs.health_scores WHERE as_of = '$today'::date + 2"), '1200', 'the history has the day, a row of each customer');
like(slurp_file($node->logfile), qr/LOG:  chs scored 1\d\d\d customers of database "postgres" for a new day/, 'the log tells of it, in one line');

# A worker that fails occasionally, long after it was started, is replaced soon, even if none ends properly in between.
my $held = $node->background_psql('postgres');
$held->query_safe('BEGIN; SELECT chs_recalculate(1)');
log_in($node, 'postgres', 1, 1);
my ($pid, $replaced) = (0, 0);
for my $round (1 .. 9)
{
	$pid = worker_pid($node, 'chs worker', "pid <> $pid");
	set_clock($node, -86400 - 3600 - 600 * $round);
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 60000)");
	# after a second, or two
	set_clock($node, -86400 - 3600 - 600 * $round - 3);
	$node->reload;
	$replaced += $node->poll_query_until('postgres', "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'chs worker' AND pid <> $pid)");
	last if $replaced < $round;
}
is($replaced, 9, 'a worker that fails now and then is replaced soon');
$held->query_safe('COMMIT');
$held->quit;
wait_right($node, 'postgres', 'and the next one does its work');
$node->stop;
done_testing();
