# A dump carries what users added and published; everything else is rebuilt from it, in whatever order it arrives.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('dump', "log_statement = none\nchs.naptime = 1");
$node->start;
my $directory = PostgreSQL::Test::Utils::tempdir;

$node->safe_psql('postgres', 'CREATE DATABASE company');
$node->safe_psql('company', q(
CREATE EXTENSION chs;
INSERT INTO chs.segments VALUES ('edu', 'schools', 'volume_only');
INSERT INTO chs.event_types VALUES ('survey', 'asked', '{rating}');
INSERT INTO chs.factors (scorecard, factor, position, weight) VALUES ('default', 'sentiment', 6, 0.1);
INSERT INTO chs.metrics (scorecard, factor, metric, position, event_type, aggregate, field, window_days, curve, weight, missing)
VALUES ('default', 'sentiment', 'rating', 1, 'survey', 'avg', 'rating', 90, '0:0 10:100', 1, 'missing');
UPDATE chs.targets SET target = 7 WHERE (metric, scorecard) = ('logins', 'default');
UPDATE chs.scorecards SET description = 'ours' WHERE scorecard = 'default';
DELETE FROM chs.metrics WHERE (scorecard, metric) = ('default', 'high_priority');
SET chs.actor = 'Ann';
SELECT chs_publish('fewer logins will do');
INSERT INTO chs.customers (name, segment, created_at, parent_id, owner, value)
VALUES ('a', 'smb', '2020-01-01', 3, 'Bob', 1200.50), ('b', 'edu', '2020-01-01', NULL, NULL, NULL), ('c', NULL, '2020-01-01', NULL, NULL, NULL);
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT c, 'login', '{"ip_address": "x"}', now() - c * interval '1 day' FROM generate_series(1, 3) c, generate_series(1, 5);
INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (2, 'survey', '{"rating": 9}'), (3, 'survey', '{"rating": 3}');
CREATE TABLE public.calls (customer bigint, path text, at timestamptz);
INSERT INTO public.calls SELECT 1 + n % 3, 'p' || n % 2, now() - n * interval '1 hour' FROM generate_series(1, 60) n;
SELECT chs_attach('public.calls', 'customer', $$'api_call'$$, 'at', $$jsonb_build_object('endpoint', path)$$);
INSERT INTO public.calls VALUES (3, 'new', now()), (4711, 'of nobody', now());
UPDATE chs.event_types SET required = '{plan}' WHERE event_type = 'login';   -- which the logins that are there do not have
));
wait_folded('company');
$node->safe_psql('company', q(
	INSERT INTO chs.customer_events (customer_id, event_type, event_data)
	SELECT 3, t, jsonb_build_object('feature_name', i, 'endpoint', i, 'ip_address', 'x', 'plan', 'p')
	FROM generate_series(1, 300) i, unnest('{api_call,feature_use,login}'::text[]) t));
wait_folded('company');

sub wait_folded
{
	my ($database) = @_;

	$node->poll_query_until($database, q(
		SELECT NOT EXISTS (SELECT FROM chs.queue)
		   AND (SELECT count(*) FROM chs.customers) = (SELECT count(*) FROM chs.customer_health)))
	  or die "the worker does not fold in $database";
}

# The rows of a dump, regardless of their order.
sub dump_of
{
	my ($database) = @_;
	my ($dump) = run_command([ 'pg_dump', '-d', $node->connstr($database) ]);
	my ($table, @rows) = ('');

	for my $line (split /\n/, $dump)
	{
		$table = $1 if $line =~ /^COPY (\S+) /;
		push @rows, $table ? "$table: $line" : $line if $line !~ /^(--|\\(un)?restrict|$)/;
		$table = '' if $line eq '\.';
	}
	return join("\n", sort @rows);
}

