# Plug-ins beside a running worker, and in dumps.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('plugins', 'chs.plugin_timeout = 500ms');
$node->start;
my $directory = PostgreSQL::Test::Utils::tempdir;
my $restoring = dump_settings($node);
my ($status, $out, $error);

# For one customer the plug-in never ends, whatever is done about it; the worker continues with the others.
add_chs($node, 'postgres');
$node->safe_psql('postgres', q(
CREATE ROLE careless;
CREATE FUNCTION public.endless(customer_id bigint, as_of timestamptz) RETURNS double precision LANGUAGE plpgsql AS $$
BEGIN
    WHILE customer_id = 5 LOOP
        BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END;
    END LOOP;
    RETURN customer_id;
END $$;
GRANT INSERT ON chs.plugins TO careless;
SET ROLE careless;
INSERT INTO chs.plugins (function) VALUES ('public.endless');
RESET ROLE;
SELECT chs_add_factor('endless', 0.5, metrics => '[{"metric": "endless", "aggregate": "function", "function": "public.endless(bigint,timestamp with time zone)", "curve": "0:0 100:100"}]');
SELECT chs_publish('endless')));
$node->poll_query_until('postgres', q(
	SELECT count(*) = 9 AND bool_and(round(factor_scores[6]) = customer_id) FROM chs.customer_health WHERE version = 2))
  or die "the worker did not score the others";
# it is given up later, apart from them
$node->poll_query_until('postgres', 'SELECT EXISTS (SELECT FROM chs.failures)') or die "no failure";
is($node->safe_psql('postgres', "SELECT customer_id, sqlstate, message FROM chs.failures"),
	'5|38T00|plug-in function public.endless(bigint,timestamp with time zone) took too long for customer 5', 'one failure, that says why');
log_in($node, 'postgres', 1, 3);
$node->poll_query_until('postgres', 'SELECT score = chs_score(1) AND factor_scores[2] > 0 FROM chs.customer_health WHERE customer_id = 1')
  or die "the worker does not go on";
is($node->safe_psql('postgres', 'SELECT customer_id, difference FROM chs_verify()'), '', 'the rest is right');

# Once corrected, it is as if nothing had happened.
$node->safe_psql('postgres', q(
CREATE OR REPLACE FUNCTION public.endless(customer_id bigint, as_of timestamptz) RETURNS double precision LANGUAGE sql AS 'SELECT customer_id';
UPDATE chs.failures SET next_attempt = failed_at;
SELECT chs_refresh(5)));
$node->poll_query_until('postgres', q(
	SELECT NOT EXISTS (SELECT FROM chs.failures) AND (SELECT round(factor_scores[6]) = 5 AND version = 2 FROM chs.customer_health WHERE customer_id = 5)))
  or die "the mended one is not scored";
pass('the mended plug-in counts');

# A plug-in runs as the role that registered it, even if a superuser restored it; a restore by others gives nobody rights.
$node->safe_psql('postgres', 'CREATE DATABASE plugged');
$node->safe_psql('plugged', q(
CREATE EXTENSION chs;
CREATE ROLE analyst;
CREATE FUNCTION public.opinion(customer_id bigint, as_of timestamptz) RETURNS double precision LANGUAGE sql
    AS $$ SELECT CASE current_user WHEN 'analyst' THEN 30 + customer_id END $$;
GRANT INSERT ON chs.plugins TO analyst;
SET ROLE analyst;
INSERT INTO chs.plugins (function) VALUES ('public.opinion');
RESET ROLE;
SELECT chs_add_factor('opinion', 0.5, metrics => '[{"metric": "opinion", "aggregate": "function", "function": "public.opinion(bigint,timestamp with time zone)", "curve": "0:0 100:100"}]');
UPDATE chs.recommendations SET action = 'as we do it' WHERE recommendation = 'login_low';
DELETE FROM chs.recommendations WHERE recommendation = 'feature_few';
SELECT chs_publish('opinions count');
INSERT INTO chs.customers (created_at) VALUES ('2020-01-01')));
my $opinion = q(SELECT value FROM chs_explain(1) WHERE metric = 'opinion');
is($node->safe_psql('plugged', $opinion), '31', 'a plug-in is run as the role that registered it');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$directory/plugged", 'plugged' ], 'dump with a plug-in');
$node->safe_psql('postgres', 'CREATE DATABASE from_plugged');
$node->command_ok([ 'pg_restore', '-e', '-j', '2', '-d', 'from_plugged', "$directory/plugged" ], 'restored');
is($node->safe_psql('from_plugged', $opinion), '31', 'and runs as before');
is($node->safe_psql('from_plugged', q(SELECT chs.draft_recommendations() = chs.live_recommendations(), count(*) FROM chs.recommendations WHERE action = 'as we do it' OR recommendation = 'feature_few')),
	't|1', 'with the recommendations that were changed and deleted');
$node->safe_psql('postgres', 'CREATE ROLE restorer; CREATE DATABASE from_restorer');
($status, $out, $error) = $node->psql('from_restorer', qq(CREATE EXTENSION chs; GRANT INSERT ON chs.plugins TO restorer; SET ROLE restorer; $restoring
	INSERT INTO chs.plugins (function, registered_by, role) VALUES ('pg_catalog.opinion(bigint,timestamp with time zone)', 'postgres', 10);
	RESET ROLE; SELECT role FROM chs.plugins; SELECT chs.plugin_value('pg_catalog.opinion(bigint,timestamp with time zone)', chs_refresh(0)::int)));
like($out, qr/^0$/m, 'what others restore says nothing');

$node->stop;
done_testing;
