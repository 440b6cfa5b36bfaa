# Publications of all tables, as change data capture creates them, and a subscriber that has chs as well.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $publisher = new_node('publisher', '', allows_streaming => 'logical');
$publisher->start;
add_chs($publisher, 'postgres');

is($publisher->safe_psql('postgres', q(
	SELECT string_agg(c.relname, ' ' ORDER BY c.relname) FROM pg_class c
	WHERE c.relnamespace = 'chs'::regnamespace AND c.relkind IN ('r', 'p') AND c.relreplident <> 'f'
	  AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND (i.indisprimary AND c.relreplident = 'd' OR i.indisreplident)))),
	'', 'every table has a replica identity');

$publisher->safe_psql('postgres', q(
	CREATE TABLE logins (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account text, ip_address text, at timestamptz);
	SELECT chs_attach('logins', 'account', 'login', 'at', customer_key => 'external_id');
	UPDATE chs.customers SET external_id = 'c' || customer_id));
for my $kind ('FOR ALL TABLES', 'FOR TABLES IN SCHEMA chs')
{
	my ($n) = $publisher->safe_psql('postgres', 'SELECT count(*) FROM chs.customer_events') + 1;

	$publisher->safe_psql('postgres', "CREATE PUBLICATION everything $kind");
	log_in($publisher, 'postgres', $_, $n) for (1 .. 3);
	wait_right($publisher, 'postgres', "$kind: the worker folds");
	# each of these deletes or updates rows
	$publisher->safe_psql('postgres', $_)
	  for q(INSERT INTO logins (account, ip_address, at) VALUES ('nobody', '::1', now()); DELETE FROM logins),
	  q(UPDATE chs.targets SET target = target + 1; SELECT chs_publish('more')), q(SELECT chs_rollback(1, 'less')),
	  q(INSERT INTO chs.segment_weights (scorecard, segment, factor, weight) VALUES ('default', 'smb', 'api_usage', 0.3); DELETE FROM chs.segment_weights),
	  q(SELECT chs_pause('x')), q(SELECT chs_resume()), q(SELECT chs_recalculate(1)), q(SELECT chs_rebuild(2)), 'CALL chs_recalculate_all()',
	  'CALL chs_rebuild()', "SELECT chs_purge_customer(" . ($n > 1 ? 9 : 10) . ")", 'DELETE FROM chs.customers WHERE customer_id = ' . ($n > 1 ? 7 : 8),
	  'UPDATE chs.customer_events SET event_data = event_data', q(SELECT chs_detach('logins')),
	  q(SELECT chs_attach('logins', 'account', 'login', 'at', customer_key => 'external_id'));
	wait_right($publisher, 'postgres', "$kind: everything is right after what deletes and updates");
	$publisher->safe_psql('postgres', 'DROP PUBLICATION everything') if $kind ne 'FOR TABLES IN SCHEMA chs';
}
$publisher->safe_psql('postgres', 'DROP PUBLICATION everything; CREATE PUBLICATION everything FOR ALL TABLES');
is_quiet($publisher, qr/replica identity/, 'no table lacked a replica identity');

# A subscriber with chs, of everything: it takes customers, events, and their types, and derives the rest itself.
my $subscriber = new_node('subscriber', "max_logical_replication_workers = 8\nwal_retrieve_retry_interval = '100ms'\n");
$subscriber->start;
$publisher->safe_psql('postgres', q(
	INSERT INTO chs.event_types (event_type) VALUES ('visit');
	INSERT INTO chs.segments (segment) VALUES ('public');
	INSERT INTO chs.customers (customer_id, name, segment, created_at) VALUES (100, 'A hundred', 'public', '2020-01-01');
	INSERT INTO chs.customer_events (customer_id, event_type) VALUES (100, 'visit')));
$subscriber->safe_psql('postgres', q(
	CREATE TABLE logins (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account text, ip_address text, at timestamptz);
	CREATE EXTENSION chs));
my $version = $subscriber->safe_psql('postgres', 'SELECT max(version) FROM chs.scorecard_versions');
$subscriber->safe_psql('postgres', sprintf('CREATE SUBSCRIPTION everything CONNECTION $dsn$%s$dsn$ PUBLICATION everything', $publisher->connstr('postgres')));

# same(WHAT): the subscriber has caught up, and has the same customers and scores, its own.
sub same
{
	my ($what) = @_;
	my $scores = q(SELECT string_agg(customer_id || ' ' || COALESCE(name, '') || ' ' || COALESCE(chs_score(customer_id)::text, ''), ', ' ORDER BY customer_id) FROM chs.customers);

	$publisher->wait_for_catchup('everything');
	ok($subscriber->poll_query_until('postgres', q(
		SELECT NOT EXISTS (SELECT FROM pg_subscription_rel WHERE srsubstate <> 'r') AND NOT EXISTS (SELECT FROM chs.queue)
		   AND NOT EXISTS (SELECT FROM chs_verify())
		   AND NOT EXISTS (SELECT FROM chs.customers c LEFT JOIN chs.customer_health h USING (customer_id) WHERE h.score IS DISTINCT FROM chs_score(c.customer_id)))),
		"$what: nothing is missing");
	is($subscriber->safe_psql('postgres', $scores), $publisher->safe_psql('postgres', $scores), "$what: the same scores");
}

$subscriber->wait_for_subscription_sync($publisher, 'everything');
same('after the initial copy');
# until then, an event may have been copied before its type, and copied again
my $copied = -s $subscriber->logfile;
log_in($publisher, 'postgres', $_, 5) for (1, 4, 100);
$publisher->safe_psql('postgres', $_)
  for q(UPDATE chs.customers SET name = 'changed' WHERE customer_id = 1), q(DELETE FROM chs.customer_events WHERE customer_id = 2),
  q(INSERT INTO chs.event_types (event_type) VALUES ('call'); INSERT INTO chs.customer_events (customer_id, event_type) VALUES (1, 'call')),
  q(SELECT chs_pause('there')), q(CALL chs_rebuild());
same('after changes');
is($subscriber->safe_psql('postgres', 'SELECT max(version) FROM chs.scorecard_versions'), $version, 'its rules are its own');
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM chs.pause'), '0', 'and it is not paused because the publisher is');
unlike(substr(slurp_file($subscriber->logfile), $copied), qr/ERROR/, 'nothing was refused');
like(slurp_file($subscriber->logfile), qr/rows of table "chs.queue" that arrive by logical replication are ignored/, 'the log says what is ignored');

$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION everything');
$subscriber->stop;
$publisher->stop;
done_testing();
