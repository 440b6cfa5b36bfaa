# Each change of a status is announced once, by whoever stores it.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;

my $node = new_node('announce', "chs.batch_size = 3\nchs.max_workers = 2");
$node->start;
add_chs($node, 'postgres');
wait_right($node, 'postgres', 'at the beginning');
my $listener = $node->background_psql('postgres');
$listener->query_safe('LISTEN chs_status');

# heard(): the announcements since the last call, without the time; one line each.
sub heard
{
	my @heard;

	# psql prints what has arrived after a statement.
	$node->safe_psql('postgres', "NOTIFY chs_status, 'end'");
	for (1 .. 600)
	{
		my $out = $listener->query('SELECT 1');
		push @heard, $out =~ /with payload "(.*?)" received/g;
		last if @heard && $heard[-1] eq 'end';
		Time::HiRes::usleep(100_000);
	}
	is(pop @heard, 'end', 'all is heard');
	s/, "calculated_at": "\d{4}-\d\d-\d\dT[\d:.]+\+00:00"\}$/}/ for @heard;
	return @heard;
}

is(join("\n", heard()), '', 'first scores are no changes');

# By the worker.
my $old = $node->safe_psql('postgres', 'SELECT score FROM chs.customer_health WHERE customer_id = 1');
$node->safe_psql('postgres', q(
	INSERT INTO chs.customer_events (customer_id, event_type, event_data)
	SELECT 1, 'login', jsonb_build_object('ip_address', '::1', 'user_id', i) FROM generate_series(1, 20) i
	UNION ALL SELECT 1, 'api_call', jsonb_build_object('endpoint', i % 5, 'status_code', 200) FROM generate_series(1, 300) i
	UNION ALL SELECT 1, 'feature_use', jsonb_build_object('feature_name', i, 'tier', 'advanced') FROM generate_series(1, 8) i));
wait_right($node, 'postgres', 'somebody is well now');
my $new = $node->safe_psql('postgres', 'SELECT score FROM chs.customer_health WHERE customer_id = 1');
is(join("\n", heard()), qq({"customer_id": 1, "old_status": "critical", "new_status": "healthy", "old_score": $old, "new_score": $new}),
	'the worker announces it');
log_in($node, 'postgres', 1, 1);
wait_right($node, 'postgres', 'another event');
is(join("\n", heard()), '', 'which changes no status, is not announced');

# By hand.
$node->safe_psql('postgres', 'ALTER SYSTEM SET chs.enabled = off');
$node->reload;
$node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'chs worker')");
$node->safe_psql('postgres', 'DELETE FROM chs.customer_events WHERE customer_id = 1; BEGIN; SELECT chs_recalculate(1); ROLLBACK');
is(join("\n", heard()), '', 'what is rolled back is not announced');
$node->safe_psql('postgres', 'SELECT chs_recalculate(1), chs_recalculate(1)');
my @by_hand = heard();
is(scalar(@by_hand), 1, 'by hand: once');
like($by_hand[0], qr/"customer_id": 1, "old_status": "healthy", "new_status": "critical"/, 'and rightly');
$node->safe_psql('postgres', 'ALTER SYSTEM SET chs.enabled = on');
$node->reload;
wait_right($node, 'postgres', 'the worker comes again');
is(join("\n", heard()), '', 'and does not repeat it');

# Many changes by several workers: as many as in the history, which has all of them.
my $mark = $node->safe_psql('postgres', 'SELECT max(health_score_id) FROM chs.health_scores');
for my $round (1 .. 4)
{
	$node->safe_psql('postgres', $round % 2
		? q(INSERT INTO chs.customer_events (customer_id, event_type, event_data)
			SELECT c, t, d FROM generate_series(1, 10) c, (
				SELECT 'login' AS t, jsonb_build_object('ip_address', '::1', 'user_id', i) AS d FROM generate_series(1, 20) i
				UNION ALL SELECT 'api_call', jsonb_build_object('endpoint', i % 5, 'status_code', 200) FROM generate_series(1, 300) i
				UNION ALL SELECT 'feature_use', jsonb_build_object('feature_name', i, 'tier', 'advanced') FROM generate_series(1, 8) i) e)
		: 'DELETE FROM chs.customer_events WHERE customer_id % 3 <> 0');
	wait_right($node, 'postgres', "round $round");
}
my $changes = $node->safe_psql('postgres', qq(
	SELECT customer_id || ' ' || before || ' ' || status FROM (
		SELECT *, lag(status) OVER (PARTITION BY customer_id ORDER BY health_score_id) AS before FROM chs.health_scores) s
	WHERE health_score_id > $mark AND before <> status ORDER BY 1));
my @changes = map { /"customer_id": (\d+), "old_status": "(\w+)", "new_status": "(\w+)"/; "$1 $2 $3" } heard();
cmp_ok(scalar(@changes), '>=', 20, 'there are many changes');
is(join("\n", sort @changes), join("\n", sort split(/\n/, $changes)), 'each is announced once');
# None at all if some may not know, or if they are turned off.
my $statuses = q(SELECT string_agg(status, ' ' ORDER BY customer_id) FROM chs.customer_health);
my $statuses_before = $node->safe_psql('postgres', $statuses);
$node->safe_psql('postgres', 'ALTER TABLE chs.customers ENABLE ROW LEVEL SECURITY');
my $low = $node->safe_psql('postgres', q(UPDATE chs.scorecards SET at_risk_from = 0; SELECT chs_publish('nobody is critical')));
$node->poll_query_until('postgres', "SELECT bool_and(version = $low) FROM chs.customer_health") or die;
isnt($node->safe_psql('postgres', $statuses), $statuses_before, 'statuses change');
is(join("\n", heard()), '', 'row-level security keeps it quiet');
$node->safe_psql('postgres', 'ALTER TABLE chs.customers DISABLE ROW LEVEL SECURITY');
$node->safe_psql('postgres', 'ALTER SYSTEM SET chs.announce_status = off');
$node->reload;
$node->poll_query_until('postgres', "SELECT current_setting('chs.announce_status') = 'off'") or die;
$node->safe_psql('postgres', 'DELETE FROM chs.customer_events');
wait_right($node, 'postgres', 'everybody is critical');
is(join("\n", heard()), '', 'chs.announce_status = off keeps it quiet');
$listener->quit;
$node->stop;
done_testing();
