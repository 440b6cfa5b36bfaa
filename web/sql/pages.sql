-- What pages show of one customer, as JSON, each in one call.  Part of setup.sql; with the caller's rights, except that
-- the schema of the extension's functions comes from the search_path that setup.sql gives to chs_web.

CREATE OR REPLACE FUNCTION chs_web.cursor(value json) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN rtrim(translate(encode(convert_to(value::text, 'UTF8'), 'base64'), '+/' || chr(10), '-_'), '=');
COMMENT ON FUNCTION chs_web.cursor(json) IS 'where a page ended, as an opaque text (base64url)';

CREATE OR REPLACE FUNCTION chs_web.since(since text, until date) RETURNS date
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE WHEN since LIKE '%d' THEN until - rtrim(since, 'd')::integer ELSE since::date END;
COMMENT ON FUNCTION chs_web.since(text, date) IS 'the day that "30d" or "2026-01-31" means, counted from another day';

CREATE OR REPLACE FUNCTION chs_web.today() RETURNS date
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (now() AT TIME ZONE 'UTC')::date;
COMMENT ON FUNCTION chs_web.today() IS 'the UTC day';

-- Of a past day, or by other rules, what chs_health() tells of the present.
CREATE OR REPLACE FUNCTION chs_web.health(customer_id bigint, as_of date, version integer) RETURNS jsonb
    LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    health jsonb;
    about  jsonb := (SELECT jsonb_build_object('email', c.email, 'parent_id', c.parent_id, 'owner', c.owner, 'value', c.value,
                                               'customer_id', c.customer_id, 'external_id', c.external_id, 'name', c.name, 'segment', c.segment,
                                               'created_at', c.created_at, 'churned_at', c.churned_at,
                                               'calculated_at', c.calculated_at, 'status_since', c.status_since, 'previous_status', c.previous_status)
                     FROM chs.customer_list c WHERE c.customer_id = $1);
BEGIN
    IF $2 IS NULL AND $3 IS NULL THEN
        health := chs_health($1);
    ELSE
        SELECT to_jsonb(d) || jsonb_build_object('factors', (
                   SELECT jsonb_agg(jsonb_build_object(
                              'factor', f.factor, 'score', f.score, 'weight', f.weight, 'effective_weight', f.effective_weight,
                              'contribution', f.contribution, 'trend', f.trend, 'sparkline', f.sparkline, 'metrics', f.metrics) ORDER BY f.first)
                   FROM (SELECT e.factor, min(e.ordinality) AS first,
                                max(e.score) FILTER (WHERE e.metric IS NULL) AS score, max(e.weight) FILTER (WHERE e.metric IS NULL) AS weight,
                                max(e.effective_weight) FILTER (WHERE e.metric IS NULL) AS effective_weight,
                                max(e.contribution) FILTER (WHERE e.metric IS NULL) AS contribution,
                                max(e.trend) FILTER (WHERE e.metric IS NULL) AS trend, max(e.sparkline) FILTER (WHERE e.metric IS NULL) AS sparkline,
                                jsonb_agg(jsonb_build_object(
                                    'metric', e.metric, 'value', e.value, 'target', e.target, 'score', e.score, 'weight', e.weight,
                                    'effective_weight', e.effective_weight, 'contribution', e.contribution, 'trend', e.trend,
                                    'sparkline', e.sparkline, 'details', e.details) ORDER BY e.ordinality) FILTER (WHERE e.metric IS NOT NULL) AS metrics
                         FROM chs_explain($1, COALESCE($2, chs_web.today())::timestamp AT TIME ZONE 'UTC', $3) WITH ORDINALITY e
                         GROUP BY e.factor) f))
        INTO health
        FROM (SELECT h.score, h.status, h.coverage, h.trend, h.scorecard, h.version, h.day AS as_of
              FROM chs_history($1, COALESCE($2, chs_web.today()), COALESCE($2, chs_web.today()), $3) h) d;
        IF health IS NULL THEN
            RAISE EXCEPTION 'customer % has no score as of %', $1, COALESCE($2, chs_web.today())
                USING ERRCODE = 'no_data_found', HINT = 'It did not exist then, had left, or its events of that time have been deleted.';
        END IF;
    END IF;
    RETURN health || about;
