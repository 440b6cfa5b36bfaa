# What TAP tests have in common: clusters with chs, customers with events, and the check that scores are right.
package Chs;

use strict;
use warnings;

use File::Basename qw(dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use base 'Exporter';
our @EXPORT = qw(ask new_node add_chs dump_settings make_clock set_clock log_in is_right wait_right worker_pid hold release start_load stop_load end_load is_quiet);

# ask(SESSION, QUERY): the answer of a background session, without the newline that some minor releases leave.
sub ask
{
	my ($session, $query) = @_;

	return $session->query_safe($query) =~ s/\n\z//r;
}

# new_node(NAME, CONFIGURATION, OPTION OF init...): a cluster that preloads chs, and naps so long that only being woken counts.
sub new_node
{
	my ($name, $configuration, @init) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(@init);
	$node->append_conf('postgresql.conf', qq(
shared_preload_libraries = 'chs'
chs.naptime = 3600
max_worker_processes = 16
max_prepared_transactions = 10
log_min_messages = info
timezone = 'UTC'
));
	$node->append_conf('postgresql.conf', $configuration // '');
	return $node;
}

# add_chs(NODE, DATABASE): the extension and ten customers.
sub add_chs
{
	my ($node, $database) = @_;

	$node->safe_psql($database, q(
		CREATE EXTENSION chs;
		INSERT INTO chs.customers (customer_id, name, created_at)
		SELECT i, 'Customer ' || i, '2020-01-01' FROM generate_series(1, 10) i));
}

# make_clock(NODE): the environment in which the node starts with a clock that set_clock sets; none if that cannot be compiled.
# set_clock(NODE, SECONDS): sets it to this many seconds before the UTC midnight that follows the real time; it runs on from there.
my $midnight = (int(time / 86400) + 1) * 86400;

sub make_clock
{
	my ($node) = @_;
	my $clock = $node->basedir . '/clock';

	system(($ENV{CC} || 'cc'), '-shared', '-fPIC', '-O2', '-o', "$clock.so", dirname(__FILE__) . '/clock.c') == 0 or return;
	return (LD_PRELOAD => "$clock.so", CHS_CLOCK => $clock);
}

sub set_clock
{
	my ($node, $before) = @_;
	my $clock = $node->basedir . '/clock';

	# In place, as the server has it mapped.
	open(my $file, -e $clock ? '+<' : '>', $clock) or die $!;
	print $file pack('q', $midnight - $before - time);
	close($file) or die $!;
}

# dump_settings(NODE): what a session that restores a dump begins with.
sub dump_settings
{
	my ($node) = @_;
	my ($dump) = run_command([ 'pg_dump', '-s', '-d', $node->connstr('template1') ]);

	return join ' ', $dump =~ /^(SET (?!default_).*;|SELECT pg_catalog\.set_config.*;)$/mg;
}

# log_in(NODE, DATABASE, CUSTOMER, TIMES): some events.
sub log_in
{
	my ($node, $database, $customer, $times) = @_;

	$node->safe_psql($database, qq(
		INSERT INTO chs.customer_events (customer_id, event_type, event_data)
		SELECT $customer, 'login', jsonb_build_object('ip_address', '::1', 'user_id', i)
		FROM generate_series(1, $times) i));
}

# True if everything is folded, the stored health is current, and every login counts once.
my $right = q(
	SELECT NOT EXISTS (SELECT FROM chs.queue) AND NOT EXISTS (SELECT FROM chs_verify())
	   AND NOT EXISTS (
		SELECT FROM chs.customers c LEFT JOIN chs.customer_health h USING (customer_id)
		WHERE h.score IS DISTINCT FROM chs_score(c.customer_id)
		   OR (SELECT e.value FROM chs_explain(c.customer_id) e WHERE e.metric = 'logins')
			  IS DISTINCT FROM (SELECT count(*) FROM chs.customer_events e
								WHERE e.customer_id = c.customer_id AND e.event_type = 'login')));

# wait_right(NODE, DATABASE, WHAT): eventually everything is folded and right, without further action.
sub wait_right
{
	my ($node, $database, $what) = @_;

	ok($node->poll_query_until($database, $right), $what) or diag(state_of($node, $database));
}

# is_right(NODE, DATABASE, WHAT): the scores are right now, whether folded or not.
sub is_right
{
	my ($node, $database, $what) = @_;

	is($node->safe_psql($database, q(
		SELECT (SELECT count(*) FROM chs_verify()), (SELECT count(*) FROM chs.customers c
			WHERE (SELECT COALESCE(e.value, 0) FROM chs_explain(c.customer_id) e WHERE e.metric = 'logins')
				  IS DISTINCT FROM (SELECT count(*) FROM chs.customer_events e
									WHERE e.customer_id = c.customer_id AND e.event_type = 'login')))),
		'0|0', $what);
}

sub state_of
{
	my ($node, $database) = @_;

	return $node->safe_psql($database, q(
		SELECT 'queue ' || count(*) FROM chs.queue
		UNION ALL SELECT 'differs ' || v FROM chs_verify() v
		UNION ALL SELECT 'health ' || h FROM chs.customer_health h
		UNION ALL SELECT 'process ' || backend_type || ' ' || COALESCE(datname, '') || ' ' || COALESCE(wait_event, '') || ' ' || COALESCE(query, '')
		FROM pg_stat_activity));
}

# worker_pid(NODE, TYPE): the process id of the launcher or of a worker, once there is one.
sub worker_pid
{
	my ($node, $type, $condition) = @_;
	my $query = "SELECT pid FROM pg_stat_activity WHERE backend_type = '$type'" . ($condition ? " AND $condition" : '');

	$node->poll_query_until('postgres', "SELECT EXISTS ($query)") or die "there is no $type";
	return $node->safe_psql('postgres', "$query LIMIT 1");
}

# hold(NODE, DATABASE): a session that keeps the worker from folding, so that it can be found at work; release ends it.
sub hold
{
	my ($node, $database) = @_;
	my $session = $node->background_psql($database);

	$session->query_safe('BEGIN; LOCK TABLE chs.activity IN ACCESS EXCLUSIVE MODE');
	return $session;
}

sub release
{
	my ($session) = @_;

	$session->query_safe('COMMIT');
	$session->quit;
}

# is_quiet(NODE, PATTERN, WHAT): no line of the log matches.
sub is_quiet
{
	my ($node, $pattern, $what) = @_;
	my @lines = grep { $_ =~ $pattern } split(/\n/, slurp_file($node->logfile));

	is(scalar(@lines), 0, $what) or diag(join("\n", @lines[0 .. ($#lines < 20 ? $#lines : 20)]));
}

# start_load(NODE, DATABASE [, SCRIPT]): clients that insert, or do what the pgbench script says, until stop_load,
# or until their database is gone.
sub start_load
{
	my ($node, $database, $what) = @_;
	my $script = PostgreSQL::Test::Utils::tempdir() . '/load.sql';
	my ($out, $err) = ('', '');

	append_to_file($script, $what // q(
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
VALUES (1 + :client_id + (random() * 8)::integer, 'login', '{"ip_address": "::1"}');
));
	my $run = IPC::Run::start(
		[ $node->installed_command('pgbench'), '-n', '-c', '2', '-T', '600', '-f', $script, $node->connstr($database) ],
		'<', \undef, '>', \$out, '2>', \$err);
	return { run => $run, out => \$out, err => \$err };
}

sub stop_load
{
	my ($load) = @_;

	$load->{run}->signal('TERM') if $load->{run}->pumpable;
	eval { $load->{run}->finish; };
	return ${ $load->{err} };
}

# end_load(LOAD): waits for a client that ends by itself, as its table is gone; returns what it complained of.
sub end_load
{
	my ($load) = @_;

	eval { $load->{run}->finish; };
	return ${ $load->{err} };
}

1;
