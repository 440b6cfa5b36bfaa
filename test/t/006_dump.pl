# A dump carries what users added and published; everything else is made again from it.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('dump');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE company');
$node->safe_psql('company', q(
CREATE EXTENSION chs;
INSERT INTO chs.segments VALUES ('edu', 'schools', 'volume_only');
INSERT INTO chs.event_types VALUES ('survey', 'asked', '{rating}');
UPDATE chs.targets SET target = 7 WHERE (metric, scorecard) = ('logins', 'default');
SELECT chs_publish('fewer logins will do');
INSERT INTO chs.customers (name, segment, created_at) VALUES ('a', 'smb', '2020-01-01'), ('b', 'edu', '2020-01-01'), ('c', NULL, '2020-01-01');
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT c, 'login', '{"ip_address": "x"}', now() - c * interval '1 day' FROM generate_series(1, 3) c, generate_series(1, 5);
INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (2, 'survey', '{"rating": 9}');
SELECT chs_process_queue();
));

# What must be the same afterwards.
my $all = q(
SELECT customer_id, name, segment, chs_score(customer_id) FROM chs.customers ORDER BY 1;
SELECT version, note, document FROM chs.scorecard_versions ORDER BY 1;
SELECT version, scorecard, ordinal, factor, weight FROM chs.scorecard_version_factors ORDER BY 1, 2, 3;
SELECT * FROM chs.event_types ORDER BY 1;
SELECT * FROM chs.targets ORDER BY 1, 2, 3, 4;
SELECT health_score_id, customer_id, score, version FROM chs.health_scores ORDER BY 1;
SELECT count(*), max(event_id) FROM chs.customer_events;
);
my $before = $node->safe_psql('company', $all);
like($before, qr/fewer logins will do/, 'there is something of the users\' own');

my $directory = PostgreSQL::Test::Utils::tempdir;
$node->command_ok(['pg_dump', '-f', "$directory/plain", 'company'], 'plain dump');
$node->command_ok(['pg_dump', '-Fc', '-f', "$directory/custom", 'company'], 'custom dump');
$node->safe_psql('postgres', 'CREATE DATABASE from_plain');
$node->safe_psql('postgres', 'CREATE DATABASE from_custom');
$node->command_ok(['psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$directory/plain", 'from_plain'], 'plain restore');
$node->command_ok(['pg_restore', '-e', '-d', 'from_custom', "$directory/custom"], 'custom restore');

for my $copy ('from_plain', 'from_custom')
{
	is($node->safe_psql($copy, $all), $before, "$copy: the same");
	is($node->safe_psql($copy, 'SELECT chs_process_queue() > 0'), 't', "$copy: the events are folded again");
	is($node->safe_psql($copy, 'SELECT * FROM chs_verify()'), '', "$copy: rightly");
	is($node->safe_psql($copy, 'SELECT total FROM chs.dashboard_stats'), '3', "$copy: and counted");
	$node->safe_psql($copy, q(INSERT INTO chs.customers (name) VALUES ('d')));
	is($node->safe_psql($copy, 'SELECT max(customer_id) FROM chs.customers'), '4', "$copy: numbers go on");
}

# Without a restore, shipped rows stay what they are.
$node->safe_psql('company', q(INSERT INTO chs.scorecards (scorecard) VALUES ('mine')));
is($node->safe_psql('company', 'SELECT count(*) FROM chs.scorecards'), '3', 'an ordinary insert removes nothing');

$node->stop;
done_testing;
