-- Documents: the draft as one value, to publish, compare, export and import.

-- Everything in the draft that scoring depends on, in the order of evaluation.  Names
-- are keys, and ordered things are arrays, so that documents can be compared.  jsonb
-- takes numbers from their text, which must have all their digits.
CREATE FUNCTION chs.draft_document() RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1
BEGIN ATOMIC
    SELECT jsonb_build_object(
        'default', (SELECT min(s.scorecard) FROM chs.scorecards s WHERE s.is_default),
        'segments', COALESCE((
            SELECT jsonb_object_agg(g.segment, jsonb_strip_nulls(jsonb_build_object(
                'scorecard', g.scorecard, 'description', g.description)))
            FROM chs.segments g), '{}'),
        'scorecards', COALESCE((
            SELECT jsonb_object_agg(s.scorecard, jsonb_strip_nulls(jsonb_build_object(
                'description', s.description, 'min_coverage', s.min_coverage,
                'healthy_from', s.healthy_from, 'at_risk_from', s.at_risk_from,
                'grace', s.grace, 'trend_days', s.trend_days, 'trend_band', s.trend_band, 'calm_points', nullif(s.calm_points, 0),
                'factors', COALESCE((
                    SELECT jsonb_agg(jsonb_build_object(
                        'factor', f.factor, 'description', f.description, 'weight', f.weight,
                        'weights', (
                            SELECT jsonb_object_agg(w.segment, w.weight) FROM chs.segment_weights w
                            WHERE (w.scorecard, w.factor) = (f.scorecard, f.factor) AND w.metric IS NULL),
                        'metrics', COALESCE((
                            SELECT jsonb_agg(jsonb_build_object(
                                'metric', m.metric, 'description', m.description, 'event_type', m.event_type,
                                'aggregate', m.aggregate, 'measure', m.measure, 'field', m.field,
                                'filter', m.filter, 'base_filter', m.base_filter,
                                'window_days', m.window_days, 'curve', m.curve, 'weight', m.weight,
                                'missing', m.missing, 'missing_score', m.missing_score, 'penalty', m.penalty,
                                'function', m.function,
                                'weights', (
                                    SELECT jsonb_object_agg(w.segment, w.weight) FROM chs.segment_weights w
                                    WHERE (w.scorecard, w.factor, w.metric) = (m.scorecard, m.factor, m.metric)),
                                'target', (
                                    SELECT t.target FROM chs.targets t
                                    WHERE (t.scorecard, t.factor, t.metric) = (m.scorecard, m.factor, m.metric)
                                    AND t.segment IS NULL),
                                'targets', (
                                    SELECT jsonb_object_agg(t.segment, t.target) FROM chs.targets t
                                    WHERE (t.scorecard, t.factor, t.metric) = (m.scorecard, m.factor, m.metric)
                                    AND t.segment IS NOT NULL)) ORDER BY m.position)
                            FROM chs.metrics m WHERE (m.scorecard, m.factor) = (f.scorecard, f.factor)), '[]'))
                        ORDER BY f.position)
                    FROM chs.factors f WHERE f.scorecard = s.scorecard), '[]'))))
            FROM chs.scorecards s), '{}'));
END;
COMMENT ON FUNCTION chs.draft_document() IS 'the draft as the document that publishing freezes';

-- The parts of a document, each with its path: objects and arrays of named things
-- before their contents.  No key of a document lies deeper than 8; that the deepest part
-- has 9 shows what does, and keeps the work from growing with the square of the depth.
-- JIT is off here and below: without statistics the planner overestimates the cost,
-- and compiling would take longer than running.
CREATE FUNCTION chs.document_parts(document jsonb, OUT path text[], OUT value jsonb)
    RETURNS SETOF record
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE ROWS 500
    SET search_path = pg_catalog, pg_temp SET jit = off
BEGIN ATOMIC
    WITH RECURSIVE part AS (
        SELECT '{}'::text[] AS path, $1 AS value
        UNION ALL
        SELECT p.path || c.key, c.value
        FROM part p
        CROSS JOIN LATERAL (
            SELECT o.key, o.value FROM jsonb_each(CASE jsonb_typeof(p.value) WHEN 'object' THEN p.value ELSE '{}' END) o
            UNION ALL
            -- an element is identified by its name, not by its position
            SELECT COALESCE(a.value ->> 'recommendation', a.value ->> 'metric', a.value ->> 'factor', a.ordinality::text), a.value
            FROM jsonb_array_elements(CASE jsonb_typeof(p.value) WHEN 'array' THEN p.value ELSE '[]' END) WITH ORDINALITY a) c
        WHERE cardinality(p.path) < 9)
    SELECT p.path, p.value FROM part p;
