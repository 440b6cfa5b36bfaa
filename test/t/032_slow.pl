# Other people's code that takes long holds up the customers for whom it does, and nobody else: here it takes until the test lets it go on.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('slow', "autovacuum = off\nchs.plugin_timeout = 0");
$node->start;
add_chs($node, 'postgres');
$node->safe_psql('postgres', q(
	INSERT INTO chs.customers (customer_id, created_at) SELECT i, '2020-01-01' FROM generate_series(11, 400) i;
	CREATE FUNCTION wait_if_slow(customer_id bigint, as_of timestamptz) RETURNS double precision LANGUAGE plpgsql AS $$
	BEGIN
		IF customer_id BETWEEN 1 AND 8 THEN PERFORM pg_advisory_xact_lock_shared(1); END IF;
		RETURN 50;
	END $$;
	CREATE FUNCTION wait_if_slow(customer_id bigint) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN
		IF customer_id BETWEEN 11 AND 18 THEN PERFORM pg_advisory_xact_lock_shared(2); END IF;
		RETURN '::1';
	END $$;
	CREATE TABLE logins (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer bigint, seen timestamptz DEFAULT now());
	SELECT chs_attach('logins', 'customer', 'login', 'seen', 'jsonb_build_object(''ip_address'', public.wait_if_slow(customer))');
	INSERT INTO logins (customer) SELECT i FROM generate_series(11, 60) i;
	SELECT chs_add_factor('slow', 0.1, function => 'public.wait_if_slow(bigint,timestamptz)');
	SELECT chs_publish('slow')));

# settled(WHAT): all is folded and scored; events of the attached table count as well.
sub settled
{
	my ($what) = @_;

	ok($node->poll_query_until('postgres', q(
		SELECT NOT EXISTS (SELECT FROM chs.queue) AND NOT EXISTS (SELECT FROM chs_verify()) AND NOT EXISTS (SELECT FROM chs.failures)
		   AND NOT EXISTS (SELECT FROM chs.stale_health)
		   AND NOT EXISTS (SELECT FROM chs.customers c LEFT JOIN chs.customer_health h USING (customer_id)
		                   WHERE h.score IS DISTINCT FROM chs_score(c.customer_id)))), $what)
	  or diag($node->safe_psql('postgres', 'TABLE chs.worker_status; TABLE chs.failures; SELECT customer_id, count(*) FROM chs.queue GROUP BY 1 ORDER BY 1 LIMIT 30'));
}

# served(SLOW, WHAT): events of all customers, with what is queued already, are folded for all but the slow ones.
sub served
{
	my ($slow, $what) = @_;

	for my $round (1 .. 2)
	{
		$node->safe_psql('postgres', q(INSERT INTO chs.customer_events (customer_id, event_type, event_data)
			SELECT i, 'login', '{"ip_address": "::1"}' FROM generate_series(1, 400) i));
		ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM chs.queue WHERE NOT customer_id $slow)"), "$what: the others are served, time $round")
		  or diag($node->safe_psql('postgres', 'TABLE chs.worker_status; SELECT count(*), min(customer_id), max(customer_id) FROM chs.queue'));
	}
}

# closed(LOCK): a session that has what the slow ones wait for.
sub closed
{
	my ($lock) = @_;
	my $session = $node->background_psql('postgres');

	$session->query_safe("BEGIN; SELECT pg_advisory_xact_lock($lock)");
	return $session;
}

my $slow_one = q(SELECT slow_customers > 0 AND state = 'folding slow customers' AND slow_because LIKE '%s' FROM chs.worker_status WHERE worker = 9);
settled('at the beginning');

# Functions of plug-ins.
{
	my $closed = closed(1);
	served('BETWEEN 1 AND 8', 'a function that takes long for some customers');
	ok($node->poll_query_until('postgres', sprintf($slow_one, 'plug-in function public.wait_if_slow(%) took too long for customer _')), 'chs.worker_status names the function')
	  or diag($node->safe_psql('postgres', 'TABLE chs.worker_status'));
	is($node->safe_psql('postgres', 'SELECT count(*) FROM chs.failures'), '0', 'it has not failed');
	# whoever has it in hand can be terminated
	my $pid = $node->safe_psql('postgres', 'SELECT pid FROM chs.worker_status WHERE worker = 9');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	ok($node->poll_query_until('postgres', "SELECT pid <> $pid FROM chs.worker_status WHERE worker = 9"), 'the worker for slow customers comes again');
	release($closed);
	settled('when it is fast again all is right');
}

# One that takes long for everybody.
{
	$node->safe_psql('postgres', q(
		CREATE OR REPLACE FUNCTION wait_if_slow(customer_id bigint, as_of timestamptz) RETURNS double precision LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM pg_advisory_xact_lock_shared(1);
			RETURN 50;
		END $$));
	my $closed = closed(1);
	$node->safe_psql('postgres', q(INSERT INTO chs.customer_events (customer_id, event_type, event_data) SELECT i, 'login', '{"ip_address": "::1"}' FROM generate_series(100, 120) i));
	ok($node->poll_query_until('postgres', 'SELECT slow_customers = 21 FROM chs.worker_status WHERE worker = 1'), 'all of them are set apart')
	  or diag($node->safe_psql('postgres', 'TABLE chs.worker_status'));
	release($closed);
	settled('and all are right afterwards');
}

# Expressions of attached tables, whose rows are read for a rebuild.
{
	my $held = hold($node, 'postgres');
	$node->safe_psql('postgres', q(
		UPDATE logins SET seen = seen - interval '1 second';
		UPDATE chs.customer_events SET occurred_at = occurred_at - interval '1 second' WHERE customer_id IN (9, 300)));
	my $closed = closed(2);
	release($held);
	served('BETWEEN 11 AND 18', 'an expression that takes long for some rows');
	ok($node->poll_query_until('postgres', sprintf($slow_one, 'events of table public.logins cannot be read: expressions of table public.logins took too long')), 'chs.worker_status names the table')
	  or diag($node->safe_psql('postgres', 'TABLE chs.worker_status'));
	release($closed);
	settled('when it is fast again all is right');
}

# A table that its owner keeps locked.
{
	my $closed = $node->background_psql('postgres');
	my $held = hold($node, 'postgres');
	$node->safe_psql('postgres', q(UPDATE logins SET seen = seen - interval '1 second' WHERE customer BETWEEN 11 AND 18));
	$closed->query_safe('BEGIN; LOCK TABLE logins');
	release($held);
	served('BETWEEN 11 AND 18', 'a table that is locked');
	release($closed);
	settled('when it is not all is right');
}

# Without a place for one more process the first worker does its work, when it has no other.
{
	$node->append_conf('postgresql.conf', 'max_worker_processes = 3');
	$node->restart;
	my $closed = closed(1);
	log_in($node, 'postgres', 1, 3);
	ok($node->poll_query_until('postgres', q(SELECT state = 'folding slow customers' FROM chs.worker_status WHERE worker = 1)), 'the first worker serves slow customers');
	release($closed);
	settled('without a process of their own slow customers are served, too');
}

$node->stop;
done_testing();
