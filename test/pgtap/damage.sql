-- Each kind of damage to what is stored: verifying finds it, the scores that users get are reported where they are wrong,
-- CALL chs_rebuild() mends it, and verifying then finds nothing.

\ir begin.psql
SET LOCAL client_min_messages = error;

INSERT INTO chs.customers (customer_id, segment, created_at)
SELECT i, (ARRAY['enterprise', 'smb', NULL])[i % 3 + 1], '2020-01-01' FROM generate_series(1, 30) i;
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
SELECT i, t, '{"endpoint": "/", "ip_address": "::1", "amount": 5, "feature_name": "f", "status_code": 500}'
FROM generate_series(1, 30) i, unnest('{api_call,login,payment,feature_use,support_ticket}'::text[]) t, generate_series(1, i % 4);
SELECT chs_process_queue() \g /dev/null
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
SELECT 20 + i % 5, 'login', '{"ip_address": "::1"}' FROM generate_series(1, 20) i;
SELECT is_empty('SELECT * FROM chs_verify()', 'at first all is right');

-- Of customer 1 nothing is queued; of customer 20 there is.
CREATE TEMP TABLE damages (n serial, what text, found text, statement text);
INSERT INTO damages (what, found, statement) VALUES
    ('no activity', 'live score', 'DELETE FROM chs.activity WHERE customer_id = 1'),
    ('an activity of somebody else', 'live score', 'UPDATE chs.activity SET activity = (SELECT activity FROM chs.activity WHERE customer_id = 3) WHERE customer_id = 2'),
    ('an activity that counts twice', 'activity', 'UPDATE chs.activity SET activity = chs_activity_merge(activity, activity) WHERE customer_id = 1'),
    ('an activity of an earlier version', NULL, 'UPDATE chs.activity SET series_version = 0 WHERE customer_id = 1'),
    ('folded to the future', 'activity', 'UPDATE chs.activity SET folded_to = ''4611686018427387904'' WHERE customer_id = 1'),
    ('folded to the future, with rows queued', 'activity', 'UPDATE chs.activity SET folded_to = ''4611686018427387904'' WHERE customer_id = 20'),
    ('folded to now, with rows queued', 'live score',
     'UPDATE chs.activity SET folded_to = pg_snapshot_xmin(pg_current_snapshot())::text::xid8 WHERE customer_id = 20;
      UPDATE chs.queue SET xid = ''3'' WHERE customer_id = 20'),
    ('a stranded row', 'queue', 'INSERT INTO chs.queue SELECT ''3'', 1, now(), series_version, false, NULL FROM chs.activity WHERE customer_id = 1'),
    ('a stranded delta', 'queue', 'INSERT INTO chs.queue SELECT ''3'', 1, now(), series_version, false, activity FROM chs.activity WHERE customer_id = 1'),
    ('a delta twice', 'live score', 'INSERT INTO chs.queue SELECT * FROM chs.queue WHERE customer_id = 20'),
    ('no delta', 'live score', 'DELETE FROM chs.queue WHERE customer_id = 20'),
    ('no health', 'health', 'DELETE FROM chs.customer_health WHERE customer_id = 1'),
    ('another score', 'score', 'UPDATE chs.customer_health SET score = 99.99 WHERE customer_id = 1'),
    ('another status', 'status', 'UPDATE chs.customer_health SET status = ''unknown'' WHERE customer_id = 1'),
    ('another coverage', 'coverage', 'UPDATE chs.customer_health SET coverage = coverage - 0.0000000000000001 WHERE customer_id = 1'),
    ('another trend', 'trend', 'UPDATE chs.customer_health SET trend = CASE WHEN trend = ''declining'' THEN ''improving'' ELSE ''declining'' END WHERE customer_id = 1'),
    ('other factors', 'factor_scores', 'UPDATE chs.customer_health SET factor_scores[1] = factor_scores[1] + 0.00000000001 WHERE customer_id = 1'),
    ('another segment', 'segment', 'UPDATE chs.customer_health SET segment = ''startup'' WHERE customer_id = 1'),
    ('another scorecard', 'scorecard', 'UPDATE chs.customer_health SET scorecard = ''volume_only'' WHERE customer_id = 1'),
    ('not active', 'active', 'UPDATE chs.customer_health SET active = false WHERE customer_id = 1'),
    ('another risk', 'risk_score', 'UPDATE chs.customer_health SET risk_score = 1.5 WHERE customer_id = 1'),
    ('another beginning', 'status_since', 'UPDATE chs.customer_health SET status_since = status_since + interval ''1 second'' WHERE customer_id = 1'),
    ('a day to come', 'as_of', 'UPDATE chs.customer_health SET as_of = as_of - 1 WHERE customer_id = 1'),
    ('counts twice', 'health_counts of ''smb''', 'INSERT INTO chs.health_counts SELECT * FROM chs.health_counts'),
    ('a count in another range of scores', 'health_counts of ''smb''', 'INSERT INTO chs.health_counts (segment, healthy, at_risk, critical, unknown, score_hundredths, by_score)
      SELECT ''smb'', 0, 0, 0, 0, 0, chs.add_by_score(chs.at_score(12, -1), chs.at_score(13, 1)) UNION ALL SELECT ''smb'', 0, 0, 0, 0, 0, chs.at_score(99, 1)'),
    ('no counts', 'health_counts of ''smb''', 'DELETE FROM chs.health_counts'),
    ('an activity of nobody', 'customer', 'INSERT INTO chs.activity SELECT 99, folded_to, series_version, activity FROM chs.activity WHERE customer_id = 1'),
    ('a health of nobody', 'customer', 'INSERT INTO chs.customer_health SELECT (jsonb_populate_record(h, ''{"customer_id": 99}'')).* FROM chs.customer_health h WHERE customer_id = 1'),
    ('a history of nobody', 'customer', 'INSERT INTO chs.health_scores (customer_id, scorecard, version, as_of, status, coverage, factor_scores, calculated_at)
      SELECT 99, scorecard, version, as_of, status, coverage, factor_scores, calculated_at FROM chs.health_scores WHERE customer_id = 1'),
    ('a past day twice', 'health_scores', 'INSERT INTO chs.health_scores (customer_id, segment, scorecard, version, as_of, status, coverage, factor_scores, calculated_at, backfilled)
      SELECT 1, segment, scorecard, version, as_of - 1, status, coverage, factor_scores, calculated_at, true FROM chs.customer_health, generate_series(1, 2) WHERE customer_id = 1'),
    ('a past that is not over', 'health_scores', 'UPDATE chs.health_scores SET backfilled = true WHERE customer_id = 1'),
    ('a past by no version', 'health_scores', 'UPDATE chs.health_scores SET backfilled = true, as_of = as_of - 1, version = 999 WHERE customer_id = 1'),
    ('a failure of nobody', 'customer', 'INSERT INTO chs.failures VALUES (99, ''XX000'', ''message'', NULL, 1, now(), now(), 1)');

CREATE FUNCTION pg_temp.try_all() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    d damages;
    found boolean;
    left_over text;
    queued bigint;
BEGIN
    FOR d IN SELECT * FROM damages ORDER BY n LOOP
        BEGIN
            SET LOCAL session_replication_role = replica;
            EXECUTE d.statement;
            SET LOCAL session_replication_role = origin;
            found := d.found IS NULL OR d.found IN (SELECT difference FROM chs_verify());
            CALL chs_rebuild();
            left_over := (SELECT string_agg(v::text, E'\n') FROM chs_verify() v);
            queued := (SELECT count(*) FROM chs.queue);
            RAISE EXCEPTION USING ERRCODE = 'CH001';
        EXCEPTION WHEN SQLSTATE 'CH001' THEN
            NULL;
        END;
        RETURN NEXT ok(found, d.what || ': it is found');
        RETURN NEXT is(left_over, NULL, d.what || ': rebuilding mends it');
        RETURN NEXT is(queued, 0::bigint, d.what || ': and nothing stays queued');
    END LOOP;
END
$$;
SELECT pg_temp.try_all();
SELECT is_empty('SELECT * FROM chs_verify()', 'at last all is right');

SELECT * FROM finish();
ROLLBACK;
