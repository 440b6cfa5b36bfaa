# Pausing, watching and cancelling long jobs, and retention by the worker.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Chs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('operations', "chs.batch_size = 10");
$node->start;
add_chs($node, 'postgres');
wait_right($node, 'postgres', 'at the beginning');

sub value { return $node->safe_psql('postgres', $_[0]); }
sub wait_for { my ($query, $what) = @_; ok($node->poll_query_until('postgres', "SELECT $query"), $what); }

# wait_settled(WHAT): everything is folded and right; old events count nothing.
sub wait_settled { wait_for('NOT EXISTS (SELECT FROM chs.queue) AND NOT EXISTS (SELECT FROM chs_verify())', $_[0]); }

# A pause: workers do nothing, readers are right, work by hand goes on.
is(value(q(SELECT chs_resume())), 'f', 'they are not paused');
value(q(SELECT chs_pause('migration 42')));
log_in($node, 'postgres', $_, 2) for (1 .. 3);
wait_for(q(state = 'paused' FROM chs.worker_status), 'chs.worker_status says that they are paused');
is(value(q(SELECT paused, pause_reason, paused_by, depth, is_estimate, held_back, failing, oldest_age_seconds > 0, lag_seconds > 0 FROM chs.queue_status)),
	't|migration 42|' . value('SELECT session_user') . '|3|f|0|0|t|t', 'chs.queue_status tells why and by whom, and what is waiting');
is_right($node, 'postgres', 'scores are right');
is(value(q(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'chs worker')), '0', 'there is no worker');
value(q(SELECT chs_pause('still')));
is(value('SELECT pause_reason FROM chs.queue_status'), 'still', 'a new reason replaces the old one');
value('BEGIN; SELECT chs_resume(); ROLLBACK');
$node->restart;
log_in($node, 'postgres', 4, 1);
wait_for(q(state = 'paused' FROM chs.worker_status), 'the pause outlasts a restart');
$node->stop('immediate');
$node->start;
log_in($node, 'postgres', 5, 1);
wait_for(q(state = 'paused' FROM chs.worker_status), 'and a crash');
is(value('SELECT depth FROM chs.queue_status'), '5', 'nothing has been folded');
is(value('SELECT chs_process_queue(2)'), '2', 'by hand it is');
cmp_ok(value(q(SELECT lag_seconds FROM chs.queue_status)), '>', 0, 'there is a lag');
is(value('SELECT chs_resume()'), 't', 'resumed');
wait_right($node, 'postgres', 'then all is folded');
is(value('SELECT depth, oldest_at IS NULL, lag_seconds, paused FROM chs.queue_status'), '0|t|0|f', 'and the queue is empty');

# A pause waits for the batch that is being worked at, and none begins after it.
{
	my $held = hold($node, 'postgres');
	log_in($node, 'postgres', 6, 1);
	worker_pid($node, 'chs worker', "wait_event_type = 'Lock'");
	my $pausing = $node->background_psql('postgres');
	$pausing->query_until(qr/pausing/, "\\echo pausing\nSELECT chs_pause('now');\n");
	wait_for(q(EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'SELECT chs_pause%' AND wait_event_type = 'Lock')), 'chs_pause waits for the worker');
	release($held);
	$pausing->query_safe('SELECT 1');
	$pausing->quit;
	is(value('SELECT depth FROM chs.queue_status'), '0', 'which has finished its batch');
	log_in($node, 'postgres', 6, 1);
	# whoever takes over from a worker that looked before
	for my $round (1 .. 20)
	{
		value(q(SELECT chs_resume()));
		value(q(SELECT chs_pause('again')));
	}
	value(q(SELECT chs_resume()));
	wait_right($node, 'postgres', 'resumed and paused in turns: in the end all is folded');
}

