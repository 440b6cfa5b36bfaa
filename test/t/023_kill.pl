# Workers and the server are killed at random, under all kinds of writes: no event is lost or counted twice.
# CHS_FULL=1 takes fifty rounds instead of a few; CHS_SEED repeats a run.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $seed = $ENV{CHS_SEED} || time;
note("seed $seed");
srand($seed);

my $node = new_node('kill', "restart_after_crash = on\nchs.batch_size = 5\nchs.max_workers = 3\nmax_prepared_transactions = 20");
$node->start;
add_chs($node, 'postgres');
$node->safe_psql('postgres', q(
	INSERT INTO chs.customers (customer_id, created_at) SELECT i, '2020-01-01' FROM generate_series(11, 100) i;
	CREATE TABLE calls (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer bigint NOT NULL, path text, at timestamptz NOT NULL DEFAULT now());
	CREATE INDEX ON calls (customer, at);
	SELECT chs_attach('calls', 'customer', $$'api_call'$$, 'at', $$jsonb_build_object('endpoint', path)$$)));
wait_right($node, 'postgres', 'at the beginning');

# Single events, several customers at once, deletes, changes, customers that come and go, savepoints, two phases;
# and rows of an attached table, some of which cannot be used, or not yet.
my $writes = q(
\set c random(1, 90)
\set what random(1, 150)
\if :what <= 50
	INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (:c, 'login', '{"ip_address": "::1"}');
\elif :what <= 70
	INSERT INTO chs.customer_events (customer_id, event_type, event_data)
	SELECT i, 'login', '{"ip_address": "::1"}' FROM generate_series(:c, :c + 9) i;
\elif :what <= 76
	DELETE FROM chs.customer_events WHERE customer_id = :c AND event_id % 3 = 0;
\elif :what <= 80
	UPDATE chs.customer_events SET event_type = 'login' WHERE customer_id = :c AND event_id % 7 = 0;
\elif :what <= 84
	UPDATE chs.customers SET segment = 'smb' WHERE customer_id = :c;
\elif :what <= 88
	BEGIN;
	INSERT INTO chs.customers (customer_id, created_at) VALUES (1000 + :client_id, '2020-01-01') ON CONFLICT DO NOTHING;
	INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (1000 + :client_id, 'login', '{"ip_address": "::1"}');
	COMMIT;
\elif :what <= 90
	DELETE FROM chs.customers WHERE customer_id = 1000 + :client_id;
\elif :what <= 95
	BEGIN;
	INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (:c, 'login', '{"ip_address": "::1"}');
	SAVEPOINT s;
	INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (:c + 1, 'login', '{"ip_address": "::1"}');
	ROLLBACK TO s;
	INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (:c + 2, 'login', '{"ip_address": "::1"}');
	COMMIT;
\elif :what <= 120
	INSERT INTO calls (customer, path) VALUES (:c, 'a');
\elif :what <= 130
	INSERT INTO calls (customer, path) SELECT i, nullif(i % 5, 0) FROM generate_series(:c, :c + 9) i;
\elif :what <= 134
	DELETE FROM calls WHERE customer = :c AND id % 3 = 0;
\elif :what <= 138
	UPDATE calls SET customer = customer + 1, path = 'b' WHERE customer = :c AND id % 5 = 0;
\elif :what <= 142
	INSERT INTO calls (customer, path) VALUES (1000 + :client_id, 'c');
\elif :what <= 145
	BEGIN;
	INSERT INTO calls (customer, path) VALUES (:c, 'd');
	INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (:c, 'login', '{"ip_address": "::1"}');
	PREPARE TRANSACTION 'two phases :client_id';
	COMMIT PREPARED 'two phases :client_id';
\else
	BEGIN;
	INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (:c, 'login', '{"ip_address": "::1"}');
	PREPARE TRANSACTION 'two phases :client_id';
	COMMIT PREPARED 'two phases :client_id';
\endif
);

# end_prepared(): commits or rolls back what a crash left prepared.
sub end_prepared
{
	for my $gid (split /\n/, $node->safe_psql('postgres', 'SELECT gid FROM pg_prepared_xacts'))
	{
		$node->safe_psql('postgres', (rand() < 0.5 ? 'COMMIT' : 'ROLLBACK') . " PREPARED '$gid'");
	}
}

