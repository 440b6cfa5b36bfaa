# Constant inserts, updates and deletes: the worker's memory and the lag do not grow, and in the end everything is
# folded and right.  Takes a few seconds; CHS_SOAK=SECONDS, or CHS_FULL=1 for ten minutes, makes it longer.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use List::Util qw(max min);
use Time::HiRes qw(time usleep);

my $seconds = $ENV{CHS_SOAK} || ($ENV{CHS_FULL} ? 600 : 8);
my $customers = 200;
my $node = new_node('soak', "autovacuum_naptime = 1\nlog_statement = none\nlog_autovacuum_min_duration = -1");
$node->start;
$node->safe_psql('postgres', qq(
	CREATE EXTENSION chs;
	INSERT INTO chs.customers (customer_id, segment, created_at) SELECT n, 'smb', '2020-01-01' FROM generate_series(1, $customers) n;
	INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
	SELECT c, 'api_call', jsonb_build_object('endpoint', e % 9), now() - e * interval '1 day' FROM generate_series(1, $customers) c, generate_series(1, 40) e));

# As many events are inserted as deleted, so that nothing has a reason to grow.
my %scripts = (
	insert => q(
\set c random(1, :customers)
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
VALUES (:c, 'login', jsonb_build_object('ip_address', :c, 'user_id', (random() * 100)::integer));
),
	several => q(
\set c random(1, :customers)
BEGIN;
SAVEPOINT a;
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
SELECT (n * 7919 + :c) % :customers + 1, 'feature_use', jsonb_build_object('feature_name', n) FROM generate_series(1, 5) n;
ROLLBACK TO a;
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
SELECT (n * 7919 + :c) % :customers + 1, 'payment', jsonb_build_object('amount', n) FROM generate_series(1, 5) n;
COMMIT;
),
	update => q(
\set c random(1, :customers)
UPDATE chs.customer_events SET occurred_at = occurred_at - interval '1 hour'
WHERE (customer_id, event_id) IN (SELECT customer_id, event_id FROM chs.customer_events WHERE customer_id = :c ORDER BY event_id DESC LIMIT 2);
),
	delete => q(
\set c random(1, :customers)
DELETE FROM chs.customer_events
WHERE (customer_id, event_id) IN (SELECT customer_id, event_id FROM chs.customer_events WHERE customer_id = :c ORDER BY event_id LIMIT 7);
),
	score => q(
\set c random(1, :customers)
SELECT chs_score(:c);
));
my %weights = (insert => 10, several => 2, update => 1, delete => 3, score => 4);
my @files;
for my $name (sort keys %scripts)
{
	my $file = PostgreSQL::Test::Utils::tempdir() . "/$name.sql";
	append_to_file($file, $scripts{$name});
	push @files, '-f', "$file\@$weights{$name}";
}
my ($out, $err) = ('', '');
my $load = IPC::Run::start(
	[ $node->installed_command('pgbench'), '-n', '-c', '4', '-R', '400', '-T', $seconds, '-D', "customers=$customers", '--max-tries=10', @files, $node->connstr('postgres') ],
	'<', \undef, '>', \$out, '2>', \$err);

# memory(PID): the private memory of a process, in kilobytes; 0 if unknown.
sub memory
{
	open(my $file, '<', "/proc/$_[0]/status") or return 0;
	my ($kilobytes) = map { /^RssAnon:\s+(\d+)/ } <$file>;
	return $kilobytes // 0;
}

# allocated(PID): what a process has allocated and uses, in kilobytes, as it says itself when it next looks for interrupts:
# the memory that it needs, where memory() is also what malloc keeps for it to use again.
sub allocated
{
	my ($session, $pid) = @_;
	my $offset = -s $node->logfile;
	return if $session->query_safe("SELECT pg_log_backend_memory_contexts($pid)") ne 't';
	$node->wait_for_log(qr/\[$pid\] .*Grand total: .* used/, $offset);
	my ($bytes) = slurp_file($node->logfile, $offset) =~ /\[$pid\] .*Grand total: .* (\d+) used/;
	return $bytes / 1024;
}

