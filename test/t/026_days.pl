# Days that are over are counted by the worker, each as a whole, whatever happens at midnight; by an oracle that shares no code.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('days', 'chs.naptime = 1');
my %clock = make_clock($node) or plan skip_all => 'the clock cannot be compiled';
set_clock($node, 1800);
{
	local @ENV{keys %clock} = values %clock;
	$node->start;
}

sub value { return $node->safe_psql('postgres', $_[0]); }
sub wait_for { my ($query, $what) = @_; ok($node->poll_query_until('postgres', "SELECT $query"), $what); }

my $over = q(((now() AT TIME ZONE 'UTC')::date - 1));
value(q(
	CREATE EXTENSION chs;
	INSERT INTO chs.customers (customer_id, segment, created_at, value)
	SELECT i, (ARRAY['smb', 'enterprise', NULL])[1 + i % 3], '2020-01-01', 100 * i FROM generate_series(1, 60) i;
	-- what the counts of the last two days should be, by segment and status
	CREATE FUNCTION public.ends(until date) RETURNS TABLE (customer_id bigint, segment text, status text, score numeric) LANGUAGE sql AS $$
		SELECT s.customer_id, (array_agg(s.segment ORDER BY s.as_of DESC, s.health_score_id DESC))[1],
		       CASE WHEN c.churned_at::date <= until THEN 'churned' ELSE (array_agg(s.status ORDER BY s.as_of DESC, s.health_score_id DESC))[1] END,
		       (array_agg(s.score ORDER BY s.as_of DESC, s.health_score_id DESC))[1]::numeric
		FROM chs.health_scores s JOIN chs.customers c USING (customer_id) WHERE s.as_of <= until GROUP BY s.customer_id, c.churned_at $$;
	CREATE VIEW public.expected AS
	SELECT d.day, CASE t.status WHEN 'churned' THEN f.segment ELSE t.segment END AS segment, COALESCE(f.status, 'none') AS from_status,
	       t.status AS to_status, count(*) AS customers, COALESCE(sum(t.score) FILTER (WHERE t.status <> 'churned'), 0) * 100 AS hundredths
	FROM chs.counted_days d CROSS JOIN LATERAL ends(d.day) t LEFT JOIN LATERAL ends(d.day - 1) f ON f.customer_id = t.customer_id
	WHERE t.status <> 'churned' OR f.status <> 'churned' GROUP BY 1, 2, 3, 4;
	CREATE VIEW public.counted AS
	SELECT day, segment, from_status, to_status, customers, score_hundredths::numeric FROM chs.daily_counts WHERE span = 1;
	CREATE VIEW public.wrong AS (TABLE counted EXCEPT TABLE expected) UNION ALL (TABLE expected EXCEPT TABLE counted)));

# something(DAY): customers do this and that.
sub something
{
	my ($seed) = @_;

	value(qq(
		SELECT setseed(0.$seed);
		INSERT INTO chs.customer_events (customer_id, event_type, event_data)
		SELECT 1 + (random() * 59)::integer, t.type, jsonb_build_object('ip_address', i, 'feature_name', i % 9, 'endpoint', i, 'amount', 5)
		FROM generate_series(1, 1500) i, LATERAL (SELECT ('{login,feature_use,payment,api_call}'::text[])[1 + i % 4] AS type) t;
		UPDATE chs.customers SET churned_at = now() WHERE customer_id = 10 + $seed;
		UPDATE chs.customers SET segment = 'startup' WHERE customer_id = 20 + $seed;
		INSERT INTO chs.customers (customer_id, segment) VALUES (100 + $seed, 'smb')));
}

# midnight(N): the Nth.
sub midnight
{
	my ($n) = @_;

	set_clock($node, -60 - 86400 * ($n - 1));
	$node->reload;
}

something(1);
wait_for('NOT EXISTS (SELECT FROM chs.queue)', 'the first day');
is(value('SELECT count(*) FROM chs.counted_days'), '0', 'before midnight nothing is counted');

