# What each role may do: the matrix of SECURITY.md, by trying it; and that nobody does through chs what he may not do
# without it, nor hinders others.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../t";
use Chs;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('roles', "chs.enabled = off\n");
$node->start;
$node->safe_psql('postgres', q(
	CREATE EXTENSION chs;
	CREATE ROLE nobody LOGIN; CREATE ROLE "read" LOGIN; CREATE ROLE record LOGIN; CREATE ROLE administer LOGIN; CREATE ROLE operate LOGIN;
	SELECT chs_grant(r, r) FROM unnest('{read,record,administer,operate}'::name[]) r;
	INSERT INTO chs.customers (customer_id, external_id, name, created_at) SELECT i, 'K' || i, 'customer ' || i, '2020-01-01' FROM generate_series(1, 9) i;
	SELECT setval('chs.customers_customer_id_seq', 100);
	INSERT INTO chs.customer_events (customer_id, event_type) SELECT i, 'support_ticket' FROM generate_series(1, 9) i;
	SELECT chs_process_queue()));

# try(ROLE, SQL): what comes of it: '' or the error.
sub try
{
	my ($role, $sql) = @_;

	$node->psql('postgres', $sql, connstr => $node->connstr('postgres') . " user=$role", stderr => \my $error);
	return $error =~ s/^psql:\S+ //r;
}

sub refused
{
	my ($role, $sql, $error, $what) = @_;

	like(try($role, $sql), $error, $what);
}

sub succeeds
{
	my ($role, $sql, $what) = @_;

	is(try($role, $sql), '', $what);
}

# sum(QUERY): of the superuser.
sub sum
{
	return $node->safe_psql('postgres', $_[0]);
}

# The matrix --------------------------------------------------------------------------------------------------

$node->safe_psql('postgres', q(
	CREATE SCHEMA probe;
	GRANT ALL ON SCHEMA probe TO PUBLIC;
	CREATE FUNCTION probe.allowed(statement text) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE statement;
		RAISE EXCEPTION 'done' USING ERRCODE = 'ZZZZZ';
	EXCEPTION
		WHEN insufficient_privilege THEN RETURN false;
		WHEN others THEN RETURN true;
	END $$;
	CREATE FUNCTION probe.go() RETURNS TABLE (object text, letter text) LANGUAGE plpgsql AS $$
	DECLARE
		r record;
		v record;
	BEGIN
		FOR r IN SELECT c.oid, c.relname, c.relkind, (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attidentity = '' ORDER BY a.attnum LIMIT 1) AS attname
		         FROM pg_class c WHERE c.relnamespace = 'chs'::regnamespace AND c.relkind IN ('r', 'p', 'v') LOOP
			FOR v IN SELECT * FROM (VALUES
					('S', format('EXPLAIN SELECT * FROM chs.%I', r.relname), format('EXPLAIN SELECT count(*) FROM chs.%I', r.relname), true),
					('I', NULL, format('EXPLAIN INSERT INTO chs.%I DEFAULT VALUES', r.relname), r.relkind <> 'v'),
					('U', NULL, format('EXPLAIN UPDATE chs.%I SET %I = NULL', r.relname, r.attname), r.relkind <> 'v'),
					('D', NULL, format('EXPLAIN DELETE FROM chs.%I', r.relname), r.relkind <> 'v'),
					('T', NULL, format('TRUNCATE chs.%I CASCADE', r.relname), r.relkind <> 'v'),
					('G', NULL, format('CREATE TRIGGER t AFTER INSERT ON chs.%I EXECUTE FUNCTION suppress_redundant_updates_trigger()', r.relname), r.relkind <> 'v')
				) v(l, whole, part, possible) WHERE possible LOOP
				IF v.whole IS NOT NULL AND probe.allowed(v.whole) THEN
					object := 'chs.' || r.relname; letter := v.l; RETURN NEXT;
				ELSIF v.l = 'I' AND probe.allowed(v.part) THEN
					object := 'chs.' || r.relname;
					letter := CASE WHEN has_table_privilege(r.oid, 'INSERT') THEN 'I' ELSE '(I)' END; RETURN NEXT;
				ELSIF v.l <> 'I' AND probe.allowed(v.part) THEN
					object := 'chs.' || r.relname; letter := CASE WHEN v.whole IS NULL THEN v.l ELSE '(' || v.l || ')' END; RETURN NEXT;
				END IF;
			END LOOP;
			-- not all have a key
			IF has_any_column_privilege(r.oid, 'REFERENCES') THEN
				object := 'chs.' || r.relname; letter := 'R'; RETURN NEXT;
			END IF;
		END LOOP;
		FOR r IN SELECT p.oid, p.proname FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'chs' JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
		         WHERE d.deptype = 'e' AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype) LOOP
			IF has_function_privilege(r.oid, 'EXECUTE') AND NOT has_function_privilege('nobody', r.oid, 'EXECUTE') THEN
				object := r.oid::regprocedure; letter := 'X'; RETURN NEXT;
			END IF;
		END LOOP;
	END $$));
