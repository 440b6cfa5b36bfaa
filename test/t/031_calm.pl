# Nobody stops the others: a transaction that stays open holds up the customers that it has folded, and nobody else.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('calm', "autovacuum = off");
$node->start;
add_chs($node, 'postgres');
$node->safe_psql('postgres', q(INSERT INTO chs.customers (customer_id, created_at) SELECT i, '2020-01-01' FROM generate_series(11, 400) i));
wait_right($node, 'postgres', 'at the beginning');

# go_on(WHAT, CUSTOMER): events of customers up to 400, all but that one, are folded; then that one's, too.
my $others = 'SELECT NOT EXISTS (SELECT FROM chs.queue WHERE customer_id NOT IN (%s))';
sub go_on
{
	my ($what, $held) = @_;

	$node->safe_psql('postgres', q(INSERT INTO chs.customer_events (customer_id, event_type, event_data)
		SELECT i, 'login', '{"ip_address": "::1"}' FROM generate_series(1, 400) i));
	ok($node->poll_query_until('postgres', sprintf($others, $held)), "$what: the others are folded")
	  or diag($node->safe_psql('postgres', 'SELECT count(*), min(customer_id), max(customer_id) FROM chs.queue'));
}

# Sessions that fold by hand, and do not commit.
for my $case ([ 'SELECT chs_process_queue()', 'the queue' ], [ 'SELECT chs_recalculate(5)', 'a customer' ], [ 'SELECT chs_rebuild(5)', 'the events of a customer' ])
{
	my ($statement, $what) = @$case;
	my $open = $node->background_psql('postgres');

	$open->query_safe(q(BEGIN; INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (5, 'login', '{"ip_address": "::1"}')));
	$open->query_safe($statement);
	go_on("who folded $what and stays idle", 5);
	is($node->safe_psql('postgres', 'SELECT count(*) FROM chs.queue WHERE customer_id = 5'), '1', 'what that has folded waits');
	my $pid = ask($open, 'SELECT pg_backend_pid()');
	ok($node->poll_query_until('postgres', "SELECT left_customers = 1 AND in_the_way ~ '^process $pid of .*, idle in transaction, in a transaction for 00:' FROM chs.worker_status"), 'and chs.worker_status says who has it')
	  or diag($node->safe_psql('postgres', 'TABLE chs.worker_status'));
	# others stand in line for everyone, and for the same customer
	is($node->psql('postgres', 'CALL chs_recalculate_all()', stderr => \my $notice), 0, 'chs_recalculate_all() waits for nobody');
	like($notice, qr/NOTICE: .*were skipped/, 'and says that it skipped somebody');
	my $same = $node->background_psql('postgres');
	$same->query_until(qr/asking/, "\\echo asking\nSELECT chs_recalculate(5);\n");
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'SELECT chs_recalculate(5)%' AND wait_event_type = 'Lock'") or die 'nobody waits';
	go_on('with one who waits for that', 5);
	$open->query_safe('COMMIT');
	$_->quit for ($open, $same);
	wait_right($node, 'postgres', 'after the end everything is right');
}

# Two who recalculate different customers, in opposite order, all of them: none shares anything with another.
{
	my ($one, $two) = map { $node->background_psql('postgres') } 1 .. 2;
	$_->query_safe('BEGIN') for ($one, $two);
	$one->query_safe('SELECT count(chs_recalculate(i)) FROM generate_series(1, 200) i');
	$two->query_safe('SELECT count(chs_recalculate(i)) FROM generate_series(400, 201, -1) i');
	pass('two who recalculate half of the customers each do not wait for each other');
	$_->query_safe('COMMIT') for ($one, $two);
	$_->quit for ($one, $two);
	wait_right($node, 'postgres', 'when both have ended everything is right');
}

# A customer that is new to two who fold it at once, one of whom does not commit.
{
	my $open = $node->background_psql('postgres');
	$node->safe_psql('postgres', q(ALTER SYSTEM SET chs.enabled = off));
	$node->reload;
	$node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'chs worker')");
	$node->safe_psql('postgres', q(INSERT INTO chs.customers (customer_id, created_at) VALUES (401, '2020-01-01')));
	log_in($node, 'postgres', 401, 3);
	$open->query_safe('BEGIN; SELECT chs_recalculate(401)');
	$node->safe_psql('postgres', q(ALTER SYSTEM RESET chs.enabled));
	$node->reload;
	go_on('a new customer that is held', 401);
	$open->query_safe('COMMIT');
	$open->quit;
	wait_right($node, 'postgres', 'after its end it is right');
}

