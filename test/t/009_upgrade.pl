# pg_upgrade from an older major version of PostgreSQL: scores, queue and history carry over.
# CHS_OLD_PREFIX names an installation of that version, with chs (test/run, CHS_UPGRADE_FROM).
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'there is no older PostgreSQL (CHS_UPGRADE_FROM)' unless $ENV{CHS_OLD_PREFIX};

my $configuration = q(
shared_preload_libraries = 'chs'
chs.naptime = 3600
timezone = 'UTC'
max_prepared_transactions = 5
);
my $old = PostgreSQL::Test::Cluster->new('old', install_path => $ENV{CHS_OLD_PREFIX});
$old->init(extra => [ '--locale', 'C', '--encoding', 'UTF8' ]);
$old->append_conf('postgresql.conf', $configuration);
$old->start;
$old->safe_psql('postgres', 'CREATE DATABASE company');
add_chs($old, 'company');

# A busy company: another target, attached tables, one with partitions, rows that are rejected, a plug-in that fails for one
# customer, history, what a role may see by row-level security, statistics.
$old->safe_psql('company', q(
	UPDATE chs.targets SET target = 7 WHERE (metric, scorecard) = ('logins', 'default');
	CREATE FUNCTION public.mood(customer_id bigint, as_of timestamptz) RETURNS double precision LANGUAGE plpgsql AS $$
	BEGIN
		IF customer_id = 9 THEN RAISE 'no mood of customer 9'; END IF;
		RETURN customer_id;
	END $$;
	SELECT chs_add_factor('mood', 0.1, 'public.mood');
	SELECT chs_publish('fewer logins will do');
	CREATE TABLE public.calls (customer bigint, path text, at timestamptz);
	SELECT chs_attach('public.calls', 'customer', $$'api_call'$$, 'at', $$jsonb_build_object('endpoint', path)$$);
	INSERT INTO public.calls SELECT 1 + n % 5, 'p' || n % 3, now() - n * interval '1 hour' FROM generate_series(1, 60) n;
	CREATE TABLE public.tickets (customer bigint, at timestamptz, half integer) PARTITION BY LIST (half);
	CREATE TABLE public.tickets_1 PARTITION OF public.tickets FOR VALUES IN (1);
	SELECT chs_attach('public.tickets', 'customer', $$'support_ticket'$$, 'at');
	CREATE TABLE public.tickets_2 PARTITION OF public.tickets FOR VALUES IN (2);
	INSERT INTO public.tickets SELECT n, now(), 1 + n % 2 FROM generate_series(1, 14) n;
	CREATE ROLE reader;
	SELECT chs_grant('reader', 'read');
	CREATE POLICY a_few ON chs.customers TO reader USING (customer_id < 4);
	ALTER TABLE chs.customers ENABLE ROW LEVEL SECURITY;
	CREATE STATISTICS public.of_events ON customer_id, event_type FROM chs.customer_events;
	ANALYZE));
log_in($old, 'company', $_, 2 * $_) for 1 .. 10;
$old->poll_query_until('company', q(SELECT count(*) = 9 FROM chs.customer_health WHERE version = 2)) or die 'the old worker does not score';
$old->poll_query_until('company', q(SELECT count(*) = 1 FROM chs.failures)) or die 'customer 9 does not fail';

# Then it is paused: events are queued and a version waits, to be counted by the new server.
$old->safe_psql('company', q(SELECT chs_pause('for the upgrade')));
log_in($old, 'company', 3, 5);
$old->safe_psql('company', q(
	INSERT INTO public.tickets VALUES (2, now(), 2), (4711, now(), 1);
	DELETE FROM public.calls WHERE customer = 4 AND path = 'p1';
	INSERT INTO chs.metrics (scorecard, factor, metric, event_type, aggregate, filter, window_days, curve, weight, missing)
	VALUES ('default', 'login_frequency', 'login_days', 'login', 'active_days', '$.user_id == 1', 30, '0:0 20:100', 0.3, 'zero');
	SELECT chs_publish('on how many days')));