# median(NUMBER...)
sub median { my @sorted = sort { $a <=> $b } @_; return $sorted[ @sorted / 2 ] // 0; }

my (@memory, @allocated, @lag);
my $session = $node->background_psql('postgres');
$session->set_query_timer_restart;
my $began = time;
while (time - $began < $seconds)
{
	my ($lag, $pid) = split /\|/, $session->query_safe(
		'SELECT q.lag_seconds, w.pid FROM chs.queue_status q, chs.worker_status w WHERE w.worker = 1');
	push @lag, $lag;
	push @memory, memory($pid) if $pid;
	push @allocated, allocated($session, $pid) if $pid && time - $began >= @allocated * $seconds / 40;
	usleep(100_000);
}
$load->finish;
$session->quit;
my ($done) = $out =~ /number of transactions actually processed: (\d+)/;
cmp_ok($done // 0, '>', 10 * $seconds, 'there was traffic') or diag($out, $err);
unlike($err, qr/ERROR|FATAL|error:/, 'no statement failed');

# The results for each eighth of the time.
for my $n (0 .. 7)
{
	my @lags = sort { $a <=> $b } @lag[ $n * @lag / 8 .. ($n + 1) * @lag / 8 - 1 ];
	note(sprintf('%d/8: lag %.3f s, at most %.3f s; memory %d kB', $n + 1, median(@lags), max(@lags),
			max(0, @memory[ $n * @memory / 8 .. ($n + 1) * @memory / 8 - 1 ])));
}
note($out);

# The first quarter is for warming up.
my $quarter = int(@lag / 4);
my ($early, $late) = (median(@lag[ $quarter .. 2 * $quarter ]), median(@lag[ -$quarter .. -1 ]));
cmp_ok($late, '<=', 4 * $early + 0.5, sprintf('the lag does not grow: %.3f s, then %.3f s', $early, $late));
SKIP:
{
	skip 'memory is not told here', 1 unless @memory && max(@memory) > 0;
	$quarter = int(@memory / 4);
	($early, $late) = (max(@memory[ $quarter .. 2 * $quarter ]), max(@memory[ -$quarter .. -1 ]));
	cmp_ok($late, '<=', 1.2 * $early + 2048, "nor does the worker's memory: $early kB, then $late kB");
}
# In the middle of a batch it is more, so the minimum is what stays.
$quarter = int(@allocated / 4);
($early, $late) = (min(@allocated[ $quarter .. 2 * $quarter ]), min(@allocated[ -$quarter .. -1 ]));
cmp_ok($late, '<=', $early + 16, sprintf('nothing that the worker allocates stays: %.0f kB, then %.0f kB', $early, $late));
ok($node->poll_query_until('postgres', 'SELECT depth = 0 FROM chs.queue_status'), 'the queue is drained');
is($node->safe_psql('postgres', 'SELECT * FROM chs_verify()'), '', 'chs_verify finds nothing');
is($node->safe_psql('postgres', q(
	SELECT count(*) FROM chs.customers c JOIN chs.customer_health h USING (customer_id) WHERE h.score IS DISTINCT FROM chs_score(customer_id))),
	'0', 'stored scores are those of now');
is($node->safe_psql('postgres', 'SELECT count(*) FROM chs.failures'), '0', 'nobody failed');
cmp_ok($node->safe_psql('postgres', q(SELECT sum(pg_total_relation_size(r)) FROM unnest('{chs.queue,chs.activity,chs.customer_health,chs.health_counts}'::regclass[]) r)),
	'<', 40 * 1024 * 1024, 'and the tables of the engine have stayed small');

$node->stop;
is_quiet($node, qr/PANIC:|TRAP:|terminated by signal|ERROR:|WARNING:/, 'the log is quiet');
done_testing();