# Resumed by COMMIT PREPARED, which tells nobody: the nap bounds the delay.
value(q(SELECT chs_pause()));
log_in($node, 'postgres', 7, 1);
wait_for(q(state = 'paused' FROM chs.worker_status), 'paused, with no reason given');
value(q(BEGIN; SELECT chs_resume(); PREPARE TRANSACTION 'resume'));
value(q(COMMIT PREPARED 'resume'));
value('ALTER SYSTEM SET chs.naptime = 1');
$node->reload;
wait_right($node, 'postgres', 'a prepared chs_resume is seen within the nap');
value('ALTER SYSTEM RESET chs.naptime');
$node->reload;

# A job that somebody watches and cancels.  It stops at a customer, until a lock is released.
value(q(
	INSERT INTO chs.customers (customer_id, created_at) SELECT n, '2020-01-01' FROM generate_series(11, 2600) n;
	INSERT INTO chs.customer_events (customer_id, event_type, event_data)
	SELECT n, 'login', '{"ip_address": "::1"}' FROM generate_series(11, 2600) n));
wait_settled('many customers');
value(q(
	CREATE FUNCTION stop_at(customer_id bigint, stop bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS $$
	BEGIN
		IF customer_id = stop AND EXISTS (SELECT FROM pg_stat_activity WHERE pid = pg_backend_pid() AND query LIKE 'CALL%') THEN
			PERFORM pg_advisory_xact_lock(4711);
		END IF;
		RETURN customer_id;
	END $$));

for my $test (['chs_recalculate_all', 'recalculate', 'scoring', 35], ['chs_rebuild', 'rebuild', 'rebuilding', 2500])
{
	my ($procedure, $job, $phase, $stop) = @$test;
	my $blocker = $node->background_psql('postgres');
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	value("CREATE INDEX stop ON chs.customer_health (stop_at(customer_id, $stop), calculated_at)");
	$blocker->query_safe('SELECT pg_advisory_lock(4711)');
	$session->query_until(qr/begins/, "\\echo begins\nCALL $procedure();\n");
	wait_for("EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'CALL%' AND wait_event = 'advisory')", "$procedure is at work");
	is(value("SELECT state, phase, total, rate > 0, estimated_end > started_at, pid IS NOT NULL FROM chs.progress WHERE job = '$job'"),
		"running|$phase|2600|t|t|t", 'another session sees it');
	my $done = value("SELECT done FROM chs.progress WHERE job = '$job'");
	ok($done > 0 && $done < $stop, "and how far it is: $done");
	my ($status, $out, $err) = $node->psql('postgres', "CALL $procedure()");
	like($err, qr/another session is running the job "$job"/, 'it runs once at a time');
	# Beside it there is traffic.
	log_in($node, 'postgres', 1, 1);
	is(value('SELECT * FROM chs_verify()'), '', 'scores are right meanwhile');
	value("SELECT pg_cancel_backend(pid) FROM chs.progress WHERE job = '$job'");
	wait_for("state = 'interrupted' AND done = $done AND pid IS NULL FROM chs.progress WHERE job = '$job'", 'cancelled, it is interrupted');
	is(value('SELECT * FROM chs_verify()'), '', 'scores are right');
	$blocker->query_safe('SELECT pg_advisory_unlock(4711)');
	$blocker->quit;
	$session->quit;
	# What is before the place where it stopped is not done again, what is behind it is.
	wait_settled('the worker has folded what came');
	value('DROP INDEX chs.stop');
	value(q(UPDATE chs.customer_health SET calculated_at = '2020-01-01'));
	($status, $out, $err) = $node->psql('postgres', "CALL $procedure()");
	is($status, 0, "$procedure again");
	like($err, qr/NOTICE:  resuming the job "$job" .* after customer $done/, 'goes on where it stopped');
	is(value(q(SELECT count(*), max(customer_id) FROM chs.customer_health WHERE calculated_at = '2020-01-01')), "$done|$done", 'really');
	is(value("SELECT state, done, total FROM chs.progress WHERE job = '$job'"), 'finished|2600|2600', 'and finishes');
	wait_settled('all is right');
}

# The past, which is computed in slices of 2500 customers.
{
	my $blocker = $node->background_psql('postgres');
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $backfill = q(CALL chs_backfill_history((now() AT TIME ZONE 'UTC')::date - 40));
	my $recorded = q(SELECT md5(string_agg(h::text || h.xmin::text, '' ORDER BY health_score_id)) FROM chs.health_scores h WHERE NOT backfilled);
	my $before = value($recorded);

	value('CREATE INDEX stop ON chs.health_scores (stop_at(customer_id, 2550), health_score_id)');
	$blocker->query_safe('SELECT pg_advisory_lock(4711)');
	$session->query_until(qr/begins/, "\\echo begins\n$backfill;\n");
	wait_for(q(EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'CALL%' AND wait_event = 'advisory')), 'chs_backfill_history is at work');
	is(value(q(SELECT state, phase, done, total, pid IS NOT NULL FROM chs.progress WHERE job = 'history')), 'running|computing the past|2500|2600|t', 'another session sees it');
	like(($node->psql('postgres', $backfill))[2], qr/another session is running the job "history"/, 'it runs once at a time');
	value(q(SELECT pg_cancel_backend(pid) FROM chs.progress WHERE job = 'history'));
	wait_for(q(state = 'interrupted' AND done = 2500 FROM chs.progress WHERE job = 'history'), 'cancelled, it is interrupted');
	$blocker->query_safe('SELECT pg_advisory_unlock(4711)');
	$blocker->quit;
	$session->quit;
	value('DROP INDEX chs.stop');
	is(value('SELECT count(*), max(customer_id) FROM chs.health_scores WHERE backfilled'), '100000|2500', 'what was computed is there');
	like(($node->psql('postgres', $backfill))[2], qr/NOTICE:  resuming the job "history" .* after customer 2500/, 'it goes on where it stopped');
	is(value('SELECT count(*), count(DISTINCT (customer_id, as_of)) FROM chs.health_scores WHERE backfilled'), '104000|104000', 'and finishes');
	is(value(q(SELECT state, done, total FROM chs.progress WHERE job = 'history')), 'finished|2600|2600', 'as chs.progress says');
	is(value($recorded), $before, 'what was recorded at the time is as it was');
	wait_settled('all is right with a past');
	value('DELETE FROM chs.health_scores WHERE backfilled');
}

