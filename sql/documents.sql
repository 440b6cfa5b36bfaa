-- The draft as a document: exported, imported, compared, rolled back.
\pset null '(null)'
\set SHOW_CONTEXT never
-- A document is the same again after a round trip, of the draft and of a version.
SELECT chs_scorecard_export() = chs_scorecard_export(1) AS draft_is_live, chs_scorecard_import(chs_scorecard_export()) AS differences,
       chs_scorecard_export() = chs_scorecard_export(1) AS still;
SELECT chs_scorecard_export(2);
\echo :LAST_ERROR_SQLSTATE

-- Every kind of change, as it will be published.
INSERT INTO chs.segments (segment, description) VALUES ('agency', 'they work for others'), ('unused', NULL);
INSERT INTO chs.customers (customer_id, segment, created_at) VALUES (1, 'agency', '2020-01-01');
UPDATE chs.metrics SET weight = 0.6, curve = '0:0 2:100', filter = '$.bot != true' WHERE (scorecard, metric) = ('default', 'logins');
UPDATE chs.targets SET target = 350 WHERE (scorecard, metric, segment) = ('default', 'api_calls', 'smb');
DELETE FROM chs.targets WHERE (scorecard, metric, segment) = ('default', 'api_calls', 'startup');
INSERT INTO chs.segment_weights (scorecard, factor, metric, segment, weight)
VALUES ('default', 'api_usage', NULL, 'agency', 0.9), ('default', 'api_usage', 'api_error_rate', 'agency', 0);
UPDATE chs.factors SET position = 10 WHERE (scorecard, factor) = ('default', 'api_usage');
DELETE FROM chs.factors WHERE (scorecard, factor) = ('volume_only', 'support_tickets');
INSERT INTO chs.factors (scorecard, factor, weight) VALUES ('default', 'sentiment', 0.1);
UPDATE chs.recommendations SET priority = 2 WHERE recommendation = 'whole_critical';
DELETE FROM chs.recommendations WHERE recommendation = 'whole_low';
UPDATE chs.scorecards SET min_coverage = 0.25, description = NULL WHERE scorecard = 'default';
SELECT what, change, left(old_value::text, 60) AS old, left(new_value::text, 60) AS new FROM chs.draft_changes;
-- Whether one waits depends on how far workers are.
SET client_min_messages = warning;
SELECT chs_publish('all kinds of changes');
SELECT count(*) AS unpublished FROM chs.draft_changes;
-- Who published it, and exactly what was looked at.
SELECT length(chs.draft_hash()), chs.draft_hash() = chs.draft_hash(chs_scorecard_export()) AS of_the_document,
       chs.draft_hash() = chs.draft_hash(chs_scorecard_export(2)) AS as_published, chs.draft_hash() = chs.draft_hash(chs_scorecard_export(1)) AS as_shipped;
BEGIN;
CREATE ROLE regress_chs_publisher;
GRANT EXECUTE ON FUNCTION chs_publish(text, text) TO regress_chs_publisher;
SELECT chs.draft_hash() AS hash \gset
SAVEPOINT s;
UPDATE chs.recommendations SET priority = 3 WHERE recommendation = 'whole_critical';
\set VERBOSITY sqlstate
SELECT chs_publish('somebody was faster', :'hash');
\set VERBOSITY default
ROLLBACK TO s;
SET LOCAL chs.actor = 'Ann';
SET LOCAL ROLE regress_chs_publisher;
SELECT chs_publish('as I saw it', :'hash');
RESET ROLE;
SET LOCAL chs.actor = '';
SELECT chs_publish('by nobody in particular');
SELECT version, published_by = session_user AS by_us, published_by = 'regress_chs_publisher' AS by_role, actor, note FROM chs.scorecard_versions WHERE version > 1 ORDER BY 1;
ROLLBACK;
SELECT version, published_by = session_user AS by_us, note, jsonb_array_length(changes) AS changes,
       published_at BETWEEN now() - interval '1 day' AND now() AS today FROM chs.scorecard_versions ORDER BY 1;
SELECT version, note, array_to_string(path, '.') AS what, change, new AS new_value
FROM chs.scorecard_versions, jsonb_to_recordset(changes) c(path text[], change text, new jsonb) WHERE change <> 'removed' ORDER BY what;
SELECT changes -> 1 FROM chs.scorecard_versions WHERE version = 2;

-- Back to the first version: a new one that is like it, and the draft is like it, too.  The segment that a customer
-- is in stays, as the first version has it scored.
UPDATE chs.factors SET weight = 1 WHERE factor = 'sentiment';
SELECT chs_rollback(1);
\echo :LAST_ERROR_SQLSTATE
SELECT chs_rollback(1, discard => true);
SELECT chs_rollback(17, discard => true);
SELECT chs_rollback(NULL);
SELECT what, change, old_value, new_value FROM chs.document_changes(chs_scorecard_export(1), chs_scorecard_export()) c,
    array_to_string(c.path, '.') what;
SELECT version, note FROM chs.scorecard_versions ORDER BY 1;
SELECT chs_rollback(2, 'forward again');
RESET client_min_messages;
SELECT chs_scorecard_export() = chs_scorecard_export(2) AS as_it_was, chs_scorecard_export(4) = chs_scorecard_export(2) AS live_too, note
FROM chs.scorecard_versions v WHERE version = 4;
SELECT count(*) AS differences FROM chs_verify();