# Customers that fail, or are locked, for long, cost the others nothing: what was folded beyond their rows is not read again.
{
	# so many pages of the queue a worker reads for twenty commits
	my $pages = sub {
		my $read = q(SELECT sum(heap_blks_read + heap_blks_hit) FROM pg_statio_all_tables WHERE relid = 'chs.queue'::regclass);
		my $before = $node->safe_psql('postgres', $read);
		for my $i (1 .. 20)
		{
			my $now = $node->safe_psql('postgres', 'SELECT now()');
			log_in($node, 'postgres', 20 + $i, 1);
			$node->poll_query_until('postgres', sprintf("SELECT calculated_at > '$now' FROM chs.customer_health WHERE customer_id = %d", 20 + $i)) or die 'not folded';
		}
		$node->poll_query_until('postgres', "SELECT state IN ('waiting', 'away') FROM chs.worker_status WHERE worker = 1");
		return $node->safe_psql('postgres', $read) - $before;
	};
	my $old = $node->background_psql('postgres');
	$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM chs.queue');
	$node->safe_psql('postgres', 'CREATE INDEX poison ON chs.customer_health ((1 / (customer_id - 7))) WHERE calculated_at > $$' . $node->safe_psql('postgres', 'SELECT now()') . '$$');
	my $locked = $node->background_psql('postgres');
	$locked->query_safe('BEGIN; SELECT FROM chs.customer_health WHERE customer_id = 9 FOR UPDATE');
	log_in($node, 'postgres', 7, 1);
	log_in($node, 'postgres', 9, 1);
	$node->poll_query_until('postgres', 'SELECT customer_id = 7 FROM chs.failures') or die 'no failure';
	$node->safe_psql('postgres', q(UPDATE chs.failures SET next_attempt = 'infinity'));
	$node->safe_psql('postgres', q(
		DO $$
		BEGIN
			FOR i IN 1..60000 LOOP
				INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (i % 10 + 100, 'login', '{"ip_address": "::1"}');
				-- so many transactions as what the index knows of pages is rounded to are soon over
				IF i % 100 = 0 THEN COMMIT; END IF;
			END LOOP;
		END $$));
	$node->poll_query_until('postgres', sprintf($others, '7, 9')) or die 'not folded';
	my $dead = $node->safe_psql('postgres', q(SELECT pg_relation_size('chs.queue') / 8192));
	cmp_ok($dead, '>', 500, 'many pages of dead rows lie behind a customer that failed and one that is locked');
	my $pages_read = $pages->();
	cmp_ok($pages_read, '<', 20 * $dead / 2, "twenty commits do not read them again ($pages_read pages of $dead)");
	is($node->safe_psql('postgres', 'SELECT string_agg(customer_id::text, $$,$$ ORDER BY customer_id) FROM chs.queue'), '7,9', 'the two are still queued');
	is($node->safe_psql('postgres', 'SELECT depth, held_back, failing FROM chs.queue_status'), '2|1|1', 'and chs.queue_status knows them');
	# nor do they keep the worker
	ok($node->poll_query_until('postgres', q(SELECT state = 'away' FROM chs.worker_status)), 'the worker leaves');
	$locked->query_safe('COMMIT');
	$locked->quit;
	ok($node->poll_query_until('postgres', sprintf($others, 7)), 'when it is free the customer that was locked is folded, without a commit');
	$node->safe_psql('postgres', 'DROP INDEX chs.poison; UPDATE chs.failures SET next_attempt = now()');
	$old->query_safe('COMMIT');
	$old->quit;
	wait_right($node, 'postgres', 'and when the reason is gone the one that failed');
}

# Nobody can leave that behind in a prepared transaction.
isnt($node->psql('postgres', "BEGIN; SELECT chs_recalculate(5); PREPARE TRANSACTION 'folded'", stderr => \my $refusal), 0, 'a transaction that folded cannot be prepared');
like($refusal, qr/cannot PREPARE a transaction that has stored scores.*HINT:.*COMMIT PREPARED/s, 'it says why, and what to do instead');
is($node->safe_psql('postgres', q(
	BEGIN;
	INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (6, 'login', '{"ip_address": "::1"}');
	SELECT chs_score(6) IS NOT NULL;
	PREPARE TRANSACTION 'inserted')), 't', 'one that inserted, and read a score, can');
$node->safe_psql('postgres', q(COMMIT PREPARED 'inserted'));

# A failure is over with the first success, whoever has it.
for my $function ('chs_recalculate', 'chs_rebuild')
{
	$node->safe_psql('postgres', 'CREATE INDEX poison ON chs.customer_health ((1 / (customer_id - 8))) WHERE calculated_at > $$' . $node->safe_psql('postgres', 'SELECT now()') . '$$');
	log_in($node, 'postgres', 8, 1);
	$node->poll_query_until('postgres', 'SELECT customer_id = 8 FROM chs.failures') or die 'no failure';
	$node->safe_psql('postgres', q(DROP INDEX chs.poison; UPDATE chs.failures SET next_attempt = 'infinity'));
	$node->poll_query_until('postgres', "SELECT state = 'waiting' FROM chs.worker_status");
	$node->safe_psql('postgres', "SELECT $function(8)");
	is($node->safe_psql('postgres', 'SELECT (SELECT count(*) FROM chs.failures), failing FROM chs.queue_status'), '0|0', "$function() ends the failure of its customer");
}