my $scores = 'SELECT c.customer_id, chs_score(c.customer_id), chs_status(c.customer_id), h.status_since, h.previous_status FROM chs.customers c LEFT JOIN chs.customer_health h USING (customer_id) ORDER BY 1';
my $policies = $node->safe_psql('company', 'SELECT count(*) FROM pg_policy');
$node->safe_psql('company', q(CALL chs_backfill_history((now() AT TIME ZONE 'UTC')::date - 9)));
my $scores_before = $node->safe_psql('company', $scores);
isnt($node->safe_psql('company', 'SELECT count(*) FROM chs.health_scores WHERE backfilled'), '0', 'there is a past that was computed afterwards');
my $dump_before = dump_of('company');
like($dump_before, qr/\tAnn\t.*fewer logins will do/, 'there is something of the users\' own');
like($dump_before, qr/\tBob\t1200\.50/, 'of customers, too');
like($dump_before, qr/chs\.health_scores: /, 'and a history');
like($dump_before, qr/chs\.daily_counts: \S+\t1\t/, 'with counts of its days');
isnt($node->safe_psql('company', "SELECT count(*) FROM chs_status_changes('3:3:')"), '0', 'with changes of status');

# restored(DATABASE, WHAT, COMMAND...): a database that the commands restore equals the one that was dumped.
sub restored
{
	my ($database, $what, @commands) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->command_ok($_, "$what: $_->[0]") for @commands;
	wait_folded($database);
	is($node->safe_psql($database, $scores), $scores_before, "$what: same scores");
	is($node->safe_psql($database, 'SELECT * FROM chs_verify()'), '', "$what: rightly");
	is($node->safe_psql($database, 'SELECT count(*) FROM pg_class c JOIN pg_policy p ON p.polrelid = c.oid WHERE c.relrowsecurity'),
		$policies, "$what: with its policies");
	is(dump_of($database), $dump_before, "$what: the second dump equals the first");
	is($node->safe_psql($database, "SELECT count(*) FROM chs_status_changes('3:3:')"), '0', "$what: no change of status is new");
	is($node->safe_psql($database, q(INSERT INTO public.calls VALUES (1, 'after', now());
			SELECT value FROM chs_explain(1) WHERE metric = 'api_calls')), '21', "$what: attached tables go on");
	is($node->safe_psql($database, q(INSERT INTO chs.customers (name) VALUES ('d') RETURNING customer_id)), '4', "$what: numbers go on");
}

my @psql = ('psql', '-Xq', '-v', 'ON_ERROR_STOP=1');
$node->command_ok([ 'pg_dump', '-f', "$directory/plain", 'company' ], 'plain dump');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$directory/custom", 'company' ], 'custom dump');
$node->command_ok([ 'pg_dump', '-s', '-f', "$directory/schema", 'company' ], 'dump of the schema only');
$node->command_ok([ 'pg_dump', '-a', '-f', "$directory/data", 'company' ], 'dump of the data only');
$node->command_ok([ 'pg_dump', '-Fc', '--inserts', '-f', "$directory/inserts", 'company' ], 'dump of INSERTs');

restored('from_plain', 'plain', [ @psql, '-f', "$directory/plain", 'from_plain' ]);
restored('from_one', 'in one transaction', [ @psql, '-1', '-f', "$directory/plain", 'from_one' ]);
restored('from_parallel', 'four jobs', [ 'pg_restore', '-e', '-j', '4', '-d', 'from_parallel', "$directory/custom" ]);
restored('from_inserts', 'INSERTs, two jobs', [ 'pg_restore', '-e', '-j', '2', '-d', 'from_inserts', "$directory/inserts" ]);
restored('from_parts', 'schema and data', [ @psql, '-f', "$directory/schema", 'from_parts' ], [ @psql, '-f', "$directory/data", 'from_parts' ]);

# The worst order that jobs can end up with: every table before those that it refers to.
my ($list) = run_command([ 'pg_restore', '-l', "$directory/custom" ]);
my @items = grep { !/^;/ } split /\n/, $list;
append_to_file("$directory/list", join("\n", (grep { !/TABLE DATA/ } @items), reverse grep { /TABLE DATA/ } @items) . "\n");
restored('from_reverse', 'in reverse', [ 'pg_restore', '-e', '-L', "$directory/list", '-d', 'from_reverse', "$directory/custom" ]);