END;
COMMENT ON FUNCTION chs.document_parts(jsonb) IS 'every part of a scorecard document with its path';

-- Reports what was added or removed as a whole, and which values changed.  If the
-- elements of an array are reordered, that is a single change of the array.
CREATE FUNCTION chs.document_changes(before jsonb, after jsonb,
        OUT path text[], OUT change text, OUT old_value jsonb, OUT new_value jsonb)
    RETURNS SETOF record
    LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 20
    SET search_path = pg_catalog, pg_temp SET jit = off
BEGIN ATOMIC
    WITH old AS MATERIALIZED (SELECT o.path, o.value FROM chs.document_parts(COALESCE($1, '{}')) o),
         new AS MATERIALIZED (SELECT n.path, n.value FROM chs.document_parts(COALESCE($2, '{}')) n),
         pair AS (
             SELECT COALESCE(o.path, n.path) AS path, o.value AS old, n.value AS new,
                    jsonb_typeof(COALESCE(o.value, n.value)) AS type
             FROM old o FULL JOIN new n ON o.path = n.path),
         named AS (  -- the order of the elements that are there before and after
             SELECT p.path, p.old, p.new,
                    (SELECT jsonb_agg(COALESCE(e.value ->> 'metric', e.value ->> 'factor') ORDER BY e.ordinality)
                     FROM jsonb_array_elements(p.old) WITH ORDINALITY e
                     WHERE p.path || COALESCE(e.value ->> 'metric', e.value ->> 'factor') IN (SELECT n.path FROM new n)) AS old_order,
                    (SELECT jsonb_agg(COALESCE(e.value ->> 'metric', e.value ->> 'factor') ORDER BY e.ordinality)
                     FROM jsonb_array_elements(p.new) WITH ORDINALITY e
                     WHERE p.path || COALESCE(e.value ->> 'metric', e.value ->> 'factor') IN (SELECT o.path FROM old o)) AS new_order
             FROM pair p WHERE p.type = 'array' AND jsonb_typeof(p.old) = 'array' AND jsonb_typeof(p.new) = 'array')
    SELECT c.path, c.change, c.old, c.new
    FROM (SELECT p.path, CASE WHEN p.old IS NULL THEN 'added' WHEN p.new IS NULL THEN 'removed' ELSE 'changed' END AS change, p.old, p.new
          FROM pair p
          WHERE p.path <> '{}' AND p.old IS DISTINCT FROM p.new
            AND (p.old IS NULL OR p.new IS NULL OR p.type NOT IN ('object', 'array'))
            -- not the contents of something that was added or removed
            AND (p.old IS NOT NULL OR p.path[:cardinality(p.path) - 1] IN (SELECT o.path FROM old o))
            AND (p.new IS NOT NULL OR p.path[:cardinality(p.path) - 1] IN (SELECT n.path FROM new n))
          UNION ALL
          SELECT n.path, 'reordered', n.old_order, n.new_order FROM named n WHERE n.old_order <> n.new_order) c
    ORDER BY c.path COLLATE "C", c.change;
END;
COMMENT ON FUNCTION chs.document_changes(jsonb, jsonb) IS 'the differences between two scorecard documents, a row each';

