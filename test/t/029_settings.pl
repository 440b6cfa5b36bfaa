# Whatever is set for the server, the database, the role or the session, and in any encoding and locale: the extension
# installs, the rules are what was written, and scores are the same to the last bit.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('settings', "shared_preload_libraries = ''\n");
$node->start;

my %text = (
	extra_float_digits => '-15', DateStyle => 'German, DMY', IntervalStyle => 'sql_standard', TimeZone => 'Pacific/Kiritimati',
	bytea_output => 'escape', standard_conforming_strings => 'off', backslash_quote => 'off', array_nulls => 'off',
	transform_null_equals => 'on', quote_all_identifiers => 'on', xmlbinary => 'hex', xmloption => 'document',
	search_path => 'nowhere', 'plpgsql.variable_conflict' => 'use_column', 'plpgsql.extra_errors' => 'all');
my %plans = (
	enable_seqscan => 'off', enable_bitmapscan => 'off', enable_indexscan => 'off', enable_hashagg => 'off', enable_hashjoin => 'off',
	enable_nestloop => 'off', enable_material => 'off', from_collapse_limit => '1', join_collapse_limit => '1', geqo_threshold => '2',
	plan_cache_mode => 'force_generic_plan', jit => 'off', work_mem => '64kB', cursor_tuple_fraction => '0.001');
my %transactions = (
	default_transaction_isolation => 'serializable', default_transaction_deferrable => 'on', row_security => 'off',
	check_function_bodies => 'off', constraint_exclusion => 'on', session_replication_role => 'replica', synchronous_commit => 'off');

# For each: how the database is made, what is set for it, for its role, and in the session.
my @places = (
	['with defaults', '', {}, {}, {}],
	['with text settings of the database', '', \%text, {}, {}],
	['with text settings of the role', '', {}, \%text, {}],
	['with text settings of the session', '', {}, {}, \%text],
	['with the digits of PostgreSQL 11', '', { extra_float_digits => '0' }, {}, {}],
	['with settings of plans', '', \%plans, {}, {}],
	['with settings of transactions', '', \%transactions, {}, {}],
	['in SQL_ASCII', "TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'", {}, {}, {}],
	['in LATIN1', "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'", {}, {}, {}]);
# An order without regard to case, digits as numbers, and punctuation last.
push @places, ['in an ICU locale', "TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'de-u-kn-true-ks-level1'", {}, {}, {}]
	if $node->safe_psql('postgres', "SELECT count(*) FROM pg_collation WHERE collprovider = 'i'") > 0;

# Rules that lose something if they are rounded, or put in another order.
my $rules = q(
	CREATE SCHEMA app;
	CREATE FUNCTION app."Nps"(bigint, timestamptz) RETURNS double precision LANGUAGE sql STABLE
		SET search_path = pg_catalog, pg_temp AS 'SELECT CASE WHEN $1 % 3 = 0 THEN ($1 % 100) / 3.0 END';
	BEGIN ISOLATION LEVEL READ COMMITTED;
	SET LOCAL session_replication_role = origin;
	UPDATE chs.factors SET weight = weight / 3 WHERE scorecard = 'default';
	UPDATE chs.targets SET target = target + 1 / 3.0 WHERE scorecard = 'default' AND metric = 'resolution_time';
	UPDATE chs.scorecards SET healthy_from = 72.123456789012345, min_coverage = 1 / 3.0;
	INSERT INTO chs.recommendations (recommendation, score_from, score_below, action)
	VALUES ('Zebra', 1 / 3.0, 66.66666666666667, 'a'), ('apple', 0, 50.123456789012345, 'b'), ('_x10', 0, 1, 'c'), ('_x9', 0, 2, 'd');
	SELECT chs_add_factor('nps', 1 / 7.0, 'app."Nps"(bigint, timestamptz)');
	SELECT chs_add_factor('Quick', 1 / 11.0, metrics => $$[{"metric": "quick", "event_type": "login", "aggregate": "count",
		"filter": "$.user_id > 3.25 && $.ip_address like_regex \"^[0-9]\"", "window_days": 7, "curve": "0.1:0 3.3333333333333335:100"}]$$);
	SELECT chs_publish('thirds');
	SELECT chs_scorecard_import(chs_scorecard_export());
	SELECT chs_publish('again');
	SELECT chs_rollback(1);
	SELECT chs_rollback(3);
	COMMIT;);

# Some rows and events of each kind.  The day is given, because it may end meanwhile.
my $events = q(
	INSERT INTO chs.customers (customer_id, external_id, segment, created_at)
	SELECT i, 'K' || i, (ARRAY['enterprise', 'smb', 'startup'])[i % 4 + 1], DAY - make_interval(days => i) FROM generate_series(1, 300) i;
	CREATE TABLE app.visits (who text, "At" timestamptz, seconds double precision, ip inet, how interval);
	SELECT chs_attach('app.visits', customer => 'who', customer_key => 'external_id', event_type => $$'login'$$, occurred_at => '"At"',
		event_data => $$jsonb_build_object('ip_address', host(ip), 'session_duration', seconds, 'user_id', how::text || seconds::text)$$);
	INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
	SELECT 1 + i * 7 % 300, t,
		   jsonb_build_object('endpoint', '/' || i % 9, 'status_code', 200 + i % 3 * 150, 'ip_address', '::1', 'user_id', i % 13,
							  'session_duration', i / 7.0, 'amount', i / 3.0, 'days_late', i % 11 / 9.0, 'status', (ARRAY['completed', 'overdue'])[i % 5 + 1],
							  'feature_name', 'f' || i % 8, 'priority', (ARRAY['high', 'urgent'])[i % 7 + 1], 'satisfaction', 1 + i % 5),
		   DAY - make_interval(hours => i % 2000)
	FROM generate_series(1, 1500) i, unnest(ARRAY['api_call', 'login', 'payment', 'feature_use', 'support_ticket']) t
	WHERE (i + length(t)) % 3 = 0;
	INSERT INTO app.visits SELECT 'K' || 1 + i % 300, DAY - make_interval(hours => i % 900), i / 7.0, '10.0.0.1', make_interval(mins => i)
	FROM generate_series(1, 600) i;);

