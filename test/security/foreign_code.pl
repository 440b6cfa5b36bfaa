# No code of others runs with the rights of the extension's owner, in the worker or in a session, whatever was granted.
#
# An attacker has been granted everything on all tables, sequences and functions, and CREATE on both schemas.  He tries
# every kind of object on every table; what he manages to create stays while everything that the engine does is done.
# His code writes into the server's log as which role it ran.  Then a careless superuser creates triggers that call it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../t";
use Chs;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('foreign_code', "chs.naptime = 1\nchs.event_retention = '400d'\nchs.history_retention = '300d'\n");
my %clock = make_clock($node) or plan skip_all => 'the clock cannot be compiled';
set_clock($node, 7200);
{
	local @ENV{keys %clock} = values %clock;
	$node->start;
}

my $code = q(LANGUAGE plpgsql AS $f$BEGIN RAISE LOG 'foreign code as "%"', current_user; RAISE EXCEPTION 'foreign code'; END$f$);

# sql(DATABASE, ROLE, SQL): executes it all as a role that does not come back, and fails on errors.
sub sql
{
	my ($database, $role, $sql) = @_;

	return $node->safe_psql($database, $sql, connstr => $node->connstr($database) . " user=$role");
}

# attempt(ROLE, SQL): whether it succeeds.
sub attempt
{
	my ($database, $role, $sql) = @_;

	return $node->psql($database, $sql, connstr => $node->connstr($database) . " user=$role", stderr => \my $ignored) == 0;
}

