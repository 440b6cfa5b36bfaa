-- Fitting: rules that would have predicted better who leaves.

CREATE FUNCTION chs.fit_transition(internal, bigint, boolean, double precision, double precision[], double precision[],
        double precision[], double precision[], double precision[], double precision[], double precision[])
    RETURNS internal
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'chs_fit_transition';
CREATE FUNCTION chs.fit_final(internal) RETURNS jsonb
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'chs_fit_final';
COMMENT ON FUNCTION chs.fit_transition(internal, bigint, boolean, double precision, double precision[], double precision[],
        double precision[], double precision[], double precision[], double precision[], double precision[])
    IS 'internal: transition function of chs.fit_agg';
COMMENT ON FUNCTION chs.fit_final(internal) IS 'internal: final function of chs.fit_agg';

-- A row is a customer on a past day.  Of each metric: its score (NULL: none) and, for a penalty, its events.  The same in
-- every row: the factor of each metric (from 1 on), its coefficients (1, or the ramps of its curve; 0 for a penalty), what
-- a penalty takes off per event; today's share of each coefficient; and the ridges to choose from, largest first.
CREATE AGGREGATE chs.fit_agg(customer_id bigint, has_left boolean, today double precision, scores double precision[],
        events double precision[], factors double precision[], ramps double precision[], penalties double precision[],
        start double precision[], ridges double precision[]) (
    SFUNC = chs.fit_transition,
    STYPE = internal,
    FINALFUNC = chs.fit_final
);
COMMENT ON AGGREGATE chs.fit_agg(bigint, boolean, double precision, double precision[], double precision[],
        double precision[], double precision[], double precision[], double precision[], double precision[])
    IS 'internal: coefficients, none of them negative, by which scores of metrics predict who leaves; see src/score/fit.c';
