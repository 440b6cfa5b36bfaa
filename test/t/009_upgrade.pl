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
);
my $old = PostgreSQL::Test::Cluster->new('old', install_path => $ENV{CHS_OLD_PREFIX});
$old->init(extra => [ '--locale', 'C', '--encoding', 'UTF8' ]);
$old->append_conf('postgresql.conf', $configuration);
$old->start;
$old->safe_psql('postgres', 'CREATE DATABASE company');
add_chs($old, 'company');
$old->safe_psql('company', q(
	UPDATE chs.targets SET target = 7 WHERE (metric, scorecard) = ('logins', 'default');
	SELECT chs_publish('fewer logins will do');
	CREATE TABLE public.calls (customer bigint, path text, at timestamptz);
	SELECT chs_attach('public.calls', 'customer', $$'api_call'$$, 'at', $$jsonb_build_object('endpoint', path)$$);
	INSERT INTO public.calls SELECT 1 + n % 5, 'p' || n % 3, now() - n * interval '1 hour' FROM generate_series(1, 60) n));
log_in($old, 'company', $_, 2 * $_) for 1 .. 10;
wait_right($old, 'company', 'the old cluster is right');
$old->safe_psql('postgres', q(ALTER SYSTEM SET chs.enabled = off));
$old->restart;
log_in($old, 'company', 3, 5);
my $scores = 'SELECT customer_id, chs_score(customer_id), chs_status(customer_id) FROM chs.customers ORDER BY 1';
my $history = 'SELECT * FROM chs.health_scores ORDER BY health_score_id';
my $scores_before = $old->safe_psql('company', $scores);
my $history_before = $old->safe_psql('company', $history);
is($old->safe_psql('company', 'SELECT count(*) > 0 FROM chs.queue'), 't', 'something is queued');
$old->stop;

my $new = PostgreSQL::Test::Cluster->new('new');
# checksums are the default from PostgreSQL 18 on
$new->init(extra => [ '--locale', 'C', '--encoding', 'UTF8', ($new->pg_version >= 18 ? '--no-data-checksums' : ()) ]);
$new->append_conf('postgresql.conf', "$configuration\nchs.enabled = off");
command_ok([ $new->config_data('--bindir') . '/pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir,
		'-b', $old->config_data('--bindir'), '-B', $new->config_data('--bindir'), '-s', $new->host, '-p', $old->port, '-P', $new->port ],
	'pg_upgrade');
$new->start;
is($new->safe_psql('company', $scores), $scores_before, 'same scores, with what was queued');
is($new->safe_psql('company', $history), $history_before, 'same history');
is_right($new, 'company', 'rightly');
$new->append_conf('postgresql.conf', 'chs.enabled = on');
$new->restart;
log_in($new, 'company', 4, 3);
wait_right($new, 'company', 'and the worker goes on');
is($new->safe_psql('company', q(INSERT INTO public.calls VALUES (1, 'after', now());
		SELECT value FROM chs_explain(1) WHERE metric = 'api_calls')), '13', 'so do attached tables');
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump';
$new->command_ok([ 'pg_dump', '-f', $dump, 'company' ], 'and dumps');
$new->safe_psql('postgres', 'CREATE DATABASE again');
$new->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, 'again' ], 'which restore');
wait_right($new, 'again', 'rightly, too');
$new->stop;
done_testing;