# One session has folded a customer and not committed, another one has begun only.
my $folded = $node->background_psql('postgres');
$folded->query_safe(q(BEGIN; INSERT INTO chs.customer_events (customer_id, event_type) SELECT 5, 'support_ticket' FROM generate_series(1, 30); SELECT chs_recalculate(5)));
my $begun = $node->background_psql('postgres');
$begun->query_safe('BEGIN; SELECT 1');
midnight(1);
wait_for("count(*) = 59 FROM chs.health_scores WHERE as_of > $over", 'it is midnight: everyone else who is there is scored for the new day');
is(value('SELECT chs_count_days()'), '0', 'the day is not counted while somebody may still be writing its history');
is(value('SELECT count(*) FROM chs.daily_stats'), '0', 'nothing is shown of it');
my $seen = value("SELECT count(*) FROM chs.health_scores WHERE as_of = $over AND customer_id = 5");
$folded->query_safe('COMMIT');
$folded->quit;
wait_for("EXISTS (SELECT FROM chs.counted_days WHERE day = $over)", 'then the worker counts it');
is(value('TABLE wrong'), '', 'as the oracle says');
cmp_ok(value("SELECT count(*) FROM chs.health_scores WHERE as_of = $over AND customer_id = 5"), '>', $seen, '(with what was committed after midnight)');
is(value("SELECT sum(total) FROM chs.daily_stats WHERE day = $over"), '60', 'everyone who was there is counted');
# It began yesterday, so its scores are yesterday's.
$begun->query_safe(q(INSERT INTO chs.customers (customer_id, segment) VALUES (200, 'smb'); SELECT chs_recalculate(200)));
$begun->query_safe('COMMIT');
$begun->quit;
is(value("SELECT count(*) FROM chs.health_scores WHERE as_of = $over AND customer_id = 200"), '1', 'one more customer of yesterday');
wait_for("(SELECT sum(total) FROM chs.daily_stats WHERE day = $over) = 61", 'the worker counts yesterday again');
is(value('TABLE wrong'), '', 'as the oracle says');

for my $day (2 .. 4)
{
	something($day);
	wait_for('NOT EXISTS (SELECT FROM chs.queue)', "day $day: all is folded");
	midnight($day);
	wait_for("EXISTS (SELECT FROM chs.counted_days WHERE day = $over)", 'it is counted when it is over');
	is(value('TABLE wrong'), '', 'as the oracle says');
	is(value("SELECT sum(arrivals) = count(*) FILTER (WHERE segment = 'smb') AND sum(departures) = 1 FROM chs.daily_stats WHERE day = $over"), 't', 'one came and one left');
	is(value('SELECT * FROM chs_verify()'), '', 'chs_verify() finds nothing');
}
cmp_ok(value('SELECT count(*) FROM counted WHERE from_status <> to_status'), '>', 5, '(there were moves)');

# Somebody had left three days ago, as is known now.
value(q(UPDATE chs.customers SET churned_at = now() - interval '3 days' WHERE customer_id = 30));
wait_for('NOT EXISTS (SELECT FROM chs.recounts)', 'the worker counts those days again');
is(value("SELECT sum(departures) FROM chs.daily_stats WHERE day = $over - 2"), '2', 'with the departure');
is(value('TABLE wrong'), '', 'as the oracle says');

# The server dies while days are being counted.
value('SELECT chs_pause()');
value("UPDATE chs.customers SET churned_at = churned_at + interval '1 day' WHERE customer_id = 30");
value('SELECT chs.count_days_slice(20, true)') for 1 .. 4;
is(value('SELECT count(*) FROM chs.day_count WHERE last_customer_id > 0'), '1', 'some customers are counted');
my $before = value('SELECT * FROM counted ORDER BY counted::text');
$node->stop('immediate');
{
	local @ENV{keys %clock} = values %clock;
	$node->start;
}
is(value('SELECT * FROM counted ORDER BY counted::text'), $before, 'after a crash the counts are as before');
value('SELECT chs_resume()');
wait_for('NOT EXISTS (SELECT FROM chs.recounts)', 'and the worker goes on');
is(value('TABLE wrong'), '', 'as the oracle says');
is(value('SELECT * FROM chs_verify()'), '', 'chs_verify() finds nothing');
$node->stop;
done_testing();