# The same when the session is ended, and when the server crashes.
for my $how ('terminate', 'crash')
{
	my $blocker = $node->background_psql('postgres');
	my $session = $node->background_psql('postgres', on_error_stop => 0, on_error_die => 0);

	value("CREATE INDEX stop ON chs.customer_health (stop_at(customer_id, 55), calculated_at)");
	$blocker->query_safe('SELECT pg_advisory_lock(4711)');
	$session->query_until(qr/begins/, "\\echo begins\nCALL chs_recalculate_all();\n");
	wait_for("EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'CALL%' AND wait_event = 'advisory')", 'chs_recalculate_all is at work');
	if ($how eq 'terminate')
	{
		value("SELECT pg_terminate_backend(pid) FROM chs.progress WHERE job = 'recalculate'");
		wait_for(q(state = 'interrupted' AND done = 50 FROM chs.progress WHERE job = 'recalculate'), "$how: interrupted");
	}
	else
	{
		$node->stop('immediate');
		$node->start;
		# committed without waiting for the disk, so a little less may be known
		wait_for(q(state = 'interrupted' AND done <= 50 FROM chs.progress WHERE job = 'recalculate'), "$how: interrupted");
	}
	eval { $session->quit };
	eval { $blocker->quit };
	value('DROP INDEX chs.stop; CALL chs_recalculate_all()');
	is(value(q(SELECT state, done FROM chs.progress WHERE job = 'recalculate')), 'finished|2600', "$how: finished by the next call");
	wait_settled("$how: all is right");
}

