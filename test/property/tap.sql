-- Test points from plain SQL: each call returns the lines of one test point.
\if :{?customers}
\else
    \set customers 150
\endif
DROP SCHEMA IF EXISTS tap CASCADE;
CREATE SCHEMA tap;
CREATE SEQUENCE tap.number;

CREATE FUNCTION tap.ok(good boolean, name text, VARIADIC diagnostics text[] DEFAULT '{}') RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN NEXT format('%sok %s - %s', CASE WHEN good THEN '' ELSE 'not ' END, nextval('tap.number'), name);
    IF good IS NOT TRUE THEN
        RETURN QUERY SELECT '#   ' || replace(d, E'\n', E'\n#   ') FROM unnest(diagnostics || format('(%s, TimeZone %s, at %s)',
            current_setting('tap.note', true), current_setting('TimeZone'), now() AT TIME ZONE 'UTC')) d;
    END IF;
END
$$;

-- Good when the query returns nothing; its first rows are the diagnostics.
CREATE FUNCTION tap.none(query text, name text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    rows bigint;
    first text[];
BEGIN
    EXECUTE format('WITH r AS MATERIALIZED (%s)
                    SELECT (SELECT count(*) FROM r), (SELECT array_agg(d) FROM (SELECT to_jsonb(r)::text AS d FROM r LIMIT 8) f)', query)
        INTO rows, first;
    RETURN QUERY SELECT * FROM tap.ok(rows = 0, name, VARIADIC first || format('%s differences in all', rows));
END
$$;

CREATE FUNCTION tap.plan() RETURNS text LANGUAGE sql AS $$ SELECT '1..' || nextval('tap.number') - 1 $$;
