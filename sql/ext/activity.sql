-- The activity: a customer's past as a small summary that can be merged.

CREATE TYPE @extschema@.chs_activity;

CREATE FUNCTION chs.activity_in(cstring) RETURNS @extschema@.chs_activity
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'chs_activity_in';
CREATE FUNCTION chs.activity_out(@extschema@.chs_activity) RETURNS cstring
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'chs_activity_out';
CREATE FUNCTION chs.activity_recv(internal) RETURNS @extschema@.chs_activity
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'chs_activity_recv';
CREATE FUNCTION chs.activity_send(@extschema@.chs_activity) RETURNS bytea
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'chs_activity_send';

COMMENT ON FUNCTION chs.activity_in(cstring) IS 'I/O';
COMMENT ON FUNCTION chs.activity_out(@extschema@.chs_activity) IS 'I/O';
COMMENT ON FUNCTION chs.activity_recv(internal) IS 'I/O';
COMMENT ON FUNCTION chs.activity_send(@extschema@.chs_activity) IS 'I/O';

CREATE TYPE @extschema@.chs_activity (
    INPUT = chs.activity_in,
    OUTPUT = chs.activity_out,
    RECEIVE = chs.activity_recv,
    SEND = chs.activity_send,
    INTERNALLENGTH = VARIABLE,
    ALIGNMENT = int4,
    STORAGE = main
);
COMMENT ON TYPE @extschema@.chs_activity IS 'summary of a customer''s events: per series and UTC day a count, a sum or the distinct values; summaries merge';

CREATE FUNCTION @extschema@.chs_activity_merge(a @extschema@.chs_activity, b @extschema@.chs_activity)
    RETURNS @extschema@.chs_activity
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'chs_activity_merge';
COMMENT ON FUNCTION @extschema@.chs_activity_merge(@extschema@.chs_activity, @extschema@.chs_activity)
    IS 'the activity of both sets of events together; associative and commutative';

CREATE FUNCTION chs.activity_prune(activity @extschema@.chs_activity, scorecard jsonb, as_of timestamptz)
    RETURNS @extschema@.chs_activity
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'chs_activity_prune';
COMMENT ON FUNCTION chs.activity_prune(@extschema@.chs_activity, jsonb, timestamptz)
    IS 'the activity without what no window of the published scorecard can reach on or after the UTC day of as_of';

CREATE FUNCTION chs.activity_cells(activity @extschema@.chs_activity,
        OUT series bigint, OUT aggregate text, OUT day date, OUT value_hash bigint, OUT n bigint, OUT total numeric)
    RETURNS SETOF record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 100 AS 'MODULE_PATHNAME', 'chs_activity_cells';
COMMENT ON FUNCTION chs.activity_cells(@extschema@.chs_activity)
    IS 'the contents of an activity, one row per series and UTC day (and per distinct value)';

CREATE FUNCTION chs.activity_transition(@extschema@.chs_activity, jsonb, text, jsonb, timestamptz)
    RETURNS @extschema@.chs_activity
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'chs_activity_transition';
CREATE FUNCTION chs.activity_combine(@extschema@.chs_activity, @extschema@.chs_activity)
    RETURNS @extschema@.chs_activity
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'chs_activity_combine';
CREATE FUNCTION chs.activity_final(@extschema@.chs_activity)
    RETURNS @extschema@.chs_activity
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'chs_activity_final';
COMMENT ON FUNCTION chs.activity_transition(@extschema@.chs_activity, jsonb, text, jsonb, timestamptz) IS 'transition function of chs_activity_agg';
COMMENT ON FUNCTION chs.activity_combine(@extschema@.chs_activity, @extschema@.chs_activity) IS 'combine function of chs_activity_agg';
COMMENT ON FUNCTION chs.activity_final(@extschema@.chs_activity) IS 'final function of chs_activity_agg';

-- The state is the activity type itself, so that partial states can travel
-- between processes and machines.
CREATE AGGREGATE @extschema@.chs_activity_agg(scorecard jsonb, event_type text, event_data jsonb, occurred_at timestamptz) (
    SFUNC = chs.activity_transition,
    STYPE = @extschema@.chs_activity,
    COMBINEFUNC = chs.activity_combine,
    FINALFUNC = chs.activity_final,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE @extschema@.chs_activity_agg(jsonb, text, jsonb, timestamptz)
    IS 'the activity of a set of events, counted as the published scorecard document prescribes';

CREATE AGGREGATE chs.activity_merge_agg(activity @extschema@.chs_activity) (
    SFUNC = chs.activity_combine,
    STYPE = @extschema@.chs_activity,
    COMBINEFUNC = chs.activity_combine,
    FINALFUNC = chs.activity_final,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE chs.activity_merge_agg(@extschema@.chs_activity)
    IS 'all activities merged into one';