# Retention by the worker, while it is idle; nobody is rebuilt or scored for it.
value(q(
	INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
	SELECT n % 10 + 1, 'login', '{"ip_address": "::1"}', now() - interval '200 days' FROM generate_series(1, 2500) n;
	INSERT INTO chs.health_scores (customer_id, score, status, coverage, factor_scores, scorecard, version, as_of, calculated_at)
	SELECT n % 10 + 1, 50, 'at_risk', 1, '{}', 'default', 1, '2020-01-01', '2020-01-01' FROM generate_series(1, 2500) n;
	SELECT chs_count_days((SELECT min(day) FROM chs.counted_days));
	SELECT chs.date_statuses(1, 10)));
wait_settled('old events and history');
# How many rows each transaction deletes.
value(q(
	CREATE TABLE slices (xid xid8, kind text, n bigint);
	CREATE FUNCTION note_slice() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.slices SELECT pg_current_xact_id(), TG_TABLE_NAME, count(*) FROM gone;
		RETURN NULL;
	END $$;
	CREATE TRIGGER note_slice AFTER DELETE ON chs.customer_events REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION note_slice();
	ALTER EVENT TRIGGER chs_refuse_triggers DISABLE;
	CREATE TRIGGER note_slice AFTER DELETE ON chs.health_scores REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION note_slice();
	ALTER TABLE chs.customer_events ENABLE ALWAYS TRIGGER note_slice;
	ALTER TABLE chs.health_scores ENABLE ALWAYS TRIGGER note_slice;
	ALTER EVENT TRIGGER chs_refuse_triggers ENABLE ALWAYS));
my $before = value('SELECT max(calculated_at), count(*) FROM chs.customer_health');
my $kept = value(q(SELECT count(*) FROM chs.customer_events WHERE occurred_at > now() - interval '100 days'));
value(q(ALTER SYSTEM SET chs.event_retention = '150d'));
value(q(ALTER SYSTEM SET chs.history_retention = '150d'));
value('ALTER SYSTEM SET chs.naptime = 1');
$node->reload;
wait_for(q(count(*) = 2 AND bool_and(complete AND deleted = 2500) FROM chs.retention_status WHERE kind <> 'rejected'), 'the worker deletes what is old');
is(value(q(SELECT count(*) FROM chs.customer_events)), $kept, 'and keeps the others');
is(value(q(SELECT count(*) FROM chs.health_scores WHERE as_of < '2021-01-01')), '0', 'also of the history');
is(value('SELECT max(calculated_at), count(*) FROM chs.customer_health'), $before, 'nobody was scored for that');
is(value('SELECT count(*) FROM chs.queue'), '0', 'nor is to be');
is(value('SELECT * FROM chs_verify()'), '', 'chs_verify finds nothing');
is(value(q(SELECT kind, sum(n), max(n) FROM (SELECT kind, sum(n) AS n FROM slices GROUP BY xid, kind) s GROUP BY kind ORDER BY kind)),
	"customer_events|2500|1000\nhealth_scores|2500|1000", 'in small transactions');
value('DROP FUNCTION note_slice() CASCADE; DROP TABLE slices');
# A setting that asks for too much is said in the log, once a pass.
my $offset = -s $node->logfile;
value(q(ALTER SYSTEM SET chs.event_retention = '10d'));
$node->reload;
ok($node->wait_for_log(qr/WARNING: .*events are kept longer than "chs.event_retention" says/, $offset), 'the log says what scores need');
is(value(q(SELECT count(*) FROM chs.customer_events)), $kept, 'which is kept');
like(($node->psql('postgres', q(BEGIN; CALL chs_backfill_history((now() AT TIME ZONE 'UTC')::date - 90); ROLLBACK)))[2],
	qr/NOTICE:  days whose scores need events from before [-0-9]+ get none/, 'there is no past without events');