-- The keys of a document, where they are, and their types; * stands for a name.
CREATE FUNCTION chs.document_keys(OUT key text, OUT type text)
    RETURNS SETOF record
    LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 50
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    VALUES
        ('', 'object'), ('default', 'string'), ('segments', 'object'), ('scorecards', 'object'),
        ('segments.*', 'object'), ('segments.*.scorecard', 'string'), ('segments.*.description', 'string'),
        ('scorecards.*', 'object'), ('scorecards.*.description', 'string'), ('scorecards.*.min_coverage', 'number'),
        ('scorecards.*.healthy_from', 'number'), ('scorecards.*.at_risk_from', 'number'), ('scorecards.*.grace', 'boolean'),
        ('scorecards.*.trend_days', 'integer'), ('scorecards.*.trend_band', 'number'), ('scorecards.*.calm_points', 'number'), ('scorecards.*.factors', 'array'),
        ('scorecards.*.factors.*', 'object'), ('scorecards.*.factors.*.factor', 'string'),
        ('scorecards.*.factors.*.description', 'string'), ('scorecards.*.factors.*.weight', 'number'),
        ('scorecards.*.factors.*.weights', 'object'), ('scorecards.*.factors.*.weights.*', 'number'),
        ('scorecards.*.factors.*.metrics', 'array'), ('scorecards.*.factors.*.metrics.*', 'object'),
        ('scorecards.*.factors.*.metrics.*.metric', 'string'), ('scorecards.*.factors.*.metrics.*.description', 'string'),
        ('scorecards.*.factors.*.metrics.*.event_type', 'string'), ('scorecards.*.factors.*.metrics.*.aggregate', 'string'),
        ('scorecards.*.factors.*.metrics.*.measure', 'string'), ('scorecards.*.factors.*.metrics.*.field', 'string'),
        ('scorecards.*.factors.*.metrics.*.filter', 'string'), ('scorecards.*.factors.*.metrics.*.base_filter', 'string'),
        ('scorecards.*.factors.*.metrics.*.window_days', 'integer'), ('scorecards.*.factors.*.metrics.*.curve', 'string'),
        ('scorecards.*.factors.*.metrics.*.weight', 'number'), ('scorecards.*.factors.*.metrics.*.missing', 'string'),
        ('scorecards.*.factors.*.metrics.*.missing_score', 'number'), ('scorecards.*.factors.*.metrics.*.penalty', 'number'),
        ('scorecards.*.factors.*.metrics.*.function', 'string'),
        ('scorecards.*.factors.*.metrics.*.weights', 'object'), ('scorecards.*.factors.*.metrics.*.weights.*', 'number'),
        ('scorecards.*.factors.*.metrics.*.target', 'number'),
        ('scorecards.*.factors.*.metrics.*.targets', 'object'), ('scorecards.*.factors.*.metrics.*.targets.*', 'number'),
        ('recommendations', 'array'), ('recommendations.*', 'object'), ('recommendations.*.recommendation', 'string'),
        ('recommendations.*.scorecard', 'string'), ('recommendations.*.segment', 'string'), ('recommendations.*.factor', 'string'),
        ('recommendations.*.no_data', 'boolean'), ('recommendations.*.score_from', 'number'), ('recommendations.*.score_below', 'number'),
        ('recommendations.*.priority', 'integer'), ('recommendations.*.action', 'string');
END;
COMMENT ON FUNCTION chs.document_keys() IS 'the keys that a scorecard document can have, and the types of their values';

-- Refuses anything but a scorecard document.  Whether its values make sense is
-- checked by the guards of the draft.
CREATE FUNCTION chs.check_document(document jsonb) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    wrong record;
BEGIN
    SELECT p.path, p.found, k.type, p.times INTO wrong
    FROM (SELECT array_to_string(d.path, '.') AS path,
                 -- the second, fourth and sixth are names, and so is a segment at the end
                 array_to_string(ARRAY(SELECT CASE WHEN n IN (2, 4, 6) OR d.path[n - 1] IN ('weights', 'targets') AND n IN (6, 8)
                                                   THEN '*' ELSE d.path[n] END
                                       FROM generate_series(1, cardinality(d.path)) n), '.') AS key,
                 string_agg(DISTINCT CASE WHEN jsonb_typeof(d.value) = 'number' AND d.value::numeric % 1 = 0
                                               AND abs(d.value::numeric) < 1e9 THEN 'integer'
                                          ELSE jsonb_typeof(d.value) END, ' and ') AS found, count(*) AS times
          FROM chs.document_parts(document) d GROUP BY d.path) p
    LEFT JOIN chs.document_keys() k USING (key)
    WHERE (p.found = k.type OR p.found = 'integer' AND k.type = 'number') IS NOT TRUE OR p.times > 1
    ORDER BY p.path LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'invalid scorecard document: %', CASE
                WHEN wrong.path = '' THEN format('it is of type %s, not object', wrong.found)
                WHEN wrong.type IS NULL THEN format('"%s" is not a known key', wrong.path)
                WHEN wrong.times > 1 THEN format('"%s" appears %s times', wrong.path, wrong.times)
                ELSE format('"%s" is of type %s, not %s', wrong.path, wrong.found, wrong.type) END
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'chs_scorecard_export() shows what a document looks like.';
    END IF;
    IF NOT document ?& '{default,scorecards,segments}' THEN
        RAISE EXCEPTION 'invalid scorecard document: "default", "scorecards" or "segments" is missing'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'chs_scorecard_export() shows what a document looks like.';
    END IF;
    SELECT p.path, CASE cardinality(p.path) WHEN 2 THEN 'factors' ELSE 'metrics' END AS key INTO wrong
    FROM chs.document_parts(document) p
    WHERE p.path[1] = 'scorecards' AND (cardinality(p.path) = 2 AND NOT p.value ? 'factors'
                                        OR cardinality(p.path) = 4 AND p.path[3] = 'factors' AND NOT p.value ? 'metrics')
    ORDER BY p.path LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'invalid scorecard document: "%" has no "%"', array_to_string(wrong.path, '.'), wrong.key
            USING ERRCODE = 'invalid_parameter_value', HINT = 'An empty array stands for none.';
    END IF;
    IF NOT document -> 'scorecards' ? (document ->> 'default') THEN
        RAISE EXCEPTION 'invalid scorecard document: its default scorecard "%" is not in it', document ->> 'default'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Name one of its scorecards as "default".';
    END IF;