# calls_are_right(WHAT): every row of the attached table counts once or has been rejected; by plain SQL.
sub calls_are_right
{
	my ($what) = @_;

	is($node->safe_psql('postgres', q(
		SELECT customer_id, e.value, count(c.id) FROM chs.customers CROSS JOIN LATERAL chs_explain(customer_id) e
		LEFT JOIN calls c ON c.customer = customer_id AND c.path IS NOT NULL
		WHERE e.metric = 'api_calls' GROUP BY 1, 2 HAVING COALESCE(e.value, 0) <> count(c.id)
		UNION ALL
		SELECT c.customer, c.id, NULL FROM calls c
		WHERE c.path IS NULL AND NOT EXISTS (SELECT FROM chs.rejected_events r WHERE r.event_row->>'id' = c.id::text))),
		'', $what);
}

# signal_worker(SIGNAL): sends it to a worker, if one is found; returns its pid.
my $most_workers = 0;
sub signal_worker
{
	my ($signal) = @_;
	my @pids = split /\n/, $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'chs worker'");

	$most_workers = @pids if @pids > $most_workers;
	my $pid = @pids ? $pids[ rand @pids ] : 0;
	return $pid && kill($signal, $pid) && $pid;
}

# Makes the server restart itself, and waits until it has.  A worker that was just ending by itself has no effect.
sub kill_worker
{
	my $pid = signal_worker('KILL') or return;

	# the server accepts nobody between its end and the restart
	usleep(1000) while kill(0, $pid);
	$node->poll_query_until('postgres', 'SELECT true') or die 'the server does not come back';
}

sub restart
{
	my ($mode) = @_;

	$node->stop($mode);
	$node->start;
}

my @ways = (
	[ 'SIGTERM of a worker', sub { signal_worker('TERM') } ],
	[ 'SIGKILL of a worker', sub { kill_worker() } ],
	[ 'immediate shutdown', sub { restart('immediate') } ],
	[ 'fast shutdown', sub { restart('fast') } ],
	[ 'SIGTERM, then SIGKILL', sub { signal_worker('TERM'); kill_worker() } ]);
my $rounds = $ENV{CHS_FULL} ? 50 : 4;
my ($way, $load);
for my $round (1 .. $rounds)
{
	$load = start_load($node, 'postgres', $writes) unless $load;
	usleep(50_000 + rand 600_000);
	$way = $ways[ $round <= @ways ? $round - 1 : rand @ways ];
	$way->[1]->();
	# Clients outlive the end of a worker.
	if ($way->[0] ne 'SIGTERM of a worker' || $round % 2)
	{
		stop_load($load);
		undef $load;
		end_prepared();
	}
	is_right($node, 'postgres', "round $round, $way->[0]: scores are right at once");
	calls_are_right('those of the attached table, too');
}
stop_load($load) if $load;
end_prepared();
wait_right($node, 'postgres', 'in the end everything is folded');
calls_are_right('as is the attached table');
is($node->safe_psql('postgres', q(
	SELECT chs_retry_rejected() - (SELECT count(*) FROM calls WHERE path IS NULL OR customer NOT IN (SELECT customer_id FROM chs.customers)))),
	'0', 'of which just those rows are listed that cannot be used');
note("at most $most_workers workers; " . $node->safe_psql('postgres', 'SELECT (SELECT count(*) FROM chs.customer_events), (SELECT count(*) FROM calls), (SELECT count(*) FROM chs.rejected_events)'));
# Once more, in plain SQL that shares nothing with the engine: the history ends with what is stored.
is($node->safe_psql('postgres', q(
	SELECT count(*) FROM chs.customer_health h
	WHERE h.recorded_score IS DISTINCT FROM (
		SELECT s.score FROM chs.health_scores s WHERE s.customer_id = h.customer_id ORDER BY health_score_id DESC LIMIT 1))),
	'0', 'the history agrees');
is($node->safe_psql('postgres', q(
	SELECT (SELECT row(total, healthy, at_risk, critical, unknown) FROM chs.dashboard_stats)
		 = (SELECT row(count(*), count(*) FILTER (WHERE status = 'healthy'), count(*) FILTER (WHERE status = 'at_risk'),
					   count(*) FILTER (WHERE status = 'critical'), count(*) FILTER (WHERE status = 'unknown')) FROM chs.customer_health))),
	't', 'and so do the counts of the dashboard');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM chs.customer_events'), '>', 20 * $rounds, 'there was load');
$node->stop;
is_quiet($node, qr/PANIC:|TRAP:|terminated by signal (?!9)|deadlock|written concurrently|tuple concurrently/, 'nothing crashed but what was killed, nothing was in conflict');
done_testing();