-- What is no document is refused, and changes nothing.
CREATE TEMP TABLE document AS SELECT chs_scorecard_export() AS d;
CREATE FUNCTION refused(document jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    RETURN 'accepted, ' || chs_scorecard_import($1);
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN SQLSTATE || ' ' || SQLERRM || COALESCE(' | ' || NULLIF(hint, ''), '');
END
$$;
SELECT n, refused(j) FROM document, LATERAL (VALUES
    (1, '{"a": 1}'), (2, '[]'), (3, '{}'), (4, '{"default": null, "scorecards": {}, "segments": {}}'),
    (5, '{"default": "none", "scorecards": {}, "segments": {}}'),
    (6, jsonb_set(d, '{scorecards,default,factors,0,weight}', '"x"')),
    (7, jsonb_set(d, '{scorecards,default,factors,0,wieght}', '1')),
    (8, jsonb_set(d, '{scorecards,default,factors,0,weight}', '-1')),
    (9, jsonb_set(d, '{scorecards,default,factors,0,metrics,0,window_days}', '0')),
    (10, jsonb_set(d, '{scorecards,default,factors,0,metrics,0,window_days}', '30.5')),
    (11, jsonb_set(d, '{scorecards,default,factors,0,metrics,0,curve}', '"0:0 0:100"')),
    (12, jsonb_set(d, '{scorecards,default,factors,0,metrics,0,filter}', '"$.a = 1"')),
    (13, jsonb_set(d, '{scorecards,default,factors,0,metrics,0,targets}', '{"none": 1}')),
    (14, jsonb_set(d, '{scorecards,default,factors,0,metrics,0,targets}', '{"smb": 0}')),
    (15, jsonb_set(d, '{scorecards,default,factors,0,weights}', '{"smb": -1}')),
    (16, jsonb_set(d, '{scorecards,default,factors,0}', d #> '{scorecards,default,factors,1}')),
    (17, d #- '{scorecards,default,factors,0,metrics,0,metric}'),
    (18, d #- '{scorecards,default,factors,0,factor}'),
    (19, d #- '{scorecards,default,factors}'),
    (20, d #- '{scorecards,default,factors,0,metrics}'),
    (21, d #- '{scorecards,default,grace}'),
    (22, jsonb_set(d, '{scorecards,default,min_coverage}', '2')),
    (23, jsonb_set(d, '{segments,smb,scorecard}', '"none"')),
    (24, jsonb_set(d, '{segments,smb}', '"default"')),
    (25, jsonb_set(d, '{scorecards,default,factors}', '{"api_usage": {}}')),
    (26, jsonb_set(d, '{recommendations,0,priority}', '9')),
    (27, jsonb_set(d, '{recommendations,0,priorty}', '1')),
    (28, jsonb_set(d, '{scorecards,default,factors,0,metrics,0,function}', '"f"'))) v(n, j) ORDER BY n;
SELECT chs_scorecard_export() = d AS unchanged FROM document;
-- What is nested deeper than any document is not followed to its end.
SELECT count(*) FROM chs.document_parts((repeat('[', 5000) || repeat(']', 5000))::jsonb);
SELECT refused(jsonb_set(d, '{scorecards,default,factors,0,metrics,0,weight}', (repeat('[', 3000) || repeat(']', 3000))::jsonb)) FROM document;
SELECT chs_scorecard_import(NULL);
-- A document of one's own hand: what has a default may be left out.
SELECT chs_scorecard_import('{"default": "mine", "segments": {"smb": {"scorecard": "mine"}, "new": {}},
    "scorecards": {"mine": {"min_coverage": 0, "healthy_from": 70, "at_risk_from": 40, "grace": false, "trend_days": 7, "trend_band": 2, "factors": [
        {"factor": "use", "weight": 1, "weights": {"smb": 2}, "metrics": [
            {"metric": "logins", "event_type": "login", "aggregate": "count", "filter": "$.bot!=true", "window_days": 7, "curve": "0:0 10:100",
             "weight": 1, "missing": "zero", "target": 3, "targets": {"new": 1.5}}]}]}}}') > 0 AS imported;
SELECT jsonb_pretty(chs_scorecard_export() - 'recommendations'), jsonb_array_length(chs_scorecard_export() -> 'recommendations') > 0 AS kept;
SELECT chs_scorecard_import(chs_scorecard_export()) = (SELECT count(*) FROM chs.draft_changes) AS again;

-- Whoever may not edit the draft may not import.
CREATE ROLE regress_chs_importer;
SET ROLE regress_chs_importer;
SELECT chs_scorecard_import('{}');
SELECT chs_rollback(1);
SELECT chs_scorecard_export();
RESET ROLE;
GRANT EXECUTE ON FUNCTION chs_scorecard_import(jsonb) TO regress_chs_importer;
SET ROLE regress_chs_importer;
SELECT chs_scorecard_import('{}');
SELECT chs_scorecard_import('{"default": "x", "segments": {}, "scorecards": {"x": {"factors": []}}}');
RESET ROLE;
DROP OWNED BY regress_chs_importer;
DROP ROLE regress_chs_importer;
DROP FUNCTION refused;
SET client_min_messages = warning;
DROP EXTENSION chs CASCADE;
CREATE EXTENSION chs;