# The schema alone is what CREATE EXTENSION creates.
$node->safe_psql('postgres', 'CREATE DATABASE from_schema');
$node->command_ok([ @psql, '-f', "$directory/schema", 'from_schema' ], 'schema only');
is($node->safe_psql('from_schema', q(
	INSERT INTO chs.customers (name) VALUES ('x');
	SELECT (SELECT count(*) FROM chs.scorecards), (SELECT count(*) FROM chs.metrics), chs_status(1))), '2|29|unknown', 'schema only: works');

# A role that is not a superuser needs one to create the extension, and all rights on the tables and all of their rows.
$node->safe_psql('postgres', 'CREATE ROLE operator LOGIN BYPASSRLS; GRANT pg_read_all_data TO operator');
$node->command_ok([ 'pg_dump', '-U', 'operator', '-a', '-f', "$directory/operator", 'company' ], 'dump as a reader of all data');
$node->safe_psql('postgres', 'CREATE DATABASE from_operator');
$node->command_ok([ @psql, '-f', "$directory/schema", 'from_operator' ], 'schema for no superuser');
$node->safe_psql('from_operator', q(
	GRANT ALL ON public.calls TO operator;
	GRANT SELECT, INSERT, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA chs TO operator;
	GRANT UPDATE ON ALL SEQUENCES IN SCHEMA chs TO operator));
