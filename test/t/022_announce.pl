# Changes of status are announced, at most once for a transaction, and scores stay fresh when that is not possible.
# The order in which transactions commit is in test/specs/announce.spec.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('announce', "chs.batch_size = 3\nchs.max_workers = 2");
my $small = $node->pg_version >= 17;
$node->append_conf('postgresql.conf', 'max_notify_queue_pages = 64') if $small;
$node->start;
add_chs($node, 'postgres');
wait_right($node, 'postgres', 'at the beginning');

sub value { return $node->safe_psql('postgres', $_[0]); }

my $listener = $node->background_psql('postgres');
$listener->set_query_timer_restart;
$listener->query_safe('LISTEN chs_status');

# heard(): how many announcements have arrived since the last call.
sub heard
{
	my $out = '';

	# psql prints what has arrived after a statement.
	value("NOTIFY chs_status, 'end'");
	$out .= $listener->query('SELECT pg_sleep(0.01)') until $out =~ /payload "end"/;
	return scalar(() = $out =~ /notification "chs_status" received/g);
}

# look(): the changes since the last call, "customer before after", one line each.
my $seen = value('SELECT pg_current_snapshot()');
sub look
{
	my ($changes, $now) = split(/\|/, value(qq(
		SELECT (SELECT string_agg(concat_ws(' ', customer_id, previous_status, status), E'\n' ORDER BY customer_id, changed_at)
			FROM chs_status_changes('$seen')), pg_current_snapshot())));
	$seen = $now;
	return $changes;
}

# turn(WHAT): customers from 1 to 10 become healthy or critical.
my %turn = (
	healthy => q(
		INSERT INTO chs.customer_events (customer_id, event_type, event_data)
		SELECT c, e.t, e.d FROM unnest(%s) c, (
			SELECT 'login' AS t, jsonb_build_object('ip_address', '::1', 'user_id', i) AS d FROM generate_series(1, 20) i
			UNION ALL SELECT 'api_call', jsonb_build_object('endpoint', i %% 5, 'status_code', 200) FROM generate_series(1, 300) i
			UNION ALL SELECT 'feature_use', jsonb_build_object('feature_name', i, 'tier', 'advanced') FROM generate_series(1, 8) i) e),
	critical => 'DELETE FROM chs.customer_events WHERE customer_id = ANY (%s)');
sub turn
{
	my ($what, @customers) = @_;

	value(sprintf($turn{$what}, "'{" . join(',', @customers) . "}'::bigint[]"));
	wait_right($node, 'postgres', "$what: @customers");
}

is(heard() . look(), '0', 'first scores are no changes');
turn('healthy', 1);
is(heard() . ' ' . look(), '1 1 critical healthy', 'the worker announces a change');
log_in($node, 'postgres', 1, 1);
wait_right($node, 'postgres', 'another event');
is(heard() . look(), '0', 'which changes no status');

# By several workers.
my $mark = value('SELECT max(health_score_id) FROM chs.health_scores');
turn($_ % 2 ? 'critical' : 'healthy', 1 .. 10) for 0 .. 3;
my $changes = value(qq(
	SELECT concat_ws(' ', customer_id, before, status) FROM (
		SELECT *, lag(status) OVER (PARTITION BY customer_id ORDER BY health_score_id) AS before FROM chs.health_scores) s
	WHERE health_score_id > $mark AND before <> status ORDER BY customer_id, calculated_at));
cmp_ok(scalar(split(/\n/, $changes)), '>=', 30, 'many changes');
is(look(), $changes, 'as in the history');
my $announcements = heard();
cmp_ok($announcements, '>=', 4, 'are announced');
cmp_ok($announcements, '<', 30, 'together');

# A listener with an open transaction: the queue of notifications fills up, and nobody can notify any more.
SKIP:
{
	skip 'the queue of notifications has eight gigabytes (CHS_FULL)', 7 unless $small || $ENV{CHS_FULL};
	my $pages = $small ? 2 : 1000;

	$listener->query_safe('BEGIN');
	$node->psql('postgres', qq(
		DO \$\$ BEGIN
			LOOP
				PERFORM pg_notify('others', repeat('x', 7990) || i) FROM generate_series(1, $pages) i;
				COMMIT;
			END LOOP;
		END \$\$), stderr => \my $error);
	like($error, qr/too many notifications/, 'the queue is full');
	turn('healthy', 1);
	is(look(), '1 critical healthy', 'scores are fresh');
	is(value('SELECT count(*) FROM chs.worker_status WHERE last_error IS NOT NULL'), '0', 'no worker has an error');
	$listener->query_safe('COMMIT');
	$node->poll_query_until('postgres', 'SELECT pg_notification_queue_usage() < 0.5') or die;
	is(heard(), 0, 'it was not announced');
	turn('critical', 1);
	is(heard(), 1, 'but the next change is');
}

value('ALTER SYSTEM SET chs.announce_status = off');
$node->reload;
$node->poll_query_until('postgres', "SELECT current_setting('chs.announce_status') = 'off'") or die;
look();
turn('healthy', 2, 3);
is(heard() . ' ' . look(), "0 2 critical healthy\n3 critical healthy", 'chs.announce_status = off keeps it quiet');
$listener->quit;
$node->stop;
done_testing();
