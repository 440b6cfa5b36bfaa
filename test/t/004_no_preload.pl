# Without preloading, everything except the worker works.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('plain');
$node->init;
$node->start;
add_chs($node, 'postgres');
log_in($node, 'postgres', 1, 3);
is_right($node, 'postgres', 'scores are right');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'chs%'"), '0', 'there is no worker');
is($node->safe_psql('postgres', 'SELECT count(*) FROM chs.customer_health'), '0', 'nothing is folded by itself');
is($node->safe_psql('postgres', 'SELECT count(*) FROM chs.queue WHERE delta IS NOT NULL'), '1', 'the queue holds one delta');
cmp_ok($node->safe_psql('postgres', 'SELECT chs_process_queue()'), '>', 0, 'chs_process_queue folds');
wait_right($node, 'postgres', 'then all is stored');
is($node->safe_psql('postgres', 'SELECT chs_process_queue()'), '0', 'and there is nothing more to fold');
is($node->safe_psql('postgres', "SELECT total FROM chs.dashboard_stats"), '10', 'the dashboard shows it');

# Up to a limit.
log_in($node, 'postgres', $_, 1) for (1 .. 6);
is($node->safe_psql('postgres', 'SELECT count(*) FROM chs.queue'), '6', 'six deltas');
my $taken = $node->safe_psql('postgres', 'SELECT chs_process_queue(2)');
cmp_ok($taken, '>=', 2, 'two or more are taken');
is_right($node, 'postgres', 'and scores are right in between');
is($node->safe_psql('postgres', "SELECT $taken + chs_process_queue(100)"), '6', 'then the rest');
wait_right($node, 'postgres', 'which is all');
my ($status, $out, $err);
$status = $node->psql('postgres', 'SELECT chs_process_queue(-1)', stderr => \$err);
isnt($status, 0, 'fewer than none is an error');
is($node->safe_psql('postgres', 'SELECT chs_process_queue(0)'), '0', 'none is none') ;

# So many deltas of one customer that they are merged while they are read.
$node->safe_psql('postgres', q(
	DO $$ BEGIN FOR i IN 1 .. 600 LOOP
		INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (2, 'login', jsonb_build_object('ip_address', '::1', 'user_id', i % 7));
	END LOOP; END $$));
is($node->safe_psql('postgres', 'SELECT count(*) FROM chs.queue'), '600', '600 deltas of one customer');
is_right($node, 'postgres', 'each counts once');
is($node->safe_psql('postgres', q(SELECT value FROM chs_explain(2) WHERE metric = 'active_users')), '7', 'as does each distinct value');
$node->safe_psql('postgres', 'SELECT chs_process_queue()');
wait_right($node, 'postgres', 'also once folded');

# A queue of very many pages is estimated, and nearly right.
is($node->safe_psql('postgres', q(
	BEGIN;
	INSERT INTO chs.queue SELECT pg_current_xact_id(), 1, now(), 1, false, NULL FROM generate_series(1, 200000);
	SELECT is_estimate, abs(depth - 200000) < 10000 FROM chs.queue_status;
	ROLLBACK)), 't|t', 'a long queue is estimated');

# A day later, manually.
$node->safe_psql('postgres', 'UPDATE chs.customer_health SET as_of = as_of - 1, score = 0');
$node->safe_psql('postgres', 'CALL chs_recalculate_all()');
is($node->safe_psql('postgres', q(SELECT done FROM chs.progress WHERE job = 'recalculate')), '10', 'chs_recalculate_all scores everyone');
wait_right($node, 'postgres', 'rightly');

# The settings are known once the library is loaded.
is($node->safe_psql('postgres', "SELECT chs_score(1) IS NULL; SHOW chs.enabled"), "f\non", 'chs.enabled');
$status = $node->psql('postgres', "SELECT chs_score(1); SET chs.naptime = 5", stderr => \$err);
like($err, qr/cannot be changed now|permission|parameter "chs.naptime"/, 'settings of the worker are not for sessions');
$status = $node->psql('postgres', "SELECT chs_score(1); SET chs.nonsense = 5", stderr => \$err);
like($err, qr/chs/, 'there are no others');

# A schema that lacks a column that the library knows, as before an update: the last one of each table that is read by numbers.
for my $table (qw(customer_health customers health_counts health_scores activity failures queue))
{
	$node->safe_psql('postgres', 'CREATE DATABASE older');
	add_chs($node, 'older');
	log_in($node, 'older', 1, 1);
	$node->safe_psql('older', qq(
		SET allow_system_table_mods = on;
		BEGIN;
		DELETE FROM pg_attribute a USING pg_class c WHERE a.attrelid = c.oid AND a.attnum = c.relnatts AND c.oid = 'chs.$table'::regclass;
		UPDATE pg_class SET relnatts = relnatts - 1, relchecks = 0 WHERE oid = 'chs.$table'::regclass;
		DELETE FROM pg_constraint WHERE conrelid = 'chs.$table'::regclass AND contype = 'c';
		COMMIT));
	isnt($node->psql('older', 'SELECT chs_process_queue()', stderr => \$err), 0,
		"a library that is newer than the schema: $table");
	like($err, qr/table "chs.$table" is of an earlier version.*HINT:.*ALTER EXTENSION chs UPDATE/s, 'says so');
	$node->safe_psql('postgres', 'DROP DATABASE older');
}

# After a crash.
log_in($node, 'postgres', 7, 2);
$node->stop('immediate');
$node->start;
is_right($node, 'postgres', 'after a crash scores are right');
$node->safe_psql('postgres', 'SELECT chs_process_queue()');
wait_right($node, 'postgres', 'and folded');
$node->stop;
done_testing();