value('ALTER SYSTEM RESET chs.event_retention');
value('ALTER SYSTEM RESET chs.history_retention');
value('ALTER SYSTEM RESET chs.naptime');
$node->reload;
# A database may have its own.
value(q(ALTER DATABASE postgres SET chs.event_retention = '300d'));
is(value(q(SELECT setting FROM chs.retention_status WHERE kind = 'events')), '300d', 'a setting of the database');

# One session at a time; the worker does not wait for it.
{
	my $session = $node->background_psql('postgres');

	$session->query_safe(q(BEGIN; SET LOCAL chs.history_retention = '100d'; SELECT chs_apply_retention()));
	my ($status, $out, $err) = $node->psql('postgres', q(SET chs.history_retention = '100d'; SELECT chs_apply_retention()));
	like($err, qr/old rows are being deleted by another session/, 'old rows are deleted by one session at a time');
	value(q(ALTER DATABASE postgres SET chs.history_retention = '100d'; ALTER SYSTEM SET chs.naptime = 1));
	$node->reload;
	log_in($node, 'postgres', 8, 1);
	wait_settled('the worker goes on meanwhile');
	$session->query_safe('COMMIT');
	$session->quit;
	value(q(ALTER DATABASE postgres RESET chs.history_retention; ALTER SYSTEM RESET chs.naptime));
	$node->reload;
}

# Who monitors sees how it goes, but no customer; everyone else sees nothing.
value(q(CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher; CREATE ROLE stranger LOGIN));
is(value(q(SET ROLE watcher; SELECT depth, failing FROM chs.queue_status; SELECT count(*) FROM chs.progress; SELECT count(*) > 0 FROM chs.worker_status)),
	"0|0\n3\nt", 'pg_monitor sees the queue, the workers and the jobs');
for my $query ('TABLE chs.queue', 'TABLE chs.failures', 'TABLE chs.customer_health', 'TABLE chs.retention_status', 'SELECT chs_pause()', 'SELECT chs_resume()', 'CALL chs_rebuild()', q(CALL chs_backfill_history('2024-01-01')))
{
	my ($status, $out, $err) = $node->psql('postgres', "SET ROLE watcher; $query");
	like($err, qr/permission denied/, "but not: $query");
}
for my $query ('TABLE chs.queue_status', 'TABLE chs.progress', 'TABLE chs.worker_status', 'TABLE chs.pause')
{
	my ($status, $out, $err) = $node->psql('postgres', "SET ROLE stranger; $query");
	like($err, qr/permission denied/, "a stranger: $query");
}
# Rights to call are enough to do.
value(q(GRANT EXECUTE ON FUNCTION chs_pause(text), chs_resume() TO stranger;
	GRANT EXECUTE ON PROCEDURE chs_rebuild(), chs_backfill_history(date) TO stranger;
	GRANT EXECUTE ON FUNCTION chs_apply_retention(bigint) TO stranger));
is(value(q(SET chs.history_retention = '90d'; SET SESSION AUTHORIZATION stranger; SELECT * FROM chs_apply_retention())), '0|0|0', 'whoever has the right to call deletes what is old');
is(value(q(SET SESSION AUTHORIZATION stranger; CALL chs_rebuild(); CALL chs_backfill_history((now() AT TIME ZONE 'UTC')::date - 1); SELECT chs_pause('mine'))), '', 'whoever has the right to call pauses, rebuilds and computes the past');
is(value(q(SELECT paused_by FROM chs.pause)), 'stranger', 'and is named');
is(value(q(SET SESSION AUTHORIZATION stranger; SELECT chs_resume())), 't', 'and resumes');
wait_settled('in the end all is right');

$node->stop;
is_quiet($node, qr/PANIC:|TRAP:|terminated by signal/, 'nothing crashed');
done_testing();