# An error that concerns everyone ends the worker, each time for longer; but a commit, or a reload, has it try again.
{
	# what is raised by RAISE concerns one customer only, whatever it is
	my $message = 'could not read file "/proc/self/mem": Input/output error';
	my $failed_at = q(SELECT COALESCE(extract(epoch FROM last_error_at), 0) FROM chs.worker_status WHERE worker = 1);
	$node->safe_psql('postgres', q(
		CREATE TABLE broken ();
		CREATE FUNCTION may_fail(bigint, timestamptz) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
		BEGIN
			IF to_regclass('public.broken') IS NOT NULL AND $2 > clock_timestamp() - interval '1 minute' THEN
				PERFORM pg_read_file('/proc/self/mem', 0, 1);
			END IF;
			RETURN $1;
		END $$;
		DROP TABLE broken;
		CREATE INDEX may_fail ON chs.customer_health (may_fail(customer_id, calculated_at));
		CREATE TABLE broken ()));
	my @failed_at = ($node->safe_psql('postgres', $failed_at));
	for (1 .. 5)
	{
		my $at = $failed_at[-1];
		for (1 .. 600)
		{
			log_in($node, 'postgres', 1, 1);
			last if ($at = $node->safe_psql('postgres', $failed_at)) > $failed_at[-1];
		}
		push @failed_at, $at;
	}
	is($node->safe_psql('postgres', 'SELECT last_error FROM chs.worker_status'), $message, 'chs.worker_status has the error');
	# by time alone they would come after 1, 2, 4 and 8 seconds, and the next one after 16
	my $duration = $failed_at[5] - $failed_at[1];
	ok($duration > 3 && $duration < 15, "a worker that fails is started again by commits, but not more often than once a second: $duration s");
	$node->safe_psql('postgres', 'DROP TABLE broken');
	$node->reload;
	wait_right($node, 'postgres', 'when the cause is gone a reload is enough');
	cmp_ok($node->safe_psql('postgres', "SELECT extract(epoch FROM last_batch_at) - $failed_at[5] FROM chs.worker_status WHERE worker = 1"), '<', 16, 'and not the time');
	$node->safe_psql('postgres', 'DROP INDEX chs.may_fail; DROP FUNCTION may_fail');
}

# A prepared transaction can hold a customer only by other means, and a table can be locked; then nothing can be stored, but it is seen who is in the way.
$node->safe_psql('postgres', "BEGIN; SELECT FROM chs.customer_health WHERE customer_id = 12 FOR UPDATE; PREPARE TRANSACTION 'in the way'");
go_on('a prepared transaction', 12);
ok($node->poll_query_until('postgres', "SELECT in_the_way ~ '^prepared transaction ''in the way'' of ' FROM chs.worker_status"), 'chs.worker_status names it');
$node->safe_psql('postgres', "ROLLBACK PREPARED 'in the way'");
wait_right($node, 'postgres', 'when it has ended everything is right');
for my $prepared (0, 1)
{
	my $held = hold($node, 'postgres');
	my $who = 'process ' . ask($held, 'SELECT pg_backend_pid()') . ' ';
	$held->query_safe("PREPARE TRANSACTION 'the table'") if $prepared;
	$who = q(prepared transaction ''the table'' ) if $prepared;
	log_in($node, 'postgres', 3, 1);
	ok($node->poll_query_until('postgres', "SELECT in_the_way ~ '^$who' FROM chs.worker_status"), "chs.worker_status says who has locked a table, $who")
	  or diag($node->safe_psql('postgres', 'TABLE chs.worker_status'));
	$held->query_safe($prepared ? "COMMIT PREPARED 'the table'" : 'COMMIT');
	$held->quit;
	wait_right($node, 'postgres', 'and goes on afterwards');
	is($node->safe_psql('postgres', 'SELECT in_the_way FROM chs.worker_status'), '', 'when nobody is in the way it says so');
}

# Rows that somebody has locked, or summed, are passed by.
{
	my $open = $node->background_psql('postgres');
	$open->query_safe('BEGIN; SELECT FROM chs.customer_health WHERE customer_id = 7 FOR UPDATE; SELECT FROM chs.health_counts FOR UPDATE; SELECT FROM chs.jobs FOR UPDATE');
	go_on('who has locked rows', 7);
	$open->query_safe('COMMIT');
	$open->quit;
}
wait_right($node, 'postgres', 'in the end everything is right');
$node->stop;
is_quiet($node, qr/PANIC|deadlock|updated concurrently/, 'no deadlock, no conflict');
done_testing();
