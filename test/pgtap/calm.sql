-- The dead band of a scorecard: a change of status counts once the score is calm_points beyond the bound; the status
-- itself changes at the bound.
\ir begin.psql

DELETE FROM chs.factors WHERE scorecard = 'default';
INSERT INTO chs.factors (scorecard, factor, weight) VALUES ('default', 'use', 1);
INSERT INTO chs.metrics (scorecard, factor, metric, event_type, aggregate, window_days, curve, weight, missing)
VALUES ('default', 'use', 'logins', 'login', 'count', 30, '0:0 100:100', 1, 'zero');
UPDATE chs.scorecards SET calm_points = 3 WHERE scorecard = 'default';
SELECT chs_publish('calm') \g /dev/null
CALL chs_recalculate_all();
SELECT is((SELECT document #>> '{scorecards,default,calm_points}' FROM chs.scorecard_versions ORDER BY version DESC LIMIT 1), '3', 'the document of a version has calm_points');
SELECT is((SELECT document #> '{scorecards,volume_only}' ? 'calm_points' FROM chs.scorecard_versions ORDER BY version DESC LIMIT 1), false, 'but not where it is 0');
SELECT chs_scorecard_import(chs_scorecard_export()) \g /dev/null
SELECT is((SELECT array_agg(calm_points ORDER BY scorecard) FROM chs.scorecards), '{3,0}'::float8[], 'exporting and importing keep it');
SELECT throws_ok('UPDATE chs.scorecards SET calm_points = 51', '23514', 'invalid "calm_points" of scorecard "default": 51', 'not more than 50 points');
SELECT throws_ok('UPDATE chs.scorecards SET calm_points = ''NaN''', '23514', NULL, 'nor NaN');
UPDATE chs.scorecards SET calm_points = 13;
SELECT matches((SELECT string_agg(message, ' ') FROM chs_lint()), 'calm_points .13. is at least half', 'a band that leaves nothing between the bounds is questionable');
UPDATE chs.scorecards SET calm_points = 3;

INSERT INTO chs.customers (customer_id, name, created_at) VALUES (1, 'One', '2020-01-01');
-- The score becomes so many points.  Returns the status, what counts as changed, in all, and what is new.
CREATE FUNCTION pg_temp.score(points integer) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    n integer := points - (SELECT count(*) FROM chs.customer_events);
    result text;
BEGIN
    DELETE FROM chs.customer_events WHERE event_id IN (SELECT event_id FROM chs.customer_events ORDER BY event_id LIMIT greatest(0, -n));
    INSERT INTO chs.customer_events (customer_id, event_type, event_data) SELECT 1, 'login', '{"ip_address": "::1"}' FROM generate_series(1, n);
    PERFORM chs_process_queue();
    SELECT concat_ws(' ', h.score, h.status, '|', (SELECT string_agg(c.status, ' ' ORDER BY c.started_at, s.health_score_id) FROM chs.status_changes c JOIN chs.health_scores s ON (s.customer_id, s.score) = (c.customer_id, c.score)
                                                    AND COALESCE(s.calm_status, s.status) = c.status AND s.may_change))
    INTO result FROM chs.customer_health h WHERE h.customer_id = 1;
    RETURN result;
END
$$;
SELECT is(pg_temp.score(76), '76 healthy | healthy', 'the first status is that of the score');
SELECT is(pg_temp.score(73), '73 at_risk | healthy', 'below the bound, within the band: the status changes, but it does not count');
SELECT is(pg_temp.score(72), '72 at_risk | healthy', 'nor at the end of the band');
SELECT is(pg_temp.score(71), '71 at_risk | healthy at_risk', 'it counts beyond the band, though the status does not change then');
SELECT is(pg_temp.score(77), '77 healthy | healthy at_risk', 'nor back within it');
SELECT is(pg_temp.score(78), '78 healthy | healthy at_risk healthy', 'but beyond it on the other side');
SELECT is(pg_temp.score(46), '46 critical | healthy at_risk healthy critical', 'past two bounds at once');
SELECT is(pg_temp.score(52), '52 at_risk | healthy at_risk healthy critical', 'each bound has its band');
SELECT is(pg_temp.score(90), '90 healthy | healthy at_risk healthy critical healthy', 'and back');
SELECT is((SELECT array_agg(previous_status ORDER BY started_at, score DESC) FROM chs.status_changes WHERE previous_status = 'critical'), '{critical}'::text[],
          'the status before a change is the one that counted');
SELECT is(count(*), 4::bigint, 'exactly the changes that count are announced') FROM chs.health_scores WHERE changed_by IS NOT NULL;
SELECT is_empty('SELECT * FROM chs_verify()', 'nothing differs');
SELECT * FROM finish();
ROLLBACK;