my %same = (
	'scores' => q(SELECT customer_id, chs_score(customer_id), chs_status(customer_id), md5(string_agg(e::text, E'\n')) FROM chs.customers, chs_explain(customer_id) e
		WHERE customer_id <> 9 GROUP BY 1 ORDER BY 1),
	'scores that a role sees' => q(SET ROLE reader; SELECT customer_id, chs_score(customer_id) FROM chs.customers ORDER BY 1; TABLE chs.dashboard_stats),
	'history' => 'SELECT * FROM chs.health_scores ORDER BY health_score_id',
	'versions' => 'SELECT version, published_at, live_at, note, document, series_version FROM chs.scorecard_versions ORDER BY version',
	'queue' => 'SELECT customer_id, delta, rebuild, series_version, enqueued_at FROM chs.queue ORDER BY 1, 5',
	'rejected rows' => 'SELECT r FROM chs.rejected_events r ORDER BY 1',
	'failures' => 'SELECT customer_id, sqlstate, message FROM chs.failures',
	'attached tables' => 'SELECT s FROM chs.sources s ORDER BY source_id',
	'what is different' => 'SELECT customer_id, difference FROM chs_verify() ORDER BY 1, 2');
my %before = map { $_ => $old->safe_psql('company', $same{$_}) } keys %same;
is($old->safe_psql('company', q(SELECT (SELECT count(*) > 0 FROM chs.queue), (SELECT live_at IS NULL FROM chs.scorecard_versions ORDER BY version DESC LIMIT 1),
		(SELECT count(*) FROM chs.rejected_events), (SELECT count(*) FROM chs.failures))), 't|t|5|1', 'much is unfinished');
is($before{'what is different'} =~ s/^9\|.*\n?//mr, '', 'and the old cluster is right');

my $new = PostgreSQL::Test::Cluster->new('new');
# checksums are the default from PostgreSQL 18 on
$new->init(extra => [ '--locale', 'C', '--encoding', 'UTF8', ($new->pg_version >= 18 ? '--no-data-checksums' : ()) ]);
$new->append_conf('postgresql.conf', $configuration);
my @upgrade = ($new->config_data('--bindir') . '/pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir,
	'-b', $old->config_data('--bindir'), '-B', $new->config_data('--bindir'), '-s', $new->host, '-p', $old->port, '-P', $new->port);

# PostgreSQL does not take a prepared transaction along, and says so.
$old->safe_psql('company', q(BEGIN; INSERT INTO chs.customer_events (customer_id, event_type) VALUES (1, 'support_ticket'); PREPARE TRANSACTION 'prepared'));
$old->stop;
command_checks_all([ @upgrade, '--check' ], 1, [qr/prepared transactions/], [qr/^/], 'a prepared transaction is refused');
$old->start;
$old->safe_psql('company', q(ROLLBACK PREPARED 'prepared'));
$old->stop;

command_ok(\@upgrade, 'pg_upgrade');
$new->start;
is($new->safe_psql('company', $same{$_}), $before{$_}, "the same $_") for sort keys %same;
is($new->safe_psql('company', 'SELECT reason FROM chs.pause'), 'for the upgrade', 'still paused');

# Rebuilding from the raw events makes no difference.
is($new->safe_psql('company', qq(
		CREATE TEMP TABLE score AS SELECT customer_id, chs_score(customer_id) AS score FROM chs.customers WHERE customer_id <> 9;
		BEGIN;
		SELECT chs_rebuild(customer_id) FROM score \\g /dev/null
		SELECT count(*) FROM score WHERE score IS DISTINCT FROM chs_score(customer_id);
		ROLLBACK)), '0', 'nor does rebuilding');

# The cause of the failure is mended, and the worker counts what waits.
$new->safe_psql('company', q(
	CREATE OR REPLACE FUNCTION public.mood(customer_id bigint, as_of timestamptz) RETURNS double precision LANGUAGE sql AS 'SELECT customer_id';
	SELECT chs_resume()));
log_in($new, 'company', 9, 1);
log_in($new, 'company', 4, 3);
wait_right($new, 'company', 'and the worker goes on');
ok($new->poll_query_until('company', q(SELECT live_at IS NOT NULL FROM chs.scorecard_versions ORDER BY version DESC LIMIT 1)), 'the version that waited is live');
is($new->safe_psql('company', q(INSERT INTO public.calls VALUES (1, 'after', now());
		SELECT value FROM chs_explain(1) WHERE metric = 'api_calls')), '13', 'so do attached tables');
is($new->safe_psql('company', q(INSERT INTO public.tickets VALUES (1, now(), 1), (1, now(), 2);
		SELECT value FROM chs_explain(1) WHERE metric = 'ticket_volume')), '3', 'and their partitions');
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump';
$new->command_ok([ 'pg_dump', '-f', $dump, 'company' ], 'and dumps');
$new->safe_psql('postgres', 'CREATE DATABASE again');
$new->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, 'again' ], 'which restore');
wait_right($new, 'again', 'rightly, too');
$new->stop;
done_testing;
