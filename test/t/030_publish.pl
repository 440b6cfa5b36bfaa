# Publishing while others score, insert and fold: every session scores by the version that is live in its own snapshot, and
# never by half of one; if a version needs more than activities count, the one before stays live until they are rebuilt.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('publish', 'max_connections = 40');
$node->start;
add_chs($node, 'postgres');
$node->safe_psql('postgres', q(
	UPDATE chs.customers SET segment = (ARRAY['enterprise', 'smb', 'startup', NULL])[1 + customer_id % 4];
	INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
	SELECT c, t, jsonb_build_object('endpoint', n % 5, 'ip_address', n % 7, 'amount', 10 + n, 'status', CASE n % 3 WHEN 0 THEN 'overdue' ELSE 'completed' END),
	       now() - n * interval '1 day'
	FROM generate_series(1, 10) c, unnest('{api_call,login,payment}'::text[]) t, generate_series(0, 4 * c) n;

	-- What chs says of a customer, and what the version of the same snapshot makes of the raw events.
	CREATE VIEW exact AS
	SELECT c.customer_id, v.version, h.version AS used, h.score,
	       h.score IS NOT DISTINCT FROM s.score AND h.status = s.status AND h.coverage = s.coverage
	       AND h.factor_scores IS NOT DISTINCT FROM s.factor_scores AND h.version = v.version AS exact
	FROM chs.customers c
	CROSS JOIN (SELECT version, document FROM chs.scorecard_versions WHERE live_at IS NOT NULL ORDER BY version DESC LIMIT 1) v
	CROSS JOIN LATERAL chs.health_now(c.customer_id) h
	CROSS JOIN LATERAL (SELECT chs_activity_agg(v.document, e.event_type, e.event_data, e.occurred_at) AS activity
	                    FROM chs.customer_events e WHERE e.customer_id = c.customer_id) a
	CROSS JOIN LATERAL chs_activity_score(a.activity, v.document, c.segment, c.created_at, now()) s;
	CREATE VIEW latest AS SELECT version, live_at IS NOT NULL AS live FROM chs.scorecard_versions ORDER BY version DESC LIMIT 1;
	CREATE FUNCTION check_exact() RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		wrong exact;
	BEGIN
		SELECT * INTO wrong FROM exact e WHERE NOT e.exact LIMIT 1;
		IF FOUND THEN
			RAISE EXCEPTION 'not exact: %', wrong;
		END IF;
	END
	$$;
	-- Weights, mostly; now and then what needs other series.
	CREATE FUNCTION change_and_publish() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_advisory_xact_lock(4711);
		UPDATE chs.factors SET weight = 0.05 + random() WHERE scorecard = 'default';
		INSERT INTO chs.segment_weights VALUES ('default', 'login_frequency', NULL, 'smb', random())
		ON CONFLICT (scorecard, factor, metric, segment) DO UPDATE SET weight = excluded.weight;
		IF random() < 0.2 THEN
			DELETE FROM chs.metrics WHERE metric = 'addresses';
			INSERT INTO chs.metrics (scorecard, factor, metric, event_type, aggregate, field, window_days, curve, weight, missing)
			VALUES ('default', 'login_frequency', 'addresses', 'login', 'distinct', 'ip_address', 5 + random() * 60, '0:0 7:100', 1, 'zero');
		END IF;
		PERFORM chs_publish();
	END
	$$;));

# settled(WHAT): eventually everything is folded, stored and right, without further action.
sub settled
{
	my ($what) = @_;

	ok($node->poll_query_until('postgres', q(
		SELECT live AND NOT EXISTS (SELECT FROM chs.queue) AND NOT EXISTS (SELECT FROM chs_verify())
		   AND NOT EXISTS (SELECT FROM exact JOIN chs.customer_health h USING (customer_id)
		                   WHERE NOT exact OR h.version <> exact.version OR h.score IS DISTINCT FROM exact.score)
		FROM latest)), $what);
}

# refused(SQL, WHAT): for lack of a privilege.
sub refused
{
	my ($sql, $what) = @_;
	my (undef, undef, $error) = $node->psql('postgres', $sql);

	like($error, qr/permission denied/, $what);
}

