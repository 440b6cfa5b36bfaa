-- Recommendations: what to do about a score, as rules that are part of the draft.

CREATE TABLE chs.recommendations (
    recommendation text PRIMARY KEY CHECK (recommendation <> ''),
    scorecard      text REFERENCES chs.scorecards ON UPDATE CASCADE ON DELETE CASCADE,
    segment        text REFERENCES chs.segments ON UPDATE CASCADE ON DELETE CASCADE,
    factor         text CHECK (factor <> ''),
    no_data        boolean NOT NULL DEFAULT false,
    score_from     double precision NOT NULL DEFAULT 0 CHECK (score_from BETWEEN 0 AND 100),
    score_below    double precision CHECK (score_below BETWEEN 0 AND 100),
    priority       integer NOT NULL DEFAULT 3 CHECK (priority BETWEEN 1 AND 5),
    action         text NOT NULL CHECK (action <> ''),
    CHECK (score_from < score_below),
    CONSTRAINT recommendations_no_data CHECK (NOT no_data OR (score_from = 0 AND score_below IS NULL))
);
COMMENT ON TABLE chs.recommendations IS 'draft: what to do, by factor or whole score, range of the score, and segment';
COMMENT ON COLUMN chs.recommendations.recommendation IS 'a short name of the rule';
COMMENT ON COLUMN chs.recommendations.scorecard IS 'NULL: for customers of every scorecard';
COMMENT ON COLUMN chs.recommendations.segment IS 'NULL: for customers of every segment';
COMMENT ON COLUMN chs.recommendations.factor IS 'whose score counts; NULL: the whole score';
COMMENT ON COLUMN chs.recommendations.no_data IS 'applies if there is no score for lack of data; otherwise the score must be in the range';
COMMENT ON COLUMN chs.recommendations.score_from IS 'applies from this score on';
COMMENT ON COLUMN chs.recommendations.score_below IS 'applies to scores below this one; NULL: up to 100';
COMMENT ON COLUMN chs.recommendations.priority IS '1 (first) to 5, among those that would gain the same';
COMMENT ON COLUMN chs.recommendations.action IS 'what to do, in words for those who look after the customer';

CREATE FUNCTION chs.draft_recommendations() RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1
BEGIN ATOMIC
    SELECT COALESCE(jsonb_agg(jsonb_strip_nulls(to_jsonb(r)) ORDER BY r.recommendation COLLATE "C"), '[]') FROM chs.recommendations r;
END;
COMMENT ON FUNCTION chs.draft_recommendations() IS 'the recommendations of the draft as publishing freezes them';

INSERT INTO chs.recommendations (recommendation, factor, score_from, score_below, priority, action) VALUES
    ('whole_critical', NULL, 0, 30, 1,
     'Call the decision maker this week. Say openly that usage and payments point to a customer who is leaving, ask what would have to change, and agree on two things with a name and a date each.'),
    ('whole_low', NULL, 30, 50, 1,
     'Book a review within ten days, and bring the two factors that cost the most points, with their numbers. Leave with a written plan for 30 days, and check the score every week until it turns around.'),
    ('whole_at_risk', NULL, 50, 65, 2,
     'Write to the main contact about the one factor that cost the most points, and offer a short session on it. Do not wait for the next regular meeting.'),
    ('whole_watch', NULL, 65, 75, 3,
     'A few points short of healthy: put the factor with the most points to gain on the agenda of the next regular meeting.'),
    ('whole_healthy', NULL, 75, 90, 4,
     'Doing well. Ask what they want to achieve next quarter, write it down, and show them the feature that gets them there.'),
    ('whole_champion', NULL, 90, NULL, 5,
     'Ask for a reference, a review or an introduction while things are going so well, and discuss where else in their company the product could help.'),

    ('api_usage_stopped', 'api_usage', 0, 20, 1,
     'Hardly any calls arrive. Ask the technical contact whether the integration still runs: keys, deployments, people who left. Offer an hour with an engineer to get it going again.'),
    ('api_usage_low', 'api_usage', 20, 50, 2,
     'They make far fewer calls than customers of their size. Find the next process they could connect, and send a worked example for exactly that.'),
    ('api_usage_partial', 'api_usage', 50, 75, 3,
     'Look at the metrics: if few endpoints are used, show the one that saves them a step; if many calls fail, send them the failing calls with the fix.'),
    ('api_usage_near', 'api_usage', 75, 95, 4,
     'Close to what is expected. Tell them about rate limits, batching and webhooks before they need to ask.'),

    ('login_stopped', 'login_frequency', 0, 20, 1,
     'Almost nobody signs in. Find out who the daily users should be and whether they have accounts, and invite them to a half-hour introduction with their own data.'),
    ('login_low', 'login_frequency', 20, 50, 2,
     'Few people use it, or only rarely. Ask the main contact to name one colleague per team, and set up a report or reminder that gives each of them a reason to come back weekly.'),
    ('login_partial', 'login_frequency', 50, 75, 3,
     'The habit is not there yet. Check whether short sessions mean that people do not find what they came for, and pin it to their start page.'),
    ('login_near', 'login_frequency', 75, 95, 4,
     'Widen the circle: suggest single sign-on, or a shared dashboard, so that more than the usual few people use it.'),

    ('payment_overdue', 'payment_timeliness', 0, 40, 1,
     'Invoices are overdue or payments fail. Have billing and the account owner talk before the next reminder goes out: is it the card, the purchase order, or a dispute? Agree on a date for each open amount.'),
    ('payment_late', 'payment_timeliness', 40, 70, 2,
     'They pay late again and again. Ask whom invoices should go to, offer direct debit or yearly billing, and check that their purchase order number is on the invoice.'),
    ('payment_slipping', 'payment_timeliness', 70, 90, 3,
     'A payment slipped. A friendly note with the open invoice attached is enough; check again in two weeks.'),

    ('feature_few', 'feature_adoption', 0, 30, 1,
     'They use a small corner of the product. Ask what job they bought it for, and set up with them the one feature that does it.'),
    ('feature_some', 'feature_adoption', 30, 60, 2,
     'They leave several features unused that similar customers rely on. Show two of them on their own data, and leave a short guide for the team.'),
    ('feature_basic', 'feature_adoption', 60, 85, 3,
     'The basics are in use, the advanced parts are not. Offer a session on one advanced feature that replaces something they do by hand.'),

    ('support_overwhelmed', 'support_tickets', 0, 40, 1,
     'Many or urgent tickets. Name one person who owns all of them, call with a status every day until the urgent ones are closed, and look for the common cause.'),
    ('support_slow', 'support_tickets', 40, 65, 2,
     'Help takes too long or does not satisfy. Read the last tickets in full, answer what is open yourself, and ask what would have helped.'),
    ('support_frequent', 'support_tickets', 65, 85, 3,
     'The same questions keep coming. Send the two articles that answer them, and offer a short training for those who ask most.');

INSERT INTO chs.recommendations (recommendation, factor, no_data, priority, action) VALUES
    ('whole_no_data', NULL, true, 1,
     'Too little is known to say how they are doing. Check that their events arrive and name the right customer; until then, ask them directly.'),
    ('payment_no_data', 'payment_timeliness', true, 4,
     'No payment in the window. Check that billing events arrive for this customer; for a trial, agree on when it ends.');