END
$$;
COMMENT ON FUNCTION chs_web.health(bigint, date, integer) IS 'the health of a customer, now or as of a past day or by a certain version of the rules, and what is known about the customer';

-- tolerant: NULL instead of an error if events that it needs have been deleted.
CREATE OR REPLACE FUNCTION chs_web.change(customer_id bigint, since text, until date, tolerant boolean) RETURNS json
    LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    last  date := COALESCE($3, chs_web.today());
    first date := chs_web.since($2, last);
BEGIN
    RETURN (SELECT json_build_object(
                'since', first, 'until', last, 'score_since', round(sum(c.contribution_since)::numeric, 2), 'score_until', round(sum(c.contribution_until)::numeric, 2),
                'factors', json_agg(json_build_object(
                    'factor', c.factor, 'score_since', c.score_since, 'score_until', c.score_until, 'contribution_since', c.contribution_since,
                    'contribution_until', c.contribution_until, 'change', c.change, 'by_behaviour', c.by_behaviour, 'by_time', c.by_time,
                    'by_data', c.by_data, 'by_scorecard', c.by_scorecard, 'details', c.details) ORDER BY abs(c.change) DESC NULLS LAST, c.ordinality))
            FROM chs_explain_change($1, first::timestamp AT TIME ZONE 'UTC', CASE WHEN $3 IS NOT NULL THEN last::timestamp AT TIME ZONE 'UTC' END) WITH ORDINALITY c);
EXCEPTION WHEN object_not_in_prerequisite_state THEN
    IF tolerant THEN
        RETURN NULL;
    END IF;
    RAISE;
END
$$;
COMMENT ON FUNCTION chs_web.change(bigint, text, date, boolean) IS 'why a score moved since a day, or so many days ago; the factor that moved it most first';

CREATE OR REPLACE FUNCTION chs_web.recommendations(customer_id bigint) RETURNS json
    LANGUAGE sql STABLE
    RETURN (SELECT COALESCE(json_agg(json_build_object(
                'rank', r.rank, 'recommendation', r.recommendation, 'factor', r.factor, 'action', r.action, 'priority', r.priority,
                'gain', r.gain, 'score', r.score, 'details', r.details) ORDER BY r.rank), '[]')
            FROM chs_recommendations(customer_id) r);
COMMENT ON FUNCTION chs_web.recommendations(bigint) IS 'what to do about a customer, largest gain first';

CREATE OR REPLACE FUNCTION chs_web.history(customer_id bigint, from_day date, to_day date, factors boolean, version integer) RETURNS json
    LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
BEGIN
    IF $4 THEN
        RETURN (SELECT COALESCE(json_agg(json_build_object(
                           'day', h.day, 'score', h.score, 'status', h.status, 'coverage', h.coverage, 'version', h.version,
                           'factor_scores', (SELECT json_object_agg(f.factor, h.factor_scores[f.ordinal] ORDER BY f.ordinal)
                                             FROM chs.scorecard_version_factors f
                                             WHERE f.version = h.version AND f.scorecard = h.scorecard)) ORDER BY h.day), '[]')
                FROM chs_history($1, $2, $3, $5) h);
    END IF;
    RETURN (SELECT COALESCE(json_agg(json_build_object(
                       'day', h.day, 'score', h.score, 'status', h.status, 'coverage', h.coverage, 'version', h.version) ORDER BY h.day), '[]')
            FROM chs_history($1, $2, $3, $5) h);
END
$$;
COMMENT ON FUNCTION chs_web.history(bigint, date, date, boolean, integer) IS 'score and status of a customer on each day, on demand with those of its factors';

CREATE OR REPLACE FUNCTION chs_web.activity(customer_id bigint, days integer, until date) RETURNS json
    LANGUAGE sql STABLE
    RETURN (SELECT COALESCE(json_agg(json_build_object('day', a.day, 'event_type', a.event_type, 'events', a.events) ORDER BY a.day, a.event_type), '[]')
            FROM chs_daily_activity(customer_id, days) a WHERE a.day <= until OR until IS NULL);