# Each kind of client has a script.
my %scripts = (
	publish => 'SELECT change_and_publish();',
	score => 'SELECT check_exact();',
	insert => q(INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
		SELECT 1 + (random() * 9)::integer, 'login', jsonb_build_object('ip_address', (random() * 9)::integer), now() - random() * interval '50 days'
		FROM generate_series(1, 3);),
	snapshot => 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT check_exact(); SELECT pg_sleep(0.005); SELECT check_exact(); COMMIT;',
	# what waits is counted by whoever folds, and a customer at a time
	fold => 'SELECT chs_process_queue(); SELECT chs_recalculate(1 + (random() * 9)::integer);',
	# a version becomes live within its transaction
	whole => q(BEGIN; SELECT change_and_publish(); SELECT check_exact(); CALL chs_recalculate_all();
		SELECT 1 / live::integer FROM latest; SELECT check_exact(); COMMIT;),
	own => q(BEGIN; SELECT check_exact();
		INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (1 + (random() * 9)::integer, 'login', '{"ip_address": 1}');
		SELECT check_exact(); SELECT change_and_publish(); SELECT check_exact(); ROLLBACK;));
my $directory = PostgreSQL::Test::Utils::tempdir();
my @arguments;
for my $name (sort keys %scripts)
{
	append_to_file("$directory/$name.sql", $scripts{$name} =~ s/\s+/ /gr =~ s/; */;\n/gr);
	push @arguments, '-f', "$directory/$name.sql";
}
my ($out, $err) = ('', '');
my $good = IPC::Run::run([ $node->installed_command('pgbench'), '-n', '-c', '6', '-t', '60', @arguments, $node->connstr('postgres') ],
	'>', \$out, '2>', \$err);
ok($good && $err !~ /ERROR|aborted/, 'under constant publishing every session scores by the version of its snapshot') or diag($err);
my $versions = $node->safe_psql('postgres', 'SELECT count(*) FROM chs.scorecard_versions');
cmp_ok($versions, '>', 30, 'versions were published all the time');
cmp_ok($node->safe_psql('postgres', 'SELECT count(DISTINCT series_version) FROM chs.scorecard_versions'), '>', 3, 'some needed other series');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM chs.scorecard_versions WHERE live_at > published_at'), '>', 3, 'and became live later');
settled('in the end all is folded and right, by the last version');
is($node->safe_psql('postgres', q(
	SELECT count(*) FROM chs.scorecard_versions v WHERE v.document <>
		(SELECT document FROM chs.scorecard_versions w WHERE w.version = v.version - 1) AND v.changes = '[]')),
	'0', 'each version says what it changed');

# Without workers, a version that needs more waits, and the one before stays live.
$node->append_conf('postgresql.conf', 'chs.enabled = off');
$node->reload;
ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'chs worker')"), 'the worker has left');
my $counting = 'SELECT string_agg(customer_id::text, $$ $$ ORDER BY customer_id) FROM chs.activity WHERE series_version = (SELECT max(series_version) FROM chs.scorecard_versions)';
my $wrong = 'SELECT count(*) FROM exact WHERE NOT exact';
my $live = 'SELECT max(version) FROM chs.scorecard_versions WHERE live_at IS NOT NULL';
my $before = $node->safe_psql('postgres', $live);
$node->safe_psql('postgres', q(
	INSERT INTO chs.metrics (scorecard, factor, metric, event_type, aggregate, filter, window_days, curve, weight, missing)
	VALUES ('default', 'payment_timeliness', 'large', 'payment', 'count', '$.amount > 15', 40, '0:0 30:100', 1, 'zero');
	SELECT chs_publish('large payments')));
is($node->safe_psql('postgres', $live), $before, 'the version before is live');
is($node->safe_psql('postgres', $wrong), '0', 'and exact');
$node->safe_psql('postgres', 'SELECT chs_recalculate(3)');
is($node->safe_psql('postgres', $counting), '3', 'one customer after the other is counted again');
log_in($node, 'postgres', 4, 2);
log_in($node, 'postgres', 3, 2);
is($node->safe_psql('postgres', $wrong), '0', 'exact meanwhile');
$node->safe_psql('postgres', 'SELECT chs_process_queue()');
is($node->safe_psql('postgres', $counting), '3', 'folding adds to what there is');
is($node->safe_psql('postgres', $wrong), '0', 'exact still');
is($node->safe_psql('postgres', 'SELECT count(*) FROM chs_verify()'), '0', 'nothing differs');
my $held = $node->background_psql('postgres');
$held->query_safe("BEGIN ISOLATION LEVEL REPEATABLE READ; $live");
$node->append_conf('postgresql.conf', 'chs.enabled = on');
$node->reload;
ok($node->poll_query_until('postgres', "SELECT live AND version > $before FROM latest"), 'the worker counts the rest in the background, and then the version is live');
settled('and everyone is scored by it');
is($node->safe_psql('postgres', $wrong), '0', 'exact in the end');
is(ask($held, $live), $before, 'a snapshot from before still has the old version');
is(ask($held, $wrong), '0', 'and is exact by it');
$held->quit;

