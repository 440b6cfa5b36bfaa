# The worker reads the queue by pages: whatever becomes of those meanwhile, it finds every row.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('queue_pages', "chs.batch_size = 100\nautovacuum = off");
$node->start;
add_chs($node, 'postgres');

# One delta for each statement, far more than fit in the pages that a BRIN index summarizes at once.
my $deltas = q(
	DO $$
	BEGIN
		FOR i IN 1..8000 LOOP
			INSERT INTO chs.customer_events (customer_id, event_type, event_data)
			VALUES (i % 10 + 1, 'login', '{"ip_address": "::1"}');
		END LOOP;
	END $$);

# VACUUM FULL in the middle of a pass: what is left to read comes to stand in pages that were read already.
$node->safe_psql('postgres', "INSERT INTO chs.customers (customer_id, created_at) SELECT generate_series(11, 3000), '2020-01-01'");
wait_right($node, 'postgres', 'at the beginning');
my $held = hold($node, 'postgres');
$node->safe_psql('postgres', q(INSERT INTO chs.customer_events (customer_id, event_type, event_data)
	SELECT i, 'login', '{"ip_address": "::1"}' FROM generate_series(1, 3000) i));
worker_pid($node, 'chs worker', "wait_event_type = 'Lock'");
# Whoever waits for the lock next gets it after the first batch, and the worker comes to wait again.
my $next = $node->background_psql('postgres');
$next->query_until(qr/asking/, "\\echo asking\nBEGIN; LOCK TABLE chs.activity IN ACCESS EXCLUSIVE MODE;\n");
$node->poll_query_until('postgres', "SELECT count(*) = 2 FROM pg_locks WHERE relation = 'chs.activity'::regclass AND NOT granted");
release($held);
$node->poll_query_until('postgres', "SELECT count(*) = 2900 FROM chs.queue");
worker_pid($node, 'chs worker', "wait_event_type = 'Lock'");
$node->safe_psql('postgres', 'VACUUM FULL chs.queue');
release($next);
wait_right($node, 'postgres', 'VACUUM FULL in the middle of a pass');

# How many blocks it takes to fold a delta, in a session that has folded before.
sub blocks_of_fold
{
	my $fold = q(BEGIN;
		INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (%d, 'login', '{"ip_address": "::1"}');
		EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) SELECT chs_recalculate(%d);
		COMMIT;);
	my @hits = $node->safe_psql('postgres', sprintf($fold x 2, 5, 5, 4, 4)) =~ /^Result .*\n  Buffers: shared hit=(\d+)/mg;
	return $hits[1];
}
my $blocks = blocks_of_fold();

# The same rows are read again and again no more, once a summary of their pages has been made.
my $old = $node->background_psql('postgres');
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM chs.queue');
for my $round (1 .. 2)
{
	$node->safe_psql('postgres', $deltas);
	wait_right($node, 'postgres', "8000 deltas while an old snapshot is held open, $round");
}
is($node->safe_psql('postgres', q(
	SELECT count(*) > 0 FROM pg_class WHERE oid = 'chs.queue'::regclass AND pg_relation_size(oid) > 100 * 8192)),
	't', 'the dead rows are still there');
log_in($node, 'postgres', 3, 1);
wait_right($node, 'postgres', 'a new delta behind them');

# Nor are the versions of a customer's activity and health that nobody sees but the old snapshot.
$node->safe_psql('postgres', q(
	DO $$
	BEGIN
		FOR i IN 1..200 LOOP
			INSERT INTO chs.customer_events (customer_id, event_type, event_data) SELECT c, 'login', '{"ip_address": "::1"}' FROM generate_series(1, 40) c;
			COMMIT;
			PERFORM chs_process_queue();
			COMMIT;
		END LOOP;
	END $$));
wait_right($node, 'postgres', 'many folds of the same customers');
cmp_ok(blocks_of_fold(), '<', $blocks + 150, 'folding one of them once more reads few blocks');
$node->safe_psql('postgres', 'CREATE EXTENSION pageinspect');
is($node->safe_psql('postgres', q(
	SELECT max(i.blknum) > 100 FROM generate_series(1, pg_relation_size('chs.queue_xid_idx') / 8192 - 1) p
		 , brin_page_items(get_raw_page('chs.queue_xid_idx', p::integer), 'chs.queue_xid_idx') i
	WHERE brin_page_type(get_raw_page('chs.queue_xid_idx', p::integer)) = 'regular' AND NOT i.allnulls)),
	't', 'the worker has had summaries made');
is($node->safe_psql('postgres', q(
	SELECT DISTINCT (regexp_match(i.value, '\.\. ?(\d+)'))[1]::bigint % 256 FROM generate_series(1, pg_relation_size('chs.queue_xid_idx') / 8192 - 1) p
		 , brin_page_items(get_raw_page('chs.queue_xid_idx', p::integer), 'chs.queue_xid_idx') i
	WHERE brin_page_type(get_raw_page('chs.queue_xid_idx', p::integer)) = 'regular' AND NOT i.allnulls)),
	'255', 'of which the next transactions need change none');
$old->query_safe('COMMIT');
$old->quit;

# Pages that are used again.
$node->safe_psql('postgres', 'VACUUM chs.queue');
$node->safe_psql('postgres', $deltas);
wait_right($node, 'postgres', 'deltas in pages that were used before');

# What one worker has left behind, in pages that it does not read any more.  Clients never cease, so that it does not leave.
$node->append_conf('postgresql.conf', 'chs.max_workers = 1');
$node->reload;
my $login = q(INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (%s, 'login', '{"ip_address": "::1"}'););
my $load = start_load($node, 'postgres', sprintf($login, 9));
my $pid;
sub many_others
{
	for my $round (1 .. 2)
	{
		$node->safe_psql('postgres', $deltas =~ s/i % 10 \+ 1/i % 10 + 13/r);
		$node->poll_query_until('postgres', 'SELECT NOT EXISTS (SELECT FROM chs.queue WHERE customer_id NOT IN (7, 9))') or die 'not folded';
	}
	$pid = worker_pid($node, 'chs worker');
}

# The delta of a customer who failed for long.
$node->safe_psql('postgres', 'CREATE INDEX poison ON chs.customer_health ((1 / (customer_id - 7))) WHERE calculated_at > $$' . $node->safe_psql('postgres', 'SELECT now()') . '$$');
log_in($node, 'postgres', 7, 1);
ok($node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM chs.failures'), 'a customer fails');
$node->safe_psql('postgres', q(UPDATE chs.failures SET next_attempt = 'infinity'));
many_others();
$node->safe_psql('postgres', 'DROP INDEX chs.poison; UPDATE chs.failures SET next_attempt = now()');
ok($node->poll_query_until('postgres', 'SELECT NOT EXISTS (SELECT FROM chs.queue WHERE customer_id = 7)'), 'and is folded later');
is(worker_pid($node, 'chs worker'), $pid, 'by the worker that was there');

# That of a transaction that began before thousands of others and commits after them.
my $early = $node->background_psql('postgres');
$early->query_safe('BEGIN; ' . sprintf($login, 8) . ' SELECT chs_score(8)');
many_others();
$early->query_safe('COMMIT');
$early->quit;
ok($node->poll_query_until('postgres', 'SELECT NOT EXISTS (SELECT FROM chs.queue WHERE customer_id = 8)'), 'whoever began first and commits last is folded');
is(worker_pid($node, 'chs worker'), $pid, 'by the worker that was there, too');
stop_load($load);
wait_right($node, 'postgres', 'all is right');
done_testing();