END
$$;
COMMENT ON FUNCTION chs.check_document(jsonb) IS 'raises an error that says what is wrong unless this is a scorecard document';

CREATE FUNCTION @extschema@.chs_scorecard_export(version integer DEFAULT NULL) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    document jsonb;
BEGIN
    IF chs_scorecard_export.version IS NULL THEN
        RETURN chs.draft_document() || jsonb_build_object('recommendations', chs.draft_recommendations());
    END IF;
    SELECT v.document || jsonb_build_object('recommendations', v.recommendations) INTO document FROM chs.scorecard_versions v WHERE v.version = chs_scorecard_export.version;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'scorecard version % does not exist', chs_scorecard_export.version
            USING ERRCODE = 'invalid_parameter_value', HINT = 'chs.scorecard_versions has the published ones.';
    END IF;
    RETURN document;
END
$$;
COMMENT ON FUNCTION @extschema@.chs_scorecard_export(integer)
    IS 'the draft, or a published version, as a document; use jsonb_pretty() for version control';

-- In the encoding of the database; jsonb has one text for each value.
CREATE FUNCTION chs.draft_hash(document jsonb DEFAULT NULL) RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
RETURN encode(sha256(convert_to(COALESCE($1, @extschema@.chs_scorecard_export(NULL::integer))::text, getdatabaseencoding())), 'hex');
COMMENT ON FUNCTION chs.draft_hash(jsonb) IS 'identifies the draft, or a document as chs_scorecard_export() returns it: what chs_publish() takes as expected';