$node->safe_psql('postgres', 'CREATE DATABASE from_stranger TEMPLATE from_operator');
$node->command_ok([ @psql, '-U', 'operator', '-f', "$directory/operator", 'from_operator' ], 'restore by no superuser');
wait_folded('from_operator');
is($node->safe_psql('from_operator', $scores), $scores_before, 'restore by no superuser: same scores');
is($node->safe_psql('from_operator', 'SELECT * FROM chs_verify()'), '', 'restore by no superuser: rightly');
is(dump_of('from_operator') =~ s/^(ALTER DEFAULT|GRANT|REVOKE).*\n//mgr, $dump_before, 'restore by no superuser: the second dump equals the first');

# Nobody else gets around the rules by looking like a restore.
my $restoring = dump_settings($node);
like($restoring, qr/row_security/, 'a dump begins with settings');
$node->safe_psql('from_stranger', 'REVOKE ALL ON ALL TABLES IN SCHEMA chs FROM operator; GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA chs TO operator');
my ($status, $out, $error) = $node->psql('from_stranger', "SET SESSION AUTHORIZATION operator; $restoring"
	  . q(INSERT INTO chs.customer_events (customer_id, event_type) VALUES (1, 'nonsense')));
like($error, qr/unknown event_type/, 'events of others are checked');
($status, $out, $error) = $node->psql('from_stranger', "SET SESSION AUTHORIZATION operator; $restoring"
	  . q(INSERT INTO chs.factors (scorecard, factor, position, weight) VALUES ('nonsense', 'f', 1, 1)));
like($error, qr/foreign key constraint/, 'references of others are checked');
is($node->safe_psql('from_stranger', 'SELECT count(*) FROM chs.factors'), '10', 'and nothing shipped is lost');
$node->safe_psql('from_stranger', q(
	CREATE TABLE public.factors (f integer); ALTER TABLE public.factors OWNER TO operator;
	CREATE TRIGGER t BEFORE INSERT ON public.factors FOR EACH STATEMENT EXECUTE FUNCTION chs.restore_begin()));
($status, $out, $error) = $node->psql('from_stranger', "SET SESSION AUTHORIZATION operator; $restoring"
	  . q(INSERT INTO public.factors VALUES (1)));
like($error, qr/can only be fired for tables of schema "chs"/, 'nor is the trigger good for another table');

# An ordinary insert removes nothing, checks references, and sets no roles, even after a restore in the same session.
is($node->safe_psql('company', q(INSERT INTO chs.scorecards (scorecard) VALUES ('mine'); SELECT count(*) FROM chs.scorecards)),
	'3', 'an ordinary insert removes nothing');
($status, $out, $error) = $node->psql('from_parts', qq($restoring
	INSERT INTO chs.factors (scorecard, factor, position, weight) VALUES ('nothing', 'f', 1, 1);
	BEGIN; RESET search_path; SHOW session_replication_role;
	INSERT INTO chs.factors (scorecard, factor, position, weight) VALUES ('nothing', 'g', 2, 1); COMMIT));
like($out, qr/^origin$/m, 'the role of a replica ends with the statement');
like($error, qr/foreign key constraint/, 'and references are checked again');

# Dangling references do not go unnoticed.
$node->safe_psql('from_inserts', qq($restoring
	INSERT INTO chs.customers (customer_id, segment, parent_id) VALUES (50, 'nobody''s', 51);
	INSERT INTO chs.customer_events (customer_id, event_type) VALUES (50, 'nonsense'), (52, 'login');));
wait_folded('from_inserts');
is($node->safe_psql('from_inserts', 'SELECT customer_id, difference, stored FROM chs_verify() ORDER BY 1, 2'),
	"50|event_type|nonsense\n50|parent_id|51\n50|segment|nobody's\n52|customer|events, activity or health of a customer that does not exist",
	'chs_verify names references to nothing');

# Nor does the owner who has only some of its settings, which is not a restore: his events are checked, and nobody waits.
my $log = $node->logfile;
my $before = -s $log;
for my $setting ($restoring =~ /(?:SET |set_config\(')(\w+)/g)
{
	my $unchecked = qq(INSERT INTO chs.customer_events (customer_id, event_type) VALUES (1, 'nonsense'));

	($status, $out, $error) = $node->psql('from_schema', "$restoring; RESET $setting; $unchecked");
	like($error, qr/unknown event_type/, "a session that has not set $setting does not restore");
}
unlike(slurp_file($log, $before), qr/restores a dump/, 'as the log does not say');

# The worker leaves customers alone until the restoring session has ended.
my $session = $node->background_psql('from_schema');
$session->query_safe($restoring);
$session->query_safe(q(INSERT INTO chs.customers (customer_id, name) VALUES (77, 'y')));
ok($node->poll_query_until('postgres', q(SELECT EXISTS (SELECT FROM pg_stat_activity
	WHERE datname = 'from_schema' AND backend_type = 'chs worker' AND query LIKE '%waiting for the end of a restore'))), 'the worker waits');
is($node->safe_psql('from_schema', 'SELECT count(*) FROM chs.customer_health WHERE customer_id = 77'), '0', 'and scores nobody');
$session->query_safe(q(INSERT INTO chs.customers (customer_id, name) VALUES (78, 'z')));
is(scalar(() = slurp_file($log, $before) =~ /this session restores a dump of chs/g), 1, 'the log says once why');
$session->query_safe('DISCARD ALL');
ok($node->poll_query_until('from_schema', 'SELECT EXISTS (SELECT FROM chs.customer_health WHERE customer_id = 77)'), 'a pooler that discards all lets it go on');
$session->quit;

# What is dumped is replaced by a restore, and everything else is rebuilt: no table may be forgotten.
is($node->safe_psql('company', q(
	SELECT string_agg(c.relname, ' ' ORDER BY c.relname)
	FROM pg_extension e, unnest(e.extconfig) config JOIN pg_class c ON c.oid = config
	WHERE e.extname = 'chs' AND c.relkind = 'r' AND c.relname NOT IN ('customer_events', 'health_scores', 'retention', 'daily_counts', 'counted_days', 'recounts')
	  AND (SELECT count(*) FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgenabled = 'A' AND t.tgname IN ('restore_begin', 'restore_end')) <> 2)),
	'', 'every table that is dumped makes room for a dump');
is($node->safe_psql('company', q(
	SELECT string_agg(c.relname, ' ' ORDER BY c.relname)
	FROM pg_class c JOIN pg_extension e ON e.extname = 'chs' AND c.oid <> ALL (e.extconfig)
	WHERE c.relnamespace = 'chs'::regnamespace AND c.relkind IN ('r', 'p', 'S'))),
	'activity customer_health daily_movers day_count failures health_counts jobs missing_customers partial_counts pause queue shipped', 'and no other one is left out of dumps by mistake');

# A version that waits when dumped goes live in the restored database.
$node->safe_psql('company', q(
	SELECT chs_pause();
	INSERT INTO chs.metrics (scorecard, factor, metric, event_type, aggregate, field, window_days, curve, weight, missing)
	VALUES ('default', 'login_frequency', 'addresses', 'login', 'distinct', 'ip_address', 21, '0:0 3:100', 1, 'zero')));
my $waits = $node->safe_psql('company', 'SELECT chs_publish()');
is($node->safe_psql('company', "SELECT live_at FROM chs.scorecard_versions WHERE version = $waits"), '', 'a version waits');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$directory/waiting", 'company' ], 'dump while a version waits');
$node->safe_psql('postgres', 'CREATE DATABASE from_waiting');
$node->command_ok([ 'pg_restore', '-e', '-j', '2', '-d', 'from_waiting', "$directory/waiting" ], 'restored while a version waits');
ok($node->poll_query_until('from_waiting', "SELECT live_at IS NOT NULL AND NOT EXISTS (SELECT FROM chs.customers LEFT JOIN chs.customer_health h USING (customer_id)"
	  . " WHERE h.version IS DISTINCT FROM $waits) FROM chs.scorecard_versions WHERE version = $waits"), 'the version that waited is live');
is($node->safe_psql('from_waiting', 'SELECT * FROM chs_verify()'), '', 'and everything is right');

# The schema of an extension is dumped with the extension, or not at all; the documentation says how.
{
	my $tables = q(SELECT string_agg(c.relname, ' ' ORDER BY c.relname) FROM pg_class c JOIN pg_extension e ON c.oid = ANY (e.extconfig) WHERE c.relkind = 'r');
	my $dumped = $node->safe_psql('company', $tables);
	my $contents = sub { my ($list) = run_command([ 'pg_restore', '-l', $_[0] ]); return join(' ', sort $list =~ /TABLE DATA chs (\w+) /g); };
	my @commands = slurp_file("$FindBin::RealBin/../../doc/operations.md") =~ /^(pg_dump .*--extension=chs company)$/mg;

	$node->command_ok([ 'pg_dump', '-Fc', '-n', 'chs', '-f', "$directory/silent", 'company' ], 'a dump of the schema alone is no error');
	is($contents->("$directory/silent"), '', 'but it is empty');
	is(scalar(@commands), 2, 'the documentation has commands in its place');
	for my $command (@commands)
	{
		my ($file) = $command =~ /-f (\S+)/;

		$node->command_ok([ split / /, $command =~ s/-f \S+/-f $directory\/$file/r ], $command);
		is($contents->("$directory/$file"), $dumped, "$command: everything is in it");
	}
	$node->safe_psql('postgres', 'CREATE DATABASE from_scores; CREATE DATABASE from_data');
	$node->safe_psql($_, 'CREATE TABLE calls (customer bigint, path text, at timestamptz)') for 'from_scores', 'from_data';
	$node->safe_psql('from_data', 'CREATE EXTENSION chs');
	for my $database ('from_scores', 'from_data')
	{
		$node->command_ok([ 'pg_restore', '-e', '-d', $database, "$directory/" . ($database =~ /from_(.*)/)[0] . '.dump' ], "$database: restored");
		ok($node->poll_query_until($database, 'SELECT count(*) = 3 FROM chs.customers'), "$database: the customers are there");
	}
}

$node->stop;
done_testing;