# caught(WHAT): that no foreign code has run as the owner so far.
sub caught
{
	my ($what) = @_;
	my @lines = grep { /foreign code as "postgres"/ } split /\n/, slurp_file($node->logfile);

	is(scalar(@lines), 0, $what) or diag(join("\n", map { substr($_, 0, 300) } @lines[0 .. ($#lines > 4 ? 4 : $#lines)]), context_of());
}

# What the first such lines of the log say about where it was.
sub context_of
{
	my $log = slurp_file($node->logfile);

	return $log =~ /(foreign code as "postgres".*?(?:\n.*?){8})\n/ ? "\n$1" : '';
}

$node->safe_psql('postgres', q(
	CREATE ROLE attacker LOGIN;
	CREATE ROLE app LOGIN;
	CREATE ROLE reader LOGIN; CREATE ROLE recorder LOGIN; CREATE ROLE administrator LOGIN; CREATE ROLE operator LOGIN;
	CREATE DATABASE model; CREATE DATABASE planted; CREATE DATABASE busy));
$node->safe_psql($_, 'CREATE SCHEMA ext; GRANT ALL ON SCHEMA ext TO PUBLIC; CREATE SCHEMA lair AUTHORIZATION attacker; GRANT USAGE ON SCHEMA lair TO PUBLIC')
	for ('model', 'planted', 'busy');
$node->safe_psql('model', 'CREATE EXTENSION chs SCHEMA ext');

# Functions that a call of the extension's might mean instead: with fewer arguments, where those have defaults, and with
# types that fit what is written better.
my $overloads = $node->safe_psql('model', q(
	WITH f AS (
		SELECT p.oid, n.nspname AS schema, p.proname AS name, p.pronargs AS n, p.pronargs - p.pronargdefaults AS least,
		       ARRAY(SELECT format_type(a, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY u(a, i) ORDER BY i) AS types,
		       (SELECT string_agg(format('OUT %I %s', p.proargnames[i], format_type(p.proallargtypes[i], NULL)), ', ' ORDER BY i)
		        FROM generate_subscripts(p.proallargtypes, 1) i WHERE p.proargmodes[i] IN ('o', 't')) AS outs,
		       CASE WHEN p.proretset THEN 'SETOF ' ELSE '' END || format_type(p.prorettype, NULL) AS result, p.prokind
		FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid JOIN pg_namespace n ON n.oid = p.pronamespace
		JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'chs'
		WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e' AND p.prokind IN ('f', 'p', 'a')
		  AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
	), alternatives(type, other) AS (VALUES
		('bigint', 'integer'), ('bigint', 'numeric'), ('bigint', 'smallint'), ('integer', 'bigint'), ('integer', 'smallint'), ('integer', 'numeric'),
		('text', 'character varying'), ('text', 'name'), ('name', 'text'), ('double precision', 'integer'), ('double precision', 'numeric'),
		('jsonb', 'text'), ('jsonb', 'json'), ('timestamp with time zone', 'date'), ('timestamp with time zone', 'timestamp without time zone'),
		('timestamp with time zone', 'text'), ('date', 'text'), ('date', 'timestamp with time zone'), ('boolean', 'text'), ('regclass', 'text'), ('regclass', 'oid'),
		('text[]', 'text'), ('bigint[]', 'integer[]'), ('bigint', 'text')
	), v AS (
		SELECT f.oid, f.types[1:k] AS types FROM f, generate_series(f.least, f.n - 1) k
		UNION
		SELECT f.oid, f.types[1:i - 1] || a.other || f.types[i + 1:] FROM f, generate_series(1, f.n) i, alternatives a WHERE a.type = f.types[i]
		UNION
		SELECT f.oid, f.types[1:i - 1] || a.other || f.types[i + 1:k] FROM f, generate_series(f.least, f.n - 1) k, generate_series(1, k) i, alternatives a
		WHERE a.type = f.types[i]
		UNION
		SELECT f.oid, ARRAY(SELECT COALESCE((SELECT a.other FROM alternatives a WHERE a.type = t LIMIT 1), t) FROM unnest(f.types) WITH ORDINALITY u(t, i) ORDER BY i) FROM f
		UNION
		SELECT f.oid, ARRAY(SELECT 'anyelement' FROM unnest(f.types)) FROM f WHERE f.n > 0
	)
	SELECT format('CREATE %s %I.%I(%s) %s', CASE f.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, f.schema, f.name,
	              concat_ws(', ', nullif(array_to_string(v.types, ', '), ''), f.outs),
	              CASE WHEN f.prokind = 'p' THEN '' WHEN f.outs IS NOT NULL AND f.result NOT LIKE 'SETOF %' THEN '' ELSE 'RETURNS ' || f.result END)
	FROM v JOIN f USING (oid) WHERE v.types <> f.types GROUP BY 1));

# plant(DATABASE, SCHEMA): creates them, those that are possible.
sub plant
{
	my ($database, $schema) = @_;
	my $sql = join("\n", map { "$_ $code;" } grep { /^CREATE \w+ $schema\./ } split /\n/, $overloads);

	$node->psql($database, $sql, connstr => $node->connstr($database) . ' user=attacker', on_error_stop => 0, stderr => \my $ignored);
	return $node->safe_psql($database, "SELECT count(*) FROM pg_proc WHERE proowner = 'attacker'::regrole");
}

# Before the extension is installed in a schema where others may create objects ----------------------------------

cmp_ok(plant('planted', 'ext'), '>', 100, 'functions were planted before CREATE EXTENSION');
$node->safe_psql('planted', 'CREATE EXTENSION chs SCHEMA ext');
is($node->safe_psql('planted', q(
	SELECT string_agg(DISTINCT pg_describe_object(d.classid, d.objid, 0) || ' uses ' || p.oid::regprocedure, E'\n')
	FROM pg_depend d JOIN pg_proc p ON d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid AND p.proowner = 'attacker'::regrole)),
	'', 'nothing of the extension uses them');
caught('nor did CREATE EXTENSION call one');

# Default privileges ----------------------------------------------------------------------------------------

$node->safe_psql('busy', q(
	ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO app; ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO app; ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO app;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO app; ALTER DEFAULT PRIVILEGES GRANT ALL ON TYPES TO app;
	CREATE EXTENSION chs SCHEMA ext));
is($node->safe_psql('busy', q(
	SELECT count(*) FROM pg_class c, aclexplode(c.relacl) a WHERE c.relnamespace = 'chs'::regnamespace AND a.grantee NOT IN (c.relowner, 'pg_monitor'::regrole))), '0',
	'default privileges of the installing role open no table, view or sequence');
is($node->safe_psql('busy', q(
	SELECT count(*) FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'chs' JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid,
	aclexplode(p.proacl) a WHERE d.deptype = 'e' AND a.grantee = 'app'::regrole)), '0', 'and no function');
is($node->safe_psql('busy', q(SELECT has_schema_privilege('app', 'chs', 'CREATE'))), 'f', 'nor the schema');

# Those that take rights from everyone, as a careful DBA sets them, take nothing from the extension.
$node->safe_psql('postgres', 'CREATE DATABASE plain; CREATE DATABASE hardened');
$node->safe_psql('plain', 'CREATE EXTENSION chs');
my $defaults = 'SELECT defaclrole::regrole, defaclnamespace, defaclobjtype, defaclacl FROM pg_default_acl ORDER BY 3';
my $before = $node->safe_psql('hardened', qq(
	ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC; ALTER DEFAULT PRIVILEGES REVOKE USAGE ON TYPES FROM PUBLIC;
	ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO app;
	$defaults));
$node->safe_psql('hardened', 'CREATE EXTENSION chs');
my $everyone = q(
	SELECT o.object, o.may FROM (
		SELECT 'pg_proc'::regclass, p.oid, p.oid::regprocedure::text, has_function_privilege('public', p.oid, 'EXECUTE') FROM pg_proc p
		UNION ALL SELECT 'pg_type'::regclass, t.oid, t.oid::regtype::text, has_type_privilege('public', t.oid, 'USAGE') FROM pg_type t) AS o(class, oid, object, may)
	JOIN pg_depend d ON d.classid = o.class AND d.objid = o.oid AND d.deptype = 'e'
	JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid AND e.extname = 'chs' ORDER BY 1);
is($node->safe_psql('hardened', $everyone), $node->safe_psql('plain', $everyone), 'default privileges that take rights from PUBLIC change nothing');
like($node->safe_psql('plain', $everyone), qr/^chs_score\(bigint.*\)\|t$/m, 'such as that everyone may call chs_score');
is($node->safe_psql('hardened', $defaults), $before, 'and are still there afterwards');

# Everything is granted to the attacker ----------------------------------------------------------------------

$node->safe_psql('busy', q(
	GRANT ALL ON SCHEMA chs TO attacker;
	GRANT ALL ON ALL TABLES IN SCHEMA chs TO attacker; GRANT ALL ON ALL SEQUENCES IN SCHEMA chs TO attacker;
	GRANT ALL ON ALL ROUTINES IN SCHEMA chs, ext TO attacker;
	GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON chs.customers, chs.customer_events TO app;
	SELECT ext.chs_grant('reader', 'read'); SELECT ext.chs_grant('recorder', 'record');
	SELECT ext.chs_grant('administrator', 'administer'); SELECT ext.chs_grant('operator', 'operate');
	CREATE SCHEMA app AUTHORIZATION app));
sql('busy', 'attacker', qq(
	CREATE FUNCTION lair.t() RETURNS trigger $code;
	CREATE FUNCTION lair.b() RETURNS boolean $code;
	CREATE FUNCTION lair.i(bigint) RETURNS bigint IMMUTABLE $code;
	CREATE FUNCTION lair.tt(text) RETURNS text $code;
	CREATE FUNCTION lair.eq(bigint, integer) RETURNS boolean $code));

my @tables = split /\n/, $node->safe_psql('busy', q(
	SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'chs'::regnamespace AND c.relkind = 'r' ORDER BY 1));
my %column = map { split /\|/ } split /\n/, $node->safe_psql('busy', q(
	SELECT DISTINCT ON (c.relname) c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
	WHERE c.relnamespace = 'chs'::regnamespace AND c.relkind = 'r' ORDER BY c.relname, a.attnum));
my @attempts;
foreach my $table (@tables)
{
	push @attempts,
		(map { [ "a trigger ($_)", $table, "CREATE TRIGGER " . ('a' .. 'z')[ @attempts % 26 ] . " $_ EXECUTE FUNCTION lair.t()" ] } (
		"BEFORE INSERT OR UPDATE OR DELETE ON chs.$table FOR EACH ROW", "AFTER INSERT OR UPDATE OR DELETE ON chs.$table FOR EACH ROW",
		"BEFORE INSERT OR UPDATE OR DELETE ON chs.$table", "AFTER INSERT OR UPDATE OR DELETE ON chs.$table",
		"BEFORE TRUNCATE ON chs.$table", "AFTER TRUNCATE ON chs.$table")),
		[ 'a deferred constraint trigger', $table, "CREATE CONSTRAINT TRIGGER z AFTER INSERT OR UPDATE OR DELETE ON chs.$table DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lair.t()" ],
		[ 'the place of a trigger of the extension', $table, qq(CREATE OR REPLACE TRIGGER "00_chs_capture" AFTER INSERT ON chs.$table FOR EACH ROW EXECUTE FUNCTION lair.t()) ],
		[ 'a rule', $table, "CREATE RULE r AS ON INSERT TO chs.$table DO ALSO SELECT lair.b()" ],
		[ 'a default', $table, "ALTER TABLE chs.$table ALTER $column{$table} SET DEFAULT lair.i(1)" ],
		[ 'a constraint', $table, "ALTER TABLE chs.$table ADD CHECK (lair.b()) NOT VALID" ],
		[ 'a policy', $table, "CREATE POLICY p ON chs.$table USING (lair.b())" ],
		[ 'an index', $table, "CREATE INDEX ON chs.$table (lair.i(1))" ],
		[ 'statistics', $table, "CREATE STATISTICS lair.s (mcv) ON (lair.i(1)), $column{$table} FROM chs.$table" ],
		[ 'a column', $table, "ALTER TABLE chs.$table ADD c bigint DEFAULT lair.i(1)" ],
		[ 'a parent', $table, "ALTER TABLE chs.$table INHERIT lair.parent" ],
		[ 'an owner', $table, "ALTER TABLE chs.$table OWNER TO attacker" ];
}
foreach my $a (@attempts)
{
	ok(!attempt('busy', 'attacker', $a->[2]), "the attacker gets no $a->[0] on chs.$a->[1]") or diag($a->[2]);
}
# Nor do those who may use, administer or operate chs, with the rights that they need for it.
foreach my $role ('app', 'reader', 'recorder', 'administrator', 'operator')
{
	my $statements = join ', ', map { "\$s\$$_->[2]\$s\$" } @attempts;

	is(sql('busy', $role, qq(
		CREATE FUNCTION pg_temp.successes(statements text[]) RETURNS SETOF text LANGUAGE plpgsql AS \$f\$
		DECLARE
			statement text;
		BEGIN
			FOREACH statement IN ARRAY statements LOOP
				BEGIN
					EXECUTE statement;
					RETURN NEXT statement;
				EXCEPTION WHEN OTHERS THEN NULL;
				END;
			END LOOP;
		END\$f\$;
		SELECT pg_temp.successes(ARRAY[$statements]))), '', "nor does $role get any of these " . scalar(@attempts));
}
# Operators and casts of what is built in are not his to make; foreign keys are.
ok(!attempt('busy', 'attacker', $_), "nor: $_") foreach (
	'CREATE CAST (bigint AS text) WITH INOUT AS IMPLICIT', 'CREATE CAST (integer AS chs.customers) WITH FUNCTION lair.i(bigint)',
	'CREATE FUNCTION pg_catalog.lair() RETURNS boolean LANGUAGE sql AS $$SELECT true$$', 'ALTER EXTENSION chs ADD FUNCTION lair.b()',
	'ALTER FUNCTION chs.publish(text, text, text) OWNER TO attacker');
ok(attempt('busy', 'attacker', $_), "he may: $_") foreach (
	'CREATE OPERATOR chs.= (LEFTARG = bigint, RIGHTARG = integer, FUNCTION = lair.eq)',
	'CREATE OPERATOR ext.= (LEFTARG = bigint, RIGHTARG = integer, FUNCTION = lair.eq)');
my $number = 0;
foreach my $action ('CASCADE', 'SET NULL', 'SET DEFAULT')
{
	$number++;
	ok(attempt('busy', 'attacker', qq(
		CREATE TABLE lair.of_customers_$number (customer_id bigint REFERENCES chs.customers ON DELETE $action ON UPDATE CASCADE);
		CREATE TRIGGER b BEFORE DELETE OR UPDATE ON lair.of_customers_$number FOR EACH ROW EXECUTE FUNCTION lair.t();
		CREATE TRIGGER a AFTER DELETE OR UPDATE ON lair.of_customers_$number FOR EACH ROW EXECUTE FUNCTION lair.t();
		CREATE TABLE lair.of_events_$number (customer_id bigint, occurred_at timestamptz, event_id bigint, FOREIGN KEY (customer_id, occurred_at, event_id) REFERENCES chs.customer_events ON DELETE $action);
		CREATE CONSTRAINT TRIGGER d AFTER DELETE OR UPDATE ON lair.of_events_$number DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lair.t())),
		"he may refer to customers and events, ON DELETE $action");
}
ok(attempt('busy', 'attacker', q(
	CREATE TABLE lair.of_scores (a bigint, b date, c bigint, FOREIGN KEY (a, b, c) REFERENCES chs.health_scores ON DELETE CASCADE);
	CREATE TRIGGER b BEFORE DELETE ON lair.of_scores FOR EACH ROW EXECUTE FUNCTION lair.t())), 'and to the history');
cmp_ok(plant('busy', 'ext'), '>', 100, 'functions that look like those of the extension are in its schema');
cmp_ok(plant('busy', 'chs'), '>', 200, 'and in schema chs');

# work(): everything that the engine does.
my $round = 0;
sub work
{
	my ($what) = @_;
	$round++;

	sql('busy', 'app', qq(
		INSERT INTO chs.customers (customer_id, external_id, created_at) SELECT $round * 100 + i, 'c' || $round || '_' || i, '2020-01-01' FROM generate_series(1, 9) i
		ON CONFLICT (customer_id) DO UPDATE SET external_id = EXCLUDED.external_id, created_at = EXCLUDED.created_at;
		INSERT INTO chs.customer_events (customer_id, event_type, occurred_at)
		SELECT $round * 100 + i, 'support_ticket', now() - interval '1 day' * d FROM generate_series(1, 9) i, generate_series(0, 500, 50) d));
	ok($node->poll_query_until('busy', 'SELECT NOT EXISTS (SELECT FROM chs.queue) AND NOT EXISTS (SELECT FROM ext.chs_verify())'), "$what: the worker folds") or diag(context_of());
	sql('busy', 'recorder', qq(
		SELECT ext.chs_record_event(${round}01::bigint, 'support_ticket'::text, '{}'::jsonb, NULL::timestamptz, 'k'::text),
		       ext.chs_record_events('[{"customer_id": ${round}02, "event_type": "support_ticket"}]'::jsonb)));
	sql('busy', 'app', qq(
		UPDATE chs.customers SET churned_at = now() WHERE customer_id = ${round}03;
		DELETE FROM chs.customer_events WHERE customer_id = ${round}04;
		CREATE TABLE app.tickets$round (id serial PRIMARY KEY, customer bigint, at timestamptz DEFAULT now());
		CREATE TABLE app.accounts$round (key text, name text)));
	$node->safe_psql('busy', "GRANT ALL ON ALL ROUTINES IN SCHEMA ext TO app");
	sql('busy', 'app', qq(
		SELECT ext.chs_attach('app.tickets$round'::regclass, 'customer'::text, 'support_ticket'::text, 'at'::text, NULL::text, 'customer_id'::text);
		INSERT INTO app.tickets$round (customer) VALUES (${round}05), (NULL), (-1);
		SELECT ext.chs_attach_customers('app.accounts$round'::regclass, 'key'::text, 'name'::text, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text);
		INSERT INTO app.accounts$round VALUES ('new$round', 'new'), ('c${round}_6', 'renamed'), (NULL, 'nobody');
		UPDATE app.accounts$round SET name = 'twice';
		DELETE FROM app.accounts$round WHERE key = 'new$round';
		UPDATE app.tickets$round SET customer = ${round}06 WHERE customer = -1));
	# what the engine does for those who may ask it to; also as the superuser, who would give the most away
	foreach my $role ('postgres')
	{
		sql('busy', $role, qq(
			UPDATE chs.targets SET target = target + 1 WHERE metric = 'logins';
			SELECT ext.chs_publish('round $round'::text, NULL::text);
			SELECT ext.chs_rollback(1, NULL::text, true);
			SELECT ext.chs_scorecard_import(ext.chs_scorecard_export(NULL::integer));
			SELECT ext.chs_pause('a pause'::text), ext.chs_resume();
			SELECT ext.chs_process_queue(NULL::bigint);
			SELECT ext.chs_recalculate(${round}01::bigint), ext.chs_rebuild(${round}01::bigint), ext.chs_refresh(${round}01::bigint);
			CALL ext.chs_recalculate_all();
			CALL ext.chs_rebuild();
			SELECT count(*) FROM ext.chs_verify();
			SELECT ext.chs_retry_rejected('app.tickets$round'::regclass);
			SELECT ext.chs_retry_rejected(NULL::regclass);
			SELECT count(*) FROM ext.chs_lint();
			SELECT ext.chs_grant('reader'::name, 'read'::text); SELECT ext.chs_revoke('reader'::name, 'read'::text);
			SELECT ext.chs_apply_retention(NULL::bigint);
			SELECT ext.chs_purge_customer(${round}07::bigint)));
		sql('busy', $role, "SELECT count(*) FROM chs.$_") foreach split /\n/, $node->safe_psql('busy', q(
			SELECT relname FROM pg_class WHERE relnamespace = 'chs'::regnamespace AND relkind = 'v'));
	}
	sql('busy', 'app', "SELECT ext.chs_detach('app.tickets$round'::regclass), ext.chs_detach('app.accounts$round'::regclass); DROP TABLE app.tickets$round");
	ok($node->poll_query_until('busy', 'SELECT NOT EXISTS (SELECT FROM chs.queue)'), "$what: and folds what that queued");
	caught("$what: no foreign code has run as the owner");

	# a day begins for everyone
	set_clock($node, 7200 - 86400 * $round);
	$node->reload;
	ok($node->poll_query_until('busy', q(
		SELECT bool_and(as_of = (now() AT TIME ZONE 'UTC')::date) FROM chs.customer_health WHERE active)), "$what: a day begins for everyone")
		or diag(context_of());
	caught("$what: and no foreign code has run when it did");
}

# A history that is due to be deleted, and to one row of which the attacker refers.
my $old = "as_of < current_date - 300 AND customer_id = 102";
$node->safe_psql('busy', 'INSERT INTO chs.customers (customer_id, created_at) VALUES (102, now())');
$node->safe_psql('busy', q(
	SET session_replication_role = replica;
	INSERT INTO chs.health_scores (customer_id, scorecard, version, as_of, status, coverage, factor_scores, calculated_at)
	SELECT 102, 'default', 1, d, 'unknown', 0, '{}', d FROM generate_series(now() - interval '400 days', now() - interval '310 days', interval '10 days') d));
sql('busy', 'attacker', "INSERT INTO lair.of_scores SELECT customer_id, as_of, health_score_id FROM chs.health_scores WHERE $old LIMIT 1");

work('everything granted');
is($node->safe_psql('busy', "SELECT count(*) FROM chs.health_scores WHERE $old"), '0', 'history that is due has been deleted');
is($node->safe_psql('busy', 'SELECT count(*) FROM lair.of_scores'), '1', 'what refers to it has not');

# What he refers to stays as it is.
sql('busy', 'attacker', 'INSERT INTO lair.of_customers_1 VALUES (108)');
my ($status, $out, $error) = $node->psql('busy', 'SELECT ext.chs_purge_customer(108::bigint)');
like($error, qr/customer 108 cannot be purged because rows of table lair.of_customers_1 refer to it/, 'a customer that others refer to is not purged');
is($node->safe_psql('busy', 'SELECT count(*) FROM lair.of_customers_1'), '1', 'and their row is still there');
is($node->safe_psql('busy', "SELECT warning FROM chs.retention_status WHERE kind = 'events'"),
	'no events are deleted, because foreign keys of lair.of_events_1, lair.of_events_2, lair.of_events_3 refer to them', 'nor are events deleted that others may refer to');
is($node->safe_psql('busy', "SELECT count(*) > 0 FROM chs.customer_events WHERE occurred_at < now() - interval '401 days'"), 't', 'they are still there');
sql('busy', 'attacker', 'DROP TABLE lair.of_events_1, lair.of_events_2, lair.of_events_3');
$node->safe_psql('busy', 'SELECT ext.chs_apply_retention(NULL::bigint)');
is($node->safe_psql('busy', "SELECT count(*) FROM chs.customer_events WHERE occurred_at < now() - interval '401 days'"), '0', 'without foreign keys they are deleted');
caught('no foreign code has run when they were');

# A careless superuser has his functions called by triggers, also where they are refused: only in others' statements, as they themselves.
$node->safe_psql('busy', 'ALTER EVENT TRIGGER chs_refuse_triggers DISABLE');
$node->safe_psql('busy', 'SET session_replication_role = replica; DELETE FROM lair.of_customers_1');
sql('busy', 'attacker', q(CREATE OR REPLACE FUNCTION lair.t() RETURNS trigger LANGUAGE plpgsql AS $f$BEGIN RAISE LOG 'foreign code as "%"', session_user; RETURN NULL; END$f$));
$node->safe_psql('busy', join(';', map { qq(
	CREATE TRIGGER careless_row AFTER INSERT OR UPDATE OR DELETE ON chs.$_ FOR EACH ROW EXECUTE FUNCTION lair.t();
	CREATE TRIGGER careless AFTER INSERT OR UPDATE OR DELETE ON chs.$_ EXECUTE FUNCTION lair.t();
	CREATE CONSTRAINT TRIGGER careless_later AFTER INSERT OR UPDATE OR DELETE ON chs.$_ DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lair.t()) }
	grep { !/^(targets|scorecards|factors|metrics|segments|segment_weights|recommendations|plugins|event_types)$/ } @tables));
work('triggers of a superuser');

$node->stop;
done_testing();
