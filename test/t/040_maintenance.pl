# What a DBA does every day, under sessions that stay open and the worker: reindexing, rewriting, moving and renaming, of
# every table and index of schema chs, one after the other.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('maintenance', "allow_in_place_tablespaces = on\nautovacuum = off\n");
$node->start;
add_chs($node, 'postgres');
$node->safe_psql('postgres', q(
	SET allow_in_place_tablespaces = on;
	CREATE TABLESPACE elsewhere LOCATION '';));
$node->safe_psql('postgres', q(
	UPDATE chs.customers SET external_id = 'c' || customer_id;
	CREATE TABLE logins (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account text, ip_address text, at timestamptz);
	SELECT chs_attach('logins', 'account', 'login', 'at', customer_key => 'external_id')));
# settled(WHAT): everything is folded and right.
sub settled
{
	my ($what) = @_;

	ok($node->poll_query_until('postgres', q(
		SELECT NOT EXISTS (SELECT FROM chs.queue) AND NOT EXISTS (SELECT FROM chs_verify())
		   AND NOT EXISTS (SELECT FROM chs.customers c LEFT JOIN chs.customer_health h USING (customer_id)
						   WHERE h.score IS DISTINCT FROM chs_score(c.customer_id)))), $what);
}

# These stay open: one that sends events and asks for scores, an application that knows nothing of chs, and one that works by hand.
my %sessions = (
	'events' => q(INSERT INTO chs.customer_events (customer_id, event_type, event_data)
		SELECT 1 + i, 'login', '{"ip_address": "::1"}' FROM generate_series(0, 4) i;
		SELECT chs_score(1), chs_status(2);),
	'application' => q(INSERT INTO logins (account, ip_address, at) VALUES ('c1', '::1', now()), ('nobody', '::1', now());),
	'by hand' => q(SELECT count(chs_recalculate(i)) FROM generate_series(1, 3) i;
		SELECT count(*) FROM chs_health(1);));
my %open = map { $_ => $node->background_psql('postgres', on_error_stop => 0) } keys %sessions;
my %broken;

# go_on(AFTER): the open sessions do their work after a command.
sub go_on
{
	my ($after) = @_;

	for my $name (sort keys %open)
	{
		$open{$name}->query($sessions{$name});
		$broken{"$name, after $after"} = $open{$name}->{stderr} if $open{$name}->{stderr} ne '';
		$open{$name}->{stderr} = '';
	}
}

# maintain(COMMAND): as a DBA, in a session of its own.
sub maintain
{
	my ($command) = @_;
	my ($status, $out, $err) = $node->psql('postgres', $command);

	$broken{$command} = $err if $status != 0;
	go_on($command);
}

# unbroken(WHAT): the commands and sessions since the last time had no errors.
sub unbroken
{
	my ($what) = @_;

	is(join("\n", map { "$_: $broken{$_}" } sort keys %broken), '', $what);
	%broken = ();
}

settled('at the beginning');
my @tables = split /\n/, $node->safe_psql('postgres', q(SELECT oid::regclass FROM pg_class WHERE relnamespace = 'chs'::regnamespace AND relkind = 'r' ORDER BY 1));
go_on('nothing');
unbroken('sessions work');
for my $table (@tables)
{
	maintain($_)
	  for "REINDEX TABLE CONCURRENTLY $table", "REINDEX TABLE $table", "VACUUM (FULL, ANALYZE) $table", "ALTER TABLE $table SET TABLESPACE elsewhere",
	  "VACUUM (FREEZE) $table", "ALTER TABLE $table SET (fillfactor = 90)";
}
unbroken('reindexing, rewriting and moving each table');
settled('and scores are right');

my @indexes = map { [ split /\|/ ] } split /\n/, $node->safe_psql('postgres', q(
	SELECT indexrelid::regclass, indrelid::regclass, indisclustered OR (indisvalid AND indpred IS NULL AND amname = 'btree'),
		   EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype = 'p' AND conrelid = indrelid), EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype = 'f'),
		   replace(pg_get_indexdef(indexrelid), 'INDEX ', 'INDEX CONCURRENTLY new_'), conname, indexrelid::regclass::text LIKE 'chs.%'
	FROM pg_index JOIN pg_class c ON c.oid = indexrelid JOIN pg_am a ON a.oid = relam LEFT JOIN pg_constraint k ON conindid = indexrelid AND contype IN ('p', 'u') AND conrelid = indrelid
	WHERE c.relnamespace = 'chs'::regnamespace ORDER BY 1));
cmp_ok(scalar(@indexes), '>', 30, 'there are indexes');
for (@indexes)
{
	my ($index, $table, $clusters, $primary, $referenced, $definition, $constraint) = @$_;
	my ($bare) = $index =~ /([^.]+)$/;

	maintain("CLUSTER $table USING $bare") if $clusters eq 't';
	maintain("REINDEX INDEX CONCURRENTLY $index");
	maintain("ALTER INDEX $index RENAME TO x; ALTER INDEX chs.x SET TABLESPACE pg_default");
	maintain("ALTER INDEX chs.x RENAME TO $bare");
	next if $referenced eq 't';
	# a new index in place of the old one, as it is done where REINDEX CONCURRENTLY is not trusted
	maintain($definition);
	maintain($primary eq 't' ? "ALTER TABLE $table DROP CONSTRAINT $constraint, ADD CONSTRAINT another_$bare PRIMARY KEY USING INDEX new_$bare"
		: $constraint ? "ALTER TABLE $table DROP CONSTRAINT $constraint; DROP INDEX IF EXISTS $index" : "DROP INDEX CONCURRENTLY $index");
}
unbroken('clustering by, reindexing, renaming and replacing each index');
settled('and scores are right');

# An index that is missing is named.
my ($status, $out, $err) = $node->psql('postgres', q(DROP INDEX chs.new_queue_customer_id_idx; SELECT chs_score(1)));
like($err, qr/table "chs.queue" lacks an index that is needed\nHINT:  Create it again, with any name: CREATE INDEX ON chs\.queue USING btree \(customer_id, xid\);/, 'a missing index is named');
my ($create) = $err =~ /with any name: (.*)/;
$node->safe_psql('postgres', $create);
maintain('SELECT 1');
unbroken('and created as the hint says');

# New tables and indexes with the old names.
maintain('DROP EXTENSION chs CASCADE; CREATE EXTENSION chs');
%broken = ();
$node->safe_psql('postgres', q(INSERT INTO chs.customers (customer_id, external_id, created_at) SELECT i, 'c' || i, '2020-01-01' FROM generate_series(1, 10) i));
go_on('another extension');
unbroken('an extension that is dropped and created again');
settled('and scores are right');
is($node->safe_psql('postgres', q(SELECT count(*) FROM chs.customer_events)), '5', 'what was sent after it is there');

$_->quit for values %open;
is_quiet($node, qr/could not open|cache lookup|PANIC|XX000/, 'nothing was looked for in vain');
$node->stop;
done_testing();
