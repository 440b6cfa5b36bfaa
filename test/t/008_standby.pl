# A standby answers whatever only reads, and takes over with nothing lost or counted twice; so does a restore to a point in time.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# enable(NODE, VALUE): switches the worker on or off.
sub enable
{
	my ($node, $value) = @_;

	$node->safe_psql('postgres', "ALTER SYSTEM SET chs.enabled = $value");
	$node->reload;
	$node->poll_query_until('postgres', "SELECT current_setting('chs.enabled') = '$value'"
		  . ($value eq 'off' ? q( AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'chs worker')) : ''))
	  or die 'the setting is not read';
}

my $primary = new_node('primary', '', allows_streaming => 1, has_archiving => 1);
$primary->start;
$primary->safe_psql('postgres', 'CREATE DATABASE company');
add_chs($primary, 'company');
log_in($primary, 'company', $_, 2 * $_) for 1 .. 10;
wait_right($primary, 'company', 'the primary is right');
$primary->backup('first');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'first', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'archive_mode = off');
$standby->start;

# The standby knows what is queued as well.
enable($primary, 'off');
log_in($primary, 'company', 3, 5);
$primary->wait_for_catchup($standby);

my $scores = 'SELECT customer_id, chs_score(customer_id), chs_status(customer_id) FROM chs.customers ORDER BY 1';
is($standby->safe_psql('company', 'SELECT count(*) > 0 FROM chs.queue'), 't', 'something is queued');
is($standby->safe_psql('company', $scores), $primary->safe_psql('company', $scores), 'the standby gives the scores of the primary');
is_right($standby, 'company', 'which are right');
my @views = split /\n/, $standby->safe_psql('company', q(SELECT c.oid::regclass FROM pg_class c WHERE relnamespace = 'chs'::regnamespace AND relkind = 'v' ORDER BY 1));
cmp_ok(scalar(@views), '>', 3, 'there are views');
for my $view (@views)
{
	my ($status, $out, $error) = $standby->psql('company', "SELECT count(*) FROM $view");
	is($error, '', "the standby shows $view");
}
$standby->safe_psql('company', 'SELECT * FROM chs_explain(3); SELECT chs_health(3); SELECT chs_score(3, now() - interval \'40 days\')');
my ($status, $out, $error) = $standby->psql('company', '\set VERBOSITY verbose \\\\ SELECT chs_process_queue()');
like($error, qr/25006/, 'but does not fold');
is($standby->safe_psql('postgres', q(SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'chs%')), '0', 'nor has a worker');

# A waiting version changes nothing there, and one that goes live is used at once, even in a session that has scored before.
my $session = $standby->background_psql('company');
my $before = ask($session, $scores);
$primary->safe_psql('company', q(
	INSERT INTO chs.metrics (scorecard, factor, metric, event_type, aggregate, field, window_days, curve, weight, missing)
	VALUES ('default', 'login_frequency', 'addresses', 'login', 'distinct', 'ip_address', 30, '0:100 40:0', 1, 'zero');
	SELECT chs_publish('waits')));
$primary->wait_for_catchup($standby);
is(ask($session, $scores), $before, 'the standby goes on by the version that is live');
$primary->safe_psql('company', 'CALL chs_recalculate_all()');
$primary->wait_for_catchup($standby);
my $after = ask($session, $scores);
isnt($after, $before, 'until the other one is');
is($after, $primary->safe_psql('company', $scores), 'as on the primary');
$session->quit;
enable($primary, 'on');

# The primary goes down at once, while clients insert.
my $load = start_load($primary, 'company');
$primary->poll_query_until('company', 'SELECT count(*) > 300 FROM chs.customer_events') or die 'no load';
$primary->stop('immediate');
stop_load($load);
$standby->promote;
wait_right($standby, 'company', 'promoted under load: the worker goes on, and everything is right');
log_in($standby, 'company', 7, 3);
wait_right($standby, 'company', 'and so with new events');
$standby->stop;

# A point in time, with some of the queue folded and some not.
$primary->start;
$primary->safe_psql('company', 'DELETE FROM chs.customer_events WHERE customer_id = 2');
wait_right($primary, 'company', 'the primary has recovered');
enable($primary, 'off');
log_in($primary, 'company', 5, 4);
$primary->safe_psql('company', 'DELETE FROM chs.customer_events WHERE customer_id = 6');
$primary->safe_psql('postgres', q(SELECT pg_create_restore_point('then')));
my $then = $primary->safe_psql('company', $scores);
enable($primary, 'on');
log_in($primary, 'company', 5, 40);
$primary->safe_psql('company', q(DELETE FROM chs.customers WHERE customer_id = 1; SELECT chs_publish('later')));
wait_right($primary, 'company', 'things go on');
isnt($primary->safe_psql('company', $scores), $then, 'and change');
my $segment = $primary->safe_psql('postgres', 'SELECT pg_walfile_name(pg_switch_wal())');
$primary->poll_query_until('postgres', "SELECT last_archived_wal >= '$segment' FROM pg_stat_archiver") or die 'not archived';

my $past = PostgreSQL::Test::Cluster->new('past');
$past->init_from_backup($primary, 'first', has_restoring => 1, standby => 0);
$past->append_conf('postgresql.conf', qq(
recovery_target_name = 'then'
recovery_target_action = 'promote'
));
$past->append_conf('postgresql.auto.conf', 'chs.enabled = off');
$past->start;
$past->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'recovery does not end';
is($past->safe_psql('company', $scores), $then, 'at a point in time: the scores of then');
is_right($past, 'company', 'which are right');
$past->safe_psql('postgres', 'ALTER SYSTEM SET chs.enabled = on');
$past->reload;
wait_right($past, 'company', 'and the worker goes on');
$past->stop;
$primary->stop;

done_testing;