COMMENT ON FUNCTION chs_web.activity(bigint, integer, date) IS 'how many events of each type a customer had on each of so many days';

-- A customer that cannot be seen has no entries: the policies of the tables see to that.
CREATE OR REPLACE FUNCTION chs_web.timeline(customer_id bigint, entries integer, before timestamptz, before_id text, until date) RETURNS json
    LANGUAGE sql STABLE
BEGIN ATOMIC
    WITH entry AS MATERIALIZED (
        SELECT s.started_at AS at, 's' || extract(epoch FROM s.started_at) AS id,
               json_build_object('kind', 'status', 'at', s.started_at, 'status', s.status, 'previous_status', s.previous_status, 'score', s.score) AS entry
        FROM chs.status_changes s WHERE s.customer_id = timeline.customer_id
        UNION ALL
        SELECT v.at, 'r' || v.version,
               json_build_object('kind', 'rules', 'at', v.at, 'version', v.version, 'previous_version', v.previous)
        FROM (SELECT least(h.calculated_at, (h.as_of + 1)::timestamp AT TIME ZONE 'UTC') AS at, h.version,
                     lag(h.version) OVER (ORDER BY h.as_of, h.health_score_id) AS previous
              FROM chs.health_scores h WHERE h.customer_id = timeline.customer_id) v
        WHERE v.version <> v.previous
        UNION ALL
        SELECT n.at, 'n' || n.note_id,
               json_build_object('kind', 'note', 'at', n.at, 'note_id', n.note_id, 'actor', n.actor, 'note', n.note,
                                 'own', n.role_name = current_user AND n.actor = current_setting('chs.actor'))
        FROM chs_web.notes n WHERE n.customer_id = timeline.customer_id
    ), page AS MATERIALIZED (
        SELECT e.*, row_number() OVER (ORDER BY e.at DESC, e.id DESC) AS n
        FROM entry e
        WHERE (before IS NULL OR (e.at, e.id) < (before, before_id)) AND (until IS NULL OR e.at < (until + 1)::timestamp AT TIME ZONE 'UTC')
        ORDER BY e.at DESC, e.id DESC LIMIT entries + 1
    )
    SELECT json_build_object(
        'entries', COALESCE((SELECT json_agg(p.entry ORDER BY p.n) FROM page p WHERE p.n <= entries), '[]'),
        'next', (SELECT chs_web.cursor(json_build_array('timeline', p.at, p.id)) FROM page p
                 WHERE p.n = entries AND EXISTS (SELECT FROM page q WHERE q.n > entries)));
END;
COMMENT ON FUNCTION chs_web.timeline(bigint, integer, timestamptz, text, date) IS 'changes of a customer''s status, changes of the rules, and notes, latest first';

CREATE OR REPLACE FUNCTION chs_web.customer(customer_id bigint, as_of date, version integer, since text, days integer, entries integer) RETURNS json
    LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    last  date := COALESCE($2, chs_web.today());
    past  json;
BEGIN
    -- Who does not exist, or cannot be seen, is an error here.
    PERFORM chs_status($1);
    BEGIN
        past := chs_web.history($1, last - $5 + 1, last, false, $3);
    EXCEPTION WHEN object_not_in_prerequisite_state THEN
        past := '[]';
    END;
    RETURN json_build_object(
        'health', chs_web.health($1, $2, $3),
        'change', chs_web.change($1, $4, $2, true),
        'recommendations', CASE WHEN $2 IS NULL AND $3 IS NULL THEN chs_web.recommendations($1) ELSE '[]' END,
        'history', past,
        'activity', chs_web.activity($1, $5 + (chs_web.today() - last), $2),
        'timeline', chs_web.timeline($1, $6, NULL, NULL, $2));
END
$$;
COMMENT ON FUNCTION chs_web.customer(bigint, date, integer, text, integer, integer) IS 'all that the page of a customer shows';
