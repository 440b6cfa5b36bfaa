# DDL beside chs: without its library, tools that follow tables by triggers, and triggers that were off.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $library;
END { rename("$library.away", $library) if defined $library && -e "$library.away"; }

# The library is gone: only what has to do with chs fails.
my $bare = PostgreSQL::Test::Cluster->new('bare');
$bare->init;
$bare->start;
add_chs($bare, 'postgres');
$bare->safe_psql('postgres', q(
	CREATE TABLE logins (id bigint, account bigint, ip_address text, at timestamptz);
	SELECT chs_attach('logins', 'account', 'login', 'at');
	CREATE ROLE app LOGIN;
	CREATE SCHEMA app AUTHORIZATION app));
$library = $bare->config_data('--pkglibdir') . '/chs.so';
rename($library, "$library.away") or die "cannot move $library: $!";
for my $command ('CREATE TABLE app.t (id int PRIMARY KEY, x text)', 'CREATE TEMP TABLE t (x int)', 'ALTER TABLE app.t ADD COLUMN y int',
	'ALTER TABLE app.t ALTER COLUMN x TYPE varchar(10)', 'CREATE INDEX ON app.t (x)',
	'CREATE TABLE app.p (at date) PARTITION BY RANGE (at)', q(CREATE TABLE app.p1 PARTITION OF app.p FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')),
	'ALTER TABLE app.p DETACH PARTITION app.p1', q(CREATE FUNCTION app.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'),
	'CREATE TRIGGER t AFTER INSERT ON app.t EXECUTE FUNCTION app.f()', 'CREATE RULE r AS ON DELETE TO app.t DO INSTEAD NOTHING', 'DROP TRIGGER t ON app.t',
	'ALTER TABLE app.t DISABLE TRIGGER ALL', 'DROP TABLE app.p, app.p1', 'DROP TABLE app.t', 'CREATE TABLE app.u AS SELECT 1', 'DROP SCHEMA app CASCADE')
{
	my ($status, $out, $err) = $bare->psql('postgres', $command, connstr => $bare->connstr('postgres') . ' user=app');
	unlike($err, qr/ERROR|FATAL/, "without the library: $command");
}
my ($status, $out, $err) = $bare->psql('postgres', 'ALTER TABLE logins ADD COLUMN y int');
like($err, qr/could not access file/, 'an attached table needs it');
($status, $out, $err) = $bare->psql('postgres', 'SET client_min_messages = error; DROP EXTENSION chs CASCADE; DROP TABLE logins');
is($err, '', 'the extension can be dropped without it');
rename("$library.away", $library) or die "cannot move $library back: $!";
$bare->stop;

my $node = new_node('ddl', '');
$node->start;
add_chs($node, 'postgres');
sub fails { my ($command) = @_; my ($status, $out, $err) = $node->psql('postgres', $command); return $err; }

# Tools that copy a table and follow it by a trigger would miss what chs writes directly.
$node->safe_psql('postgres', q(CREATE FUNCTION follow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TABLE other (x int); CREATE EXTENSION pgtap));
my %direct;
for my $file (glob("$FindBin::RealBin/../../src/*/*.c"))
{
	my $text = slurp_file($file);

	$direct{lc $1} = 1 while $text =~ /chs_table_open\([^;]*chs_catalog_relation\(CHS_(\w+)\)/g;
}
cmp_ok(scalar(keys %direct), '>', 3, 'the tables that the engine writes directly are found: ' . join(' ', sort keys %direct));
for my $table (sort keys %direct)
{
	for ("CREATE TRIGGER repack_trigger AFTER INSERT OR DELETE OR UPDATE ON chs.$table FOR EACH ROW EXECUTE FUNCTION follow()",
		"CREATE OR REPLACE TRIGGER audit AFTER TRUNCATE ON chs.$table EXECUTE FUNCTION follow()",
		"CREATE CONSTRAINT TRIGGER late AFTER INSERT ON chs.$table DEFERRABLE FOR EACH ROW EXECUTE FUNCTION follow()",
		"SET session_replication_role = replica; CREATE TRIGGER t AFTER INSERT ON chs.$table EXECUTE FUNCTION follow()",
		"CREATE RULE follow AS ON INSERT TO chs.$table DO ALSO INSERT INTO other VALUES (1)")
	{
		like(fails($_), qr/cannot create a trigger or rule on table "chs\.$table"\n.*HINT:  In place of a tool that copies the table, use VACUUM FULL/s, "refused: $_");
	}
}
is(fails("CREATE TRIGGER audit AFTER INSERT ON $_ EXECUTE FUNCTION follow()"), '', "a trigger on $_ is not refused") for qw(chs.customers chs.customer_events other);

# Triggers that were off: what was missed is counted, and they are enabled as they were.
sub wait_settled
{
	my ($what) = @_;
	wait_right($node, 'postgres', $what);
	is($node->safe_psql('postgres', q(
		SELECT count(*) FROM pg_trigger WHERE tgrelid IN ('chs.customers'::regclass, 'chs.customer_events'::regclass) AND tgname LIKE '00_chs_c%' AND tgenabled <> 'A')),
		'0', "$what: the triggers are enabled ALWAYS");
}
sub names { my ($relation, $problem, $what) = @_; is($node->safe_psql('postgres', qq(SELECT stored FROM chs_verify() WHERE difference LIKE '%$relation' AND stored LIKE 'trigger %' LIMIT 1)), $problem, $what); }

my $events = q(INSERT INTO chs.customer_events (customer_id, event_type, event_data) SELECT 1 + i % 5, 'login', '{"ip_address": "::1"}' FROM generate_series(1, 20) i);
for my $which ('USER', 'ALL')
{
	$node->safe_psql('postgres', "ALTER TABLE chs.customer_events DISABLE TRIGGER $which; $events");
	names('customer_events', 'trigger "00_chs_capture" is disabled', "chs_verify() names triggers that are disabled: $which");
	$node->safe_psql('postgres', "ALTER TABLE chs.customer_events ENABLE TRIGGER $which");
	wait_settled("events while triggers were off: $which");
	$node->safe_psql('postgres', "SET session_replication_role = replica; $events");
	wait_settled("events in replica mode, after that: $which");
	$node->safe_psql('postgres', "SET session_replication_role = replica; ALTER TABLE chs.customer_events DISABLE TRIGGER $which; $events; ALTER TABLE chs.customer_events ENABLE TRIGGER $which");
	wait_settled("in replica mode all together: $which");
}
$node->safe_psql('postgres', 'ALTER TABLE chs.customer_events DISABLE TRIGGER "00_chs_capture"; ' . $events . '; ALTER TABLE chs.customer_events ENABLE TRIGGER "00_chs_capture"');
names('customer_events', 'trigger "00_chs_capture" is not enabled ALWAYS, so rows of logical replication do not count', 'a single trigger that is enabled in another way is named');
$node->safe_psql('postgres', 'ALTER TABLE chs.customer_events ENABLE ALWAYS TRIGGER "00_chs_capture"');
wait_settled('events while it was off are counted');

# Rows that ALTER TABLE rewrites.
$node->safe_psql('postgres', q(INSERT INTO chs.event_types (event_type) VALUES ('LOGIN'); INSERT INTO chs.customer_events (customer_id, event_type) SELECT 7, 'LOGIN' FROM generate_series(1, 9)));
wait_right($node, 'postgres', 'events of another type');
$node->safe_psql('postgres', q(ALTER TABLE chs.customer_events ALTER COLUMN event_type TYPE text USING lower(event_type)));
wait_settled('types that ALTER TABLE changed');

# Customers.
$node->safe_psql('postgres', q(ALTER TABLE chs.customers DISABLE TRIGGER USER;
	UPDATE chs.customers SET segment = 'enterprise', created_at = '2020-02-02';
	INSERT INTO chs.customers (customer_id, created_at) VALUES (11, '2020-01-01')));
names('customers', 'trigger "00_chs_capture" is disabled', 'chs_verify() names triggers of customers that are disabled');
$node->safe_psql('postgres', 'ALTER TABLE chs.customers ENABLE TRIGGER USER');
wait_settled('customers that changed while triggers were off');
is($node->safe_psql('postgres', q(SELECT count(*) FROM chs.customer_health WHERE segment = 'enterprise')), '10', 'they are scored in their new segment');
is($node->safe_psql('postgres', 'SELECT count(*) FROM chs.customer_health WHERE customer_id = 11'), '1', 'a new one is scored');
$node->stop;
done_testing();
