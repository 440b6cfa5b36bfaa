# A full notification queue: scores stay fresh, the log says once that announcements stop, and once that they resume.
# From PostgreSQL 17 on the queue can be made small; before that it has eight gigabytes, which CHS_FULL=1 fills.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('notify_full', 'chs.batch_size = 3000');
my $small = $node->pg_version >= 17;
plan skip_all => 'the queue of notifications has eight gigabytes (CHS_FULL)' unless $small || $ENV{CHS_FULL};
$node->append_conf('postgresql.conf', 'max_notify_queue_pages = 64') if $small;
$node->start;
add_chs($node, 'postgres');
wait_right($node, 'postgres', 'at the beginning');

sub value { return $node->safe_psql('postgres', $_[0]); }
sub lines_of { my ($pattern) = @_; my @lines = slurp_file($node->logfile) =~ /$pattern/g; return scalar(@lines); }
my $usage = 'SELECT pg_notification_queue_usage()';

# fill(SHARE): notifications from others, a page each, until this share of the queue is used.
sub fill
{
	my ($share) = @_;

	$node->psql('postgres', qq(
		DO \$\$ BEGIN
			WHILE pg_notification_queue_usage() < $share LOOP
				FOR i IN 1 .. least(1000, (SELECT setting::integer FROM pg_settings WHERE name = 'max_notify_queue_pages') / 32) LOOP
					PERFORM pg_notify('others', repeat('x', 7990) || i);
				END LOOP;
				COMMIT;
			END LOOP;
		END \$\$));
}

# change(CUSTOMER): gives a customer another status; returns once that is stored.
my $well = q(
	INSERT INTO chs.customer_events (customer_id, event_type, event_data)
	SELECT c, e.t, e.d FROM unnest(%s) c, (
		SELECT 'login' AS t, jsonb_build_object('ip_address', '::1', 'user_id', i) AS d FROM generate_series(1, 20) i
		UNION ALL SELECT 'api_call', jsonb_build_object('endpoint', i %% 5, 'status_code', 200) FROM generate_series(1, 300) i
		UNION ALL SELECT 'feature_use', jsonb_build_object('feature_name', i, 'tier', 'advanced') FROM generate_series(1, 8) i) e);
sub change
{
	my ($customer, $what) = @_;

	value(sprintf($well, "'{$customer}'::bigint[]"));
	ok($node->poll_query_until('postgres', "SELECT status = 'healthy' FROM chs.customer_health WHERE customer_id = $customer"), $what);
}

# heard(LISTENER): customers whose change was announced since the last time.
sub heard
{
	my ($listener) = @_;
	my @heard;

	value("NOTIFY chs_status, 'end'");
	until (@heard && $heard[-1] eq 'end')
	{
		my $out = $listener->query('SELECT pg_sleep(0.1)');
		push @heard, map { /"customer_id": (\d+)/ ? $1 : $_ } $out =~ /notification "chs_status" with payload "(.*?)" received/g;
	}
	pop @heard;
	return join(' ', @heard);
}

# A session that listens and keeps a transaction open.
my $listener = $node->background_psql('postgres');
$listener->set_query_timer_restart;
$listener->query_safe('LISTEN chs_status');
change(1, 'the queue is empty: scored');
is(heard($listener), '1', 'and announced');
$listener->query_safe('BEGIN');
fill(0.8);
cmp_ok(value($usage), '>', 0.75, 'the queue is nearly full');
for my $customer (2 .. 4)
{
	change($customer, "customer $customer is scored");
	# another worker comes for the next one
	$node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'chs worker')") or die;
}
is(lines_of(qr/LOG: .*chs does not announce changes of status/), 1, 'three workers: the log says once that nothing is announced');
is(value('SELECT string_agg(customer_id::text, $$ $$ ORDER BY customer_id) FROM chs.status_changes WHERE previous_status IS NOT NULL'), '1 2 3 4', 'chs.status_changes has what was not');

# Full to the last page: the worker does not try.
fill(2);
isnt($node->psql('postgres', q(SELECT pg_notify('others', repeat('x', 7990) || i) FROM generate_series(1, 3) i), stderr => \my $error), 0, 'nobody can notify any more');
like($error, qr/too many notifications/, 'as the server says');
change(5, 'but scores are fresh');
wait_right($node, 'postgres', 'all of them');

$listener->query_safe('COMMIT');
$node->poll_query_until('postgres', 'SELECT pg_notification_queue_usage() < 0.4') or die;
change(6, 'with room again: scored');
is(heard($listener), '6', 'and announced');
is(lines_of(qr/LOG: .*chs has resumed announcing changes of status/), 1, 'as the log says once');
is(value('SELECT count(*) FROM chs.worker_status WHERE last_error IS NOT NULL'), '0', 'no worker had an error');

# It fills between the worker's look at it and the end of its transaction: that one fails, and the next one does not.
value(q(
	CREATE FUNCTION gate(bigint, timestamptz) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
		$$ BEGIN PERFORM pg_advisory_xact_lock_shared(4711) WHERE $1 = 8; RETURN $1; END $$;
	CREATE INDEX gate ON chs.customer_health (gate(customer_id, calculated_at))));
my $gate = $node->background_psql('postgres');
$gate->query_safe('BEGIN; SELECT pg_advisory_xact_lock(4711)');
$listener->query_safe('BEGIN');
value(sprintf($well, "'{7, 8}'::bigint[]"));
worker_pid($node, 'chs worker', "wait_event = 'advisory'");
fill(2);
$gate->query_safe('COMMIT');
$gate->quit;
ok($node->poll_query_until('postgres', "SELECT count(*) = 2 FROM chs.customer_health WHERE customer_id IN (7, 8) AND status = 'healthy'"),
	'filled at the last moment: a worker fails, another one scores');
like(value('SELECT last_error FROM chs.worker_status WHERE worker = 1'), qr/too many notifications/, 'chs.worker_status has the error');
value('DROP INDEX chs.gate');
$listener->query_safe('COMMIT');
$listener->query_safe('UNLISTEN *');
$node->poll_query_until('postgres', 'SELECT pg_notification_queue_usage() < 0.4') or die;

# More changes in one transaction than an empty queue has room for.
SKIP:
{
	skip 'the queue has place for millions', 4 unless $small;
	value(q(INSERT INTO chs.customers (customer_id, created_at) SELECT i, '2020-01-01' FROM generate_series(11, 2510) i));
	wait_right($node, 'postgres', 'with more customers');
	my $before = value('SELECT count(*) FROM chs.status_changes WHERE previous_status IS NOT NULL');
	value(q(UPDATE chs.scorecards SET at_risk_from = 0; SELECT chs_publish('nobody is critical')));
	ok($node->poll_query_until('postgres', 'SELECT bool_and(version = 2) FROM chs.customer_health'), 'thousands of changes in a few transactions: all are stored');
	cmp_ok(value('SELECT count(*) FROM chs.status_changes WHERE previous_status IS NOT NULL') - $before, '>', 2400, 'really');
	like(slurp_file($node->logfile), qr/LOG: .*chs announces only some of the changes of status/, 'the log tells that not all are announced');
}
wait_right($node, 'postgres', 'in the end');
is(lines_of(qr/\[\d+\] ERROR: .*too many notifications/), 1, 'one worker failed, once');
$node->stop;
done_testing();
