-- Partitions come and go, as every night by pg_partman: whose rows no window reaches rebuild nobody, all others everybody.
-- Commits, and makes the extension anew.

\set own_schema part
\ir anew.psql
SELECT no_plan();

INSERT INTO chs.customers (customer_id, created_at, churned_at) OVERRIDING SYSTEM VALUE
SELECT n, now() - interval '5 years', CASE WHEN n > 8 THEN now() - interval '400 days' END FROM generate_series(1, 10) n;
CREATE FUNCTION tap.day(days int) RETURNS date LANGUAGE sql RETURN (now() AT TIME ZONE 'UTC')::date - days;
-- Rows up to the edge, exclusive, are in no window of today.
SELECT reach, day(reach + 50) AS before, day(reach) AS edge, day(reach - 1) AS reached, day(-1) AS tomorrow
FROM (SELECT max(chs.document_reach(document)) AS reach FROM chs.scorecard_versions WHERE live_at IS NOT NULL) s \gset

-- Executes commands when everything has settled, and tells whom they had rebuilt: everyone, by a version, or these customers.
CREATE FUNCTION tap.rebuilt_by(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    newest int;
BEGIN
    SELECT max(version) INTO newest FROM chs.scorecard_versions;
    EXECUTE command;
    RETURN CASE WHEN (SELECT max(version) FROM chs.scorecard_versions) > newest THEN 'everyone'
                ELSE (SELECT string_agg(DISTINCT customer_id::text, ' ') FROM chs.queue WHERE rebuild) END;
END
$$;
-- Before and after everything is folded: nothing to be found, and every event of the tables counts once.
CREATE FUNCTION tap.right_after(what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 2 LOOP
        RETURN NEXT is((SELECT string_agg(v::text, '; ') FROM chs_verify() v), NULL, what || ': chs_verify finds nothing');
        RETURN NEXT is((SELECT string_agg(format('%s: %s, not %s', customer_id, e.value, n), '; ')
                        FROM chs.customers c CROSS JOIN LATERAL chs_explain(c.customer_id) e
                        CROSS JOIN LATERAL (SELECT count(*) AS n FROM part.all_events a
                                            WHERE a.customer = c.customer_id
                                              AND a.day BETWEEN LEAST(day(0), (c.churned_at AT TIME ZONE 'UTC')::date) - 29 AND LEAST(day(0), (c.churned_at AT TIME ZONE 'UTC')::date)) x
                        WHERE e.metric = 'logins' AND COALESCE(e.value, 0) <> n), NULL, what || ': logins are those of the tables');
        PERFORM chs_process_queue();
    END LOOP;
    RETURN NEXT is((SELECT string_agg(reason, '; ') FROM chs.rejected_events), NULL, what || ': nothing is rejected');
END
$$;
CREATE FUNCTION tap.rebuilds(command text, who text, what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN NEXT is(rebuilt_by(command), who, what);
    RETURN QUERY SELECT right_after(what);
END
$$;

-- A partitioned table of logins instead of the one before.
CREATE PROCEDURE tap.make(type text, key text, occurred_at text DEFAULT 'at') LANGUAGE plpgsql AS $$
BEGIN
    DROP TABLE IF EXISTS part.logins CASCADE;
    DROP TABLE IF EXISTS part.old, part.near, part.twice CASCADE;
    EXECUTE format('CREATE TABLE part.logins (customer bigint, ip_address text DEFAULT ''x'', at %s) PARTITION BY %s', type, key);
    CREATE INDEX ON part.logins (customer, at);
    CREATE VIEW part.all_events AS SELECT customer, (at AT TIME ZONE 'UTC')::date AS day FROM part.logins;
    PERFORM chs_attach('part.logins', 'customer', 'login', occurred_at);
END
$$;
-- A table like it with a row of each customer given, of a day.
CREATE PROCEDURE tap.load(name text, days int, first int, last int) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE part.%I (LIKE part.logins INCLUDING DEFAULTS)', name);
    EXECUTE format('INSERT INTO part.%I (customer, at) SELECT n, %L FROM generate_series($1, $2) n', name, day(days) + interval '12 hours') USING first, last;
END
$$;
CREATE FUNCTION tap.attach(name text, first int, last int) RETURNS text LANGUAGE sql
RETURN format('ALTER TABLE part.logins ATTACH PARTITION part.%I FOR VALUES FROM (%L) TO (%L)', name, day(first), day(last));
SET TimeZone = 'UTC';


\set type timestamptz
\ir sources_partitions.psql
\set type timestamp
\ir sources_partitions.psql
\set type date
\ir sources_partitions.psql

-- Keys of more columns, and keys that do not tell the time.
CALL make('timestamptz', 'RANGE (at, customer)');
CREATE TABLE part.old PARTITION OF part.logins FOR VALUES FROM (:'before', 0) TO (:'edge', 5);
CREATE TABLE part.near PARTITION OF part.logins FOR VALUES FROM (:'edge', 5) TO (:'reached', 0);
INSERT INTO part.logins SELECT n, 'x', :'before'::date FROM generate_series(1, 8) n UNION ALL SELECT n, 'x', :'edge'::date FROM generate_series(1, 8) n;
CALL chs_recalculate_all();
SELECT * FROM rebuilds('DROP TABLE part.old', NULL, 'time first: an old one is dropped');
SELECT * FROM rebuilds('DROP TABLE part.near', 'everyone', 'time first: one that is reached is dropped');
CALL make('timestamptz', 'RANGE (customer, at)');
CREATE TABLE part.old PARTITION OF part.logins FOR VALUES FROM (0, :'before') TO (100, :'edge');
INSERT INTO part.logins SELECT n, 'x', now() FROM generate_series(1, 8) n;
CALL chs_recalculate_all();
SELECT * FROM rebuilds('DROP TABLE part.old', 'everyone', 'time second: the bound says nothing');
CALL make('timestamptz', 'RANGE (customer)');
CREATE TABLE part.low PARTITION OF part.logins FOR VALUES FROM (0) TO (5);
CREATE TABLE part.high PARTITION OF part.logins FOR VALUES FROM (5) TO (11);
INSERT INTO part.logins SELECT n, 'x', now() FROM generate_series(1, 8) n;
CALL chs_recalculate_all();
SELECT * FROM rebuilds('DROP TABLE part.low', 'everyone', 'by a number: the bound says nothing');
CALL chs_recalculate_all();
SELECT * FROM rebuilds('ALTER TABLE part.logins DETACH PARTITION part.high', 'everyone', 'by a number, detached');
-- The key is a time, but not the one of the event.
CALL make('timestamptz', 'RANGE (at)', 'at + interval ''300 days''');
CREATE TABLE part.old PARTITION OF part.logins FOR VALUES FROM (:'before') TO (:'edge');
INSERT INTO part.logins SELECT n, 'x', :'before'::timestamptz + interval '1 hour' FROM generate_series(1, 8) n;
CALL chs_recalculate_all();
SELECT is(rebuilt_by('DROP TABLE part.old'), 'everyone', 'another time than that of the event');

-- DETACH in two transactions.
CALL make('timestamptz', 'RANGE (at)');
CREATE TABLE part.old PARTITION OF part.logins FOR VALUES FROM (:'before') TO (:'edge');
CREATE TABLE part.near PARTITION OF part.logins FOR VALUES FROM (:'edge') TO (:'tomorrow');
INSERT INTO part.logins SELECT n, 'x', t FROM generate_series(1, 8) n, (VALUES (now()), (:'before'::date)) v(t);
CALL chs_recalculate_all();
SELECT max(version) AS newest FROM chs.scorecard_versions \gset
ALTER TABLE part.logins DETACH PARTITION part.old CONCURRENTLY;
SELECT is(max(version), :newest, 'an old one is detached concurrently') FROM chs.scorecard_versions;
SELECT * FROM right_after('an old one is detached concurrently');
ALTER TABLE part.logins DETACH PARTITION part.near CONCURRENTLY;
SELECT isnt(max(version), :newest, 'one that is reached is detached concurrently') FROM chs.scorecard_versions;
SELECT * FROM right_after('one that is reached is detached concurrently');

SELECT * FROM finish();
DROP SCHEMA part CASCADE;
DROP EXTENSION chs;
DROP SCHEMA tap CASCADE;