# What must be the same everywhere, a row each.
my $answers = q(
	SELECT 'document ' || version, md5(document::text || recommendations::text || changes::text) FROM chs.scorecard_versions
	UNION ALL SELECT 'exported draft', md5(chs_scorecard_export()::text)
	UNION ALL SELECT 'exported version ' || v, md5(chs_scorecard_export(v)::text) FROM generate_series(1, 3) v
	UNION ALL SELECT 'changes', count(*)::text FROM chs.draft_changes
	UNION ALL SELECT 'differences', count(*)::text FROM chs_verify()
	UNION ALL SELECT 'scores', md5(string_agg(encode(float8send(chs_score(customer_id, DAY)), 'hex') || chs_status(customer_id, DAY), ' ' ORDER BY customer_id))
		FROM chs.customers
	UNION ALL SELECT 'simulated', md5(string_agg(encode(float8send(h.score), 'hex'), ' ' ORDER BY c.customer_id))
		FROM chs.customers c, chs.health_by(chs_scorecard_export(1) - 'recommendations', c.customer_id, DAY) h
	UNION ALL SELECT 'simulated as drafted', count(*)::text FROM chs_simulate() WHERE draft_score <> live_score
	UNION ALL SELECT 'recommended', md5(string_agg(r.recommendation || r.details::text, ' ' ORDER BY c.customer_id, r.rank))
		FROM chs.customers c, chs_recommendations(c.customer_id) r WHERE c.customer_id % 10 = 0
	UNION ALL SELECT 'factors', md5(string_agg(f, ' ' ORDER BY customer_id)) FROM (
		SELECT customer_id, jsonb_path_query_array(chs_health(customer_id), '$.factors[*].score')::text AS f FROM chs.customers WHERE customer_id % 10 = 0) f);

# The statements that set something.
sub sets
{
	my ($how, $settings) = @_;

	return join('', map { "$how SET $_ = '$settings->{$_}';\n" } sort keys %$settings);
}

# All answers of a new database.
sub answers
{
	my ($name, $how, $of_database, $of_role, $of_session, $day) = @_;
	my $in_session = sets('', $of_session);
	my $path = 'SET search_path = public, pg_catalog;';
	my ($installed, $errors, $found);

	$node->safe_psql('postgres', $_) for grep { /\S/ } 'DROP DATABASE IF EXISTS here', 'DROP ROLE IF EXISTS someone',
		'CREATE ROLE someone SUPERUSER LOGIN', "CREATE DATABASE here $how",
		sets('ALTER DATABASE here', $of_database), sets('ALTER ROLE someone', $of_role);
	return { error => $errors }
		if $node->psql('here', "$in_session CREATE EXTENSION chs SCHEMA public; $path $rules", stderr => \$errors,
			on_error_stop => 1, extra_params => [ '-U', 'someone' ]);
	# the input is the same everywhere: only what chs makes of it is looked at
	for my $sql ("SET extra_float_digits = 1; SET IntervalStyle = postgres; SET standard_conforming_strings = on; $path $events",
		"$in_session $path SET default_transaction_isolation = 'read committed'; SELECT chs_process_queue();")
	{
		$sql =~ s/\bDAY\b/timestamptz '$day'/g;
		return { error => $errors } if $node->psql('here', $sql, stderr => \$errors, on_error_stop => 1, extra_params => [ '-U', 'someone' ]);
	}
	(my $asked = "$in_session $path $answers") =~ s/\bDAY\b/timestamptz '$day'/g;
	return { error => $errors }
		if $node->psql('here', $asked, stdout => \$found, stderr => \$errors, on_error_stop => 1, extra_params => [ '-U', 'someone' ]);
	return { map { split /\|/, $_, 2 } split /\n/, $found };
}

my $day = $node->safe_psql('postgres', "SELECT (date_trunc('day', now(), 'UTC') - interval '1 second')::text");
my $expected;
for my $place (@places)
{
	my ($name, @how) = @$place;
	my $found = answers($name, @how, $day);

	if (!defined $expected)
	{
		$expected = $found;
		is($found->{error}, undef, 'there is something to compare with');
		is($found->{differences}, '0', 'and it is right');
		is($found->{changes}, '0', 'what was published is the draft');
		is($found->{'exported version 2'}, $found->{'exported version 3'}, 'what is exported and imported is the same');
		next;
	}
	is_deeply($found, $expected, "the same $name");
}
$node->stop;
done_testing();