# How far a worker has come is to be seen: it waits at customer 8.
$node->append_conf('postgresql.conf', 'chs.batch_size = 3');
$node->reload;
$node->safe_psql('postgres', q(
	CREATE FUNCTION gate(bigint, timestamptz) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
		$$ BEGIN PERFORM pg_advisory_xact_lock_shared(8) WHERE $1 = 8; RETURN $1; END $$;
	CREATE INDEX gate ON chs.customer_health (gate(customer_id, calculated_at))));
my $gate = $node->background_psql('postgres');
$gate->query_safe('BEGIN; SELECT pg_advisory_xact_lock(8)');
$node->safe_psql('postgres', q(UPDATE chs.factors SET weight = weight + 1; SELECT chs_publish('seen')));
ok($node->poll_query_until('postgres', "SELECT (state, rescored_to) = ('rescoring', 6) FROM chs.worker_status WHERE worker = 1"), 'a worker shows how far it has come')
	or diag($node->safe_psql('postgres', 'SELECT state, rescored_to FROM chs.worker_status'));
$gate->query_safe('COMMIT');
$gate->quit;
settled('after which it goes on');
is($node->safe_psql('postgres', 'SELECT count(rescored_to) FROM chs.worker_status'), '0', 'and has no more to show');
$node->safe_psql('postgres', 'DROP INDEX chs.gate');
$node->append_conf('postgresql.conf', 'chs.batch_size = 1000');
$node->reload;

# Publishing in a transaction that stays open keeps a version waiting, but holds nobody up.
$held = $node->background_psql('postgres');
$held->query_safe('BEGIN; SELECT chs_publish()');
log_in($node, 'postgres', 5, 2);
ok($node->poll_query_until('postgres', 'SELECT NOT EXISTS (SELECT FROM chs.queue)'), 'an open transaction that has published holds up no worker');
$held->query_safe('COMMIT');
$held->quit;
settled('all is right afterwards');

# Customers that are busy when everyone is scored get their turn later, even beside clients that never stop.
my $others = $node->safe_psql('postgres', 'SELECT max(customer_id) FROM chs.customers WHERE hashint8(customer_id) & 63 <> hashint8(1) & 63');
my $load = start_load($node, 'postgres', "INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES ($others, 'login', '{\"ip_address\": \"::1\"}');");
my $weights = q(UPDATE chs.factors SET weight = weight + 1 WHERE factor = 'login_frequency'; SELECT chs_publish());
my $series = q(UPDATE chs.metrics SET window_days = window_days + 1 WHERE metric = 'large'; SELECT chs_publish());
for my $publish ($weights, $series)
{
	$held = $node->background_psql('postgres');
	$held->query_safe('BEGIN; SELECT chs_recalculate(1)');
	my $version = $node->safe_psql('postgres', $publish);
	my $done = $publish eq $weights ? "SELECT version = $version FROM chs.customer_health WHERE customer_id = " : 'SELECT series_version = ' . $version . ' FROM chs.activity WHERE customer_id = ';
	$node->poll_query_until('postgres', $done . $others) or die 'nobody works';
	is($node->safe_psql('postgres', $done . 1), 'f', 'a customer is busy when everyone is scored');
	$held->query_safe('COMMIT');
	$held->quit;
	ok($node->poll_query_until('postgres', $done . 1), 'its turn comes');
	ok($node->poll_query_until('postgres', "SELECT live AND version = $version FROM latest"), 'the version is live');
}
unlike(stop_load($load), qr/ERROR/, 'nobody has ceased');
settled('all is right');

# Roles without the right to publish cannot hold up those who have it.
$node->safe_psql('postgres', 'CREATE ROLE stranger LOGIN; CREATE ROLE publisher LOGIN');
$node->safe_psql('postgres', "SELECT chs_grant('publisher', 'administer')");
my $lock = 'LOCK TABLE chs.scorecard_versions IN SHARE ROW EXCLUSIVE MODE';
refused("BEGIN; SET ROLE stranger; $lock", 'a stranger cannot take the lock of publishing');
refused("BEGIN; SET ROLE publisher; $lock", 'nor can who may publish, to keep it');
refused("SET ROLE publisher; INSERT INTO chs.scorecard_versions (version, document, series_version) SELECT version + 1, document, 1 FROM chs.scorecard_versions ORDER BY version DESC LIMIT 1", 'nor make a version of his own');
like($node->safe_psql('postgres', "SET ROLE publisher; SELECT chs_publish('by a publisher')"), qr/^\d+$/, 'but publish');
settled('and it counts');

$node->stop;
is_quiet($node, qr/(ERROR|PANIC|WARNING|FATAL): (?!.*administrator command|.*permission denied|.*connection to client lost)|terminated by signal/, 'the log is quiet');
done_testing();