my (%letters, @columns);
@columns = qw(read record administer operate);
foreach my $role (@columns, 'nobody')
{
	my $found = $node->safe_psql('postgres', 'SELECT object, string_agg(letter, \' \') FROM probe.go() GROUP BY 1', connstr => $node->connstr('postgres') . " user=$role");

	foreach (split /\n/, $found)
	{
		my ($object, $letters) = split /\|/;
		$letters{$object}{$role} = $letters;
	}
}
is(join(' ', grep { $letters{$_}{nobody} } sort keys %letters), '', 'who was granted nothing may do nothing with a table');
my @lines = map {
	my $object = $_;
	my $name = $object =~ s/timestamp with time zone/timestamptz/gr;
	"| `$name` | " . join(' | ', map { $letters{$object}{$_} // '' } @columns) . ' |'
} sort { ($a =~ /\(/) <=> ($b =~ /\(/) || $a cmp $b } keys %letters;
my $matrix = join("\n", '| | read | record | administer | operate |', '|---|---|---|---|---|', @lines) . "\n";
my $written = slurp_file("$FindBin::RealBin/../../SECURITY.md") =~ s/.*<!-- matrix -->\n//sr;
is($written, $matrix, 'SECURITY.md says what each role may do with each table and function');

# Event numbers ----------------------------------------------------------------------------------------------------

refused('record', $_, qr/permission denied for table customer_events/, "a recorder takes no event_id ahead: $_") foreach (
	"INSERT INTO chs.customer_events (event_id, customer_id, event_type) VALUES (1000, 1, 'support_ticket')",
	"INSERT INTO chs.customer_events (event_id, customer_id, event_type) OVERRIDING SYSTEM VALUE VALUES (1000, 1, 'support_ticket')",
	"INSERT INTO chs.customer_events (customer_id, event_type, recorded_at) VALUES (1, 'support_ticket', '2000-01-01')",
	"COPY chs.customer_events (event_id, customer_id, event_type) FROM stdin;\n\\.\n",
	"SELECT setval('chs.customer_events_event_id_seq', 1)" =~ s/SELECT/INSERT INTO chs.customer_events (event_id) SELECT/r);
refused('record', "SELECT $_('chs.customer_events_event_id_seq')", qr/permission denied for sequence/, "nor by $_") foreach ('nextval', 'currval');
refused('record', "SELECT setval('chs.customer_events_event_id_seq', 1)", qr/permission denied for sequence/, 'nor does it set the sequence back');
succeeds('record', $_, "it records: $_") foreach (
	"INSERT INTO chs.customer_events (customer_id, event_type) VALUES (1, 'support_ticket')",
	"INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at, idempotency_key) VALUES (1, 'support_ticket', '{}', now(), 'k') ON CONFLICT DO NOTHING",
	"COPY chs.customer_events (customer_id, event_type, event_data, occurred_at) FROM stdin;\n1\tsupport_ticket\t{}\t2026-01-01\n\\.\n",
	"SELECT chs_record_event(1, 'support_ticket', '{}', now(), 'l')", q(SELECT chs_record_events('[{"customer_id": 1, "event_type": "support_ticket"}]')));

# Attached tables of customers -----------------------------------------------------------------------------------------

sub customers
{
	return sum("SELECT count(*), md5(string_agg(c::text, ';' ORDER BY c.customer_id)), (SELECT count(*) FROM chs.customer_events) FROM chs.customers c");
}

my $before = customers();
$node->safe_psql('postgres', 'CREATE SCHEMA mine AUTHORIZATION administer');
succeeds('administer', 'CREATE TABLE mine.accounts (k text PRIMARY KEY, n text)', 'an administrator has a table of customers');
refused('administer', "SELECT chs_attach_customers('mine.accounts', external_id => 'k', name => 'n')",
	qr/ERROR:  the table's owner, administer, lacks privileges on chs.customers: SELECT, INSERT, UPDATE, DELETE\n.*\nHINT:  Grant them: GRANT SELECT, INSERT, UPDATE, DELETE ON chs.customers TO administer;/s,
	'and may not attach it without rights on chs.customers');
succeeds('postgres', 'GRANT SELECT, INSERT, UPDATE, DELETE ON chs.customers TO administer', 'he is granted them');
succeeds('administer', "SELECT chs_attach_customers('mine.accounts', external_id => 'k', name => 'n')", 'and attaches it');
succeeds('administer', "INSERT INTO mine.accounts VALUES ('K1', 'renamed'), ('new', 'new')", 'its rows are customers');
is(sum("SELECT string_agg(name, ' ' ORDER BY name) FROM chs.customers WHERE external_id IN ('K1', 'new')"), 'new renamed', 'as he could have written them');
# what he may not do any more
$node->safe_psql('postgres', 'REVOKE DELETE ON chs.customers FROM administer');
succeeds('administer', "DELETE FROM mine.accounts WHERE k = 'K1'", 'a right that was revoked does not make the application fail');
is(sum("SELECT count(*) FROM chs.customers WHERE external_id = 'K1'"), '1', 'but the customer stays');
is(sum("SELECT problem FROM chs.source_status WHERE relation = 'mine.accounts'"), q(the table's owner, administer, lacks privileges on chs.customers: DELETE), 'and the status says so');
$node->safe_psql('postgres', 'REVOKE ALL ON chs.customers FROM administer');
$before = customers();
succeeds('administer', "INSERT INTO mine.accounts SELECT 'K' || i, 'taken' FROM generate_series(1, 9) i; UPDATE mine.accounts SET n = 'again'; DELETE FROM mine.accounts", 'without any right, nothing fails');
is(customers(), $before, 'and no customer, nor any event, is touched');
# row-level security
$node->safe_psql('postgres', q(
	GRANT SELECT, INSERT, UPDATE, DELETE ON chs.customers TO administer;
	ALTER TABLE chs.customers ENABLE ROW LEVEL SECURITY;
	CREATE POLICY own ON chs.customers TO administer USING (external_id LIKE 'own%')));
$before = customers();
succeeds('administer', "INSERT INTO mine.accounts SELECT 'K' || i, 'taken' FROM generate_series(1, 9) i; DELETE FROM mine.accounts", 'nor do customers that he may not see');
is(customers(), $before, 'change');
succeeds('administer', "INSERT INTO mine.accounts VALUES ('own1', 'his')", 'those that he may see');
is(sum("SELECT name FROM chs.customers WHERE external_id = 'own1'"), 'his', 'do');
# columns
$node->safe_psql('postgres', q(
	ALTER TABLE chs.customers DISABLE ROW LEVEL SECURITY;
	REVOKE UPDATE ON chs.customers FROM administer;
	GRANT UPDATE (external_id, name, email, segment, created_at, churned_at, owner, value) ON chs.customers TO administer));
succeeds('administer', "UPDATE mine.accounts SET n = 'by columns' WHERE k = 'own1'", 'rights on the columns suffice');
is(sum("SELECT name FROM chs.customers WHERE external_id = 'own1'"), 'by columns', 'for those');
# foreign keys still hold
$node->safe_psql('postgres', 'ALTER TABLE mine.accounts ADD s text');
succeeds('administer', "SELECT chs_attach_customers('mine.accounts', external_id => 'k', name => 'n', segment => 's'); UPDATE mine.accounts SET s = 'no such' WHERE k = 'own1'",
	'a segment that does not exist does not make the application fail');
is(sum("SELECT segment FROM chs.customers WHERE external_id = 'own1'"), '', 'nor is it stored');
is(sum("SELECT count(*) FROM chs.rejected_events WHERE relation = 'mine.accounts'::regclass AND sqlstate = '23503'"), '1', 'the row is rejected');

# Attached tables of events --------------------------------------------------------------------------------------------

succeeds('administer', 'CREATE TABLE mine.tickets (c bigint, at timestamptz); CREATE INDEX ON mine.tickets (c)', 'he has a table of events');
refused('administer', "SELECT chs_attach('mine.tickets', 'c', 'support_ticket', 'at')",
	qr/ERROR:  the table's owner, administer, lacks privileges on chs.customer_events: INSERT\n.*\nHINT:  Grant them: GRANT INSERT ON chs.customer_events TO administer;/s,
	'and may not attach it without the right to insert events');
$node->safe_psql('postgres', "SELECT chs_grant('administer', 'record')");
succeeds('administer', "SELECT chs_attach('mine.tickets', 'c', 'support_ticket', 'at'); INSERT INTO mine.tickets VALUES (2, now())", 'with it he attaches it');
my $tickets = "SELECT value FROM chs_explain(2) WHERE metric = 'ticket_volume'";
is(sum($tickets), '2', 'and its rows count');
$node->safe_psql('postgres', "SELECT chs_revoke('administer', 'record')");
succeeds('administer', 'INSERT INTO mine.tickets VALUES (2, now())', 'the right is revoked, and the application goes on');
is(sum($tickets), '2', 'but new rows do not count');
is(sum("SELECT problem FROM chs.source_status WHERE relation = 'mine.tickets'"), q(the table's owner, administer, lacks privileges on chs.customer_events: INSERT), 'and the status says so');
# by membership
$node->safe_psql('postgres', 'CREATE ROLE recorders; SELECT chs_grant(\'recorders\', \'record\'); GRANT recorders TO administer');
succeeds('administer', 'INSERT INTO mine.tickets VALUES (2, now())', 'a membership gives the right');
is(sum("SELECT problem FROM chs.source_status WHERE relation = 'mine.tickets'"), '', 'and the source works again');
$node->safe_psql('postgres', 'REVOKE recorders FROM administer');
is(sum("SELECT problem IS NOT NULL FROM chs.source_status WHERE relation = 'mine.tickets'"), 't', 'until that ends');

$node->stop;
done_testing();