-- All or nothing: if a guard refuses something, the whole statement is undone.
-- Segments that have customers but are not in the document stay, with the default
-- scorecard, by which the document scores such customers.
CREATE FUNCTION @extschema@.chs_scorecard_import(document jsonb) RETURNS bigint
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    gone text;
BEGIN
    PERFORM chs.check_document(document);
    -- Only a superuser can be in that mode; without guards and cascades the draft would be another one.
    IF current_setting('session_replication_role') = 'replica' THEN
        RAISE EXCEPTION 'a scorecard cannot be imported while session_replication_role is replica'
            USING ERRCODE = 'object_not_in_prerequisite_state', DETAIL = 'The guards of the draft do not fire.',
                  HINT = 'SET session_replication_role = origin;';
    END IF;
    -- One at a time.
    LOCK TABLE chs.scorecards IN SHARE ROW EXCLUSIVE MODE;

    UPDATE chs.scorecards SET is_default = false WHERE is_default;
    INSERT INTO chs.scorecards (scorecard, description, is_default, min_coverage, healthy_from, at_risk_from, grace, trend_days, trend_band, calm_points)
    SELECT s.key, r.description, s.key = document ->> 'default',
           r.min_coverage, r.healthy_from, r.at_risk_from, r.grace, r.trend_days, r.trend_band, COALESCE(r.calm_points, 0)
    FROM jsonb_each(document -> 'scorecards') s
    CROSS JOIN LATERAL jsonb_populate_record(NULL::chs.scorecards, s.value) r
    ON CONFLICT (scorecard) DO UPDATE SET
        description = excluded.description, is_default = excluded.is_default, min_coverage = excluded.min_coverage,
        healthy_from = excluded.healthy_from, at_risk_from = excluded.at_risk_from, grace = excluded.grace,
        trend_days = excluded.trend_days, trend_band = excluded.trend_band, calm_points = excluded.calm_points;

    INSERT INTO chs.segments (segment, description, scorecard)
    SELECT s.key, s.value ->> 'description', s.value ->> 'scorecard'
    FROM jsonb_each(document -> 'segments') s
    ON CONFLICT (segment) DO UPDATE SET description = excluded.description, scorecard = excluded.scorecard;
    FOR gone IN SELECT g.segment FROM chs.segments g WHERE NOT document -> 'segments' ? g.segment LOOP
        BEGIN
            DELETE FROM chs.segments g WHERE g.segment = gone;
        EXCEPTION WHEN foreign_key_violation THEN
            UPDATE chs.segments g SET scorecard = NULL WHERE g.segment = gone;
        END;
    END LOOP;
    DELETE FROM chs.scorecards s WHERE NOT document -> 'scorecards' ? s.scorecard;

    DELETE FROM chs.factors;
    INSERT INTO chs.factors (scorecard, factor, position, description, weight)
    SELECT s.key, r.factor, f.ordinality, r.description, r.weight
    FROM jsonb_each(document -> 'scorecards') s
    CROSS JOIN LATERAL jsonb_array_elements(s.value -> 'factors') WITH ORDINALITY f
    CROSS JOIN LATERAL jsonb_populate_record(NULL::chs.factors, f.value) r;
    INSERT INTO chs.metrics (scorecard, factor, metric, position, description, event_type, aggregate, measure, field,
                             filter, base_filter, window_days, curve, weight, missing, missing_score, penalty, function)
    SELECT s.key, f.value ->> 'factor', r.metric, m.ordinality, r.description, r.event_type, r.aggregate,
           COALESCE(r.measure, 'count'), r.field, r.filter, r.base_filter, r.window_days, r.curve,
           r.weight, r.missing, r.missing_score, r.penalty, r.function
    FROM jsonb_each(document -> 'scorecards') s
    CROSS JOIN LATERAL jsonb_array_elements(s.value -> 'factors') f
    CROSS JOIN LATERAL jsonb_array_elements(f.value -> 'metrics') WITH ORDINALITY m
    CROSS JOIN LATERAL jsonb_populate_record(NULL::chs.metrics, m.value) r;
    INSERT INTO chs.targets (scorecard, factor, metric, segment, target)
    SELECT p.path[2], p.path[4], p.path[6], p.path[8], (p.value #>> '{}')::double precision
    FROM chs.document_parts(document) p
    WHERE p.path[7] = 'target' OR p.path[7] = 'targets' AND cardinality(p.path) = 8;
    INSERT INTO chs.segment_weights (scorecard, factor, metric, segment, weight)
    SELECT p.path[2], p.path[4], CASE WHEN cardinality(p.path) = 8 THEN p.path[6] END, p.path[cardinality(p.path)],
           (p.value #>> '{}')::double precision
    FROM chs.document_parts(document) p
    WHERE p.path[5] = 'weights' AND cardinality(p.path) = 6 OR p.path[7] = 'weights' AND cardinality(p.path) = 8;
    -- A document without them leaves them alone.
    IF document ? 'recommendations' THEN
        DELETE FROM chs.recommendations;
        INSERT INTO chs.recommendations (recommendation, scorecard, segment, factor, no_data, score_from, score_below, priority, action)
        SELECT r.recommendation, r.scorecard, r.segment, r.factor, COALESCE(r.no_data, false), COALESCE(r.score_from, 0), r.score_below,
               COALESCE(r.priority, 3), r.action
        FROM jsonb_populate_recordset(NULL::chs.recommendations, document -> 'recommendations') r;
    END IF;
    RETURN count(*) FROM chs.draft_changes;
END
$$;
COMMENT ON FUNCTION @extschema@.chs_scorecard_import(jsonb)
    IS 'replaces the draft with a document, entirely or, if that has an error, not at all, and returns the number of differences from the version published last (chs.draft_changes)';
REVOKE EXECUTE ON FUNCTION @extschema@.chs_scorecard_import(jsonb) FROM PUBLIC;
