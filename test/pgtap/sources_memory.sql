-- What a session keeps does not grow with the number of partitions that came and went, nor with what was
-- done once.  Commits, and recreates the extension.

\set own_schema mem
\ir anew.psql
SELECT no_plan();

INSERT INTO chs.customers (external_id, created_at) VALUES ('c1', now() - interval '1 year');
-- PostgreSQL 18 tells the parent by its number.
SELECT CASE WHEN current_setting('server_version_num')::integer < 180000
            THEN 'SELECT name, ident, total_bytes, parent FROM pg_backend_memory_contexts'
            ELSE 'WITH c AS MATERIALIZED (SELECT * FROM pg_backend_memory_contexts)
                  SELECT c.name, c.ident, c.total_bytes, p.name AS parent
                  FROM c LEFT JOIN c p ON p.path[p.level] = c.path[c.level - 1]' END AS contexts \gset
CREATE VIEW tap.contexts AS :contexts;
CREATE FUNCTION tap.kept(OUT contexts bigint, OUT bytes bigint) LANGUAGE sql AS $$
    SELECT count(*), COALESCE(sum(total_bytes), 0)::bigint FROM tap.contexts WHERE name ~ '^chs ' OR ident ~ '\mchs\M' OR parent ~ '^chs '
$$;
-- One partition after the other: with rows, read again, dropped.  Every other one has columns in another order.
CREATE PROCEDURE mem.partitions(first int, last int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN first .. last LOOP
        IF i % 2 = 0 THEN
            EXECUTE format('CREATE TABLE mem.part_%s PARTITION OF mem.parts FOR VALUES IN (%s)', i, i);
        ELSE
            EXECUTE format('CREATE TABLE mem.part_%s (at timestamptz, who text, n int)', i);
            EXECUTE format('ALTER TABLE mem.parts ATTACH PARTITION mem.part_%s FOR VALUES IN (%s)', i, i);
        END IF;
        COMMIT;
        EXECUTE format('INSERT INTO mem.parts VALUES (%s, ''c1'', now())', i);
        EXECUTE format('INSERT INTO mem.part_%s (n, who, at) VALUES (%s, ''nobody'', now())', i, i);
        COMMIT;
        EXECUTE format('DROP TABLE mem.part_%s', i);
        COMMIT;
    END LOOP;
END
$$;
CREATE TABLE mem.parts (n int, who text, at timestamptz) PARTITION BY LIST (n);
CREATE INDEX ON mem.parts (who);
SELECT chs_attach('mem.parts', 'who', 'support_ticket', 'at', '''{}''::jsonb', customer_key => 'external_id') \g /dev/null
CALL mem.partitions(1, 20);
SELECT contexts, bytes FROM kept() \gset
CALL mem.partitions(21, 120);
SELECT cmp_ok(k.contexts, '<=', :contexts + 2::bigint, 'contexts after 120 partitions are those after 20') FROM kept() k;
SELECT cmp_ok(k.bytes, '<=', :bytes + 100000::bigint, 'so is their size') FROM kept() k;

-- Partitions that stay, and have the form of their table, share what was compiled for that.
CREATE TABLE mem.many (n int, who text, at timestamptz) PARTITION BY LIST (n);
CREATE INDEX ON mem.many (who);
SELECT chs_attach('mem.many', 'who', 'support_ticket', 'at', '''{}''::jsonb', customer_key => 'external_id') \g /dev/null
SELECT format('CREATE TABLE mem.many_%s PARTITION OF mem.many FOR VALUES IN (%s)', i, i) FROM generate_series(1, 100) i \gexec
INSERT INTO mem.many VALUES (1, 'c1', now());
SELECT contexts, bytes FROM kept() \gset
INSERT INTO mem.many SELECT n, 'c1', now() FROM generate_series(1, 100) n;
SELECT cmp_ok(k.contexts, '<=', :contexts + 2::bigint, 'contexts of 100 partitions are those of one') FROM kept() k;
SELECT cmp_ok(k.bytes, '<=', :bytes + 100000::bigint, 'so is their size') FROM kept() k;
SELECT is((SELECT value FROM chs_explain(1) WHERE metric = 'ticket_volume'), 101::float8, 'their rows count');
-- A column with a default that rows from before do not have; the table itself has no rows.
ALTER TABLE mem.many ADD priority text DEFAULT 'urgent';
INSERT INTO mem.many VALUES (2, 'c1', now(), 'low');
UPDATE mem.many SET at = at - interval '1 day' WHERE n = 2;
SELECT chs_process_queue() \g /dev/null
SELECT is((SELECT value FROM chs_explain(1) WHERE metric = 'ticket_volume'), 102::float8, 'a column was added');

-- Partitions that stay, each with columns in another order.
CREATE TABLE mem.odd (n int, who text, at timestamptz) PARTITION BY LIST (n);
SELECT chs_attach('mem.odd', 'who', 'support_ticket', 'at', '''{}''::jsonb', customer_key => 'external_id') \g /dev/null
SELECT format('CREATE TABLE mem.odd_%s (at timestamptz, who text, n int); ALTER TABLE mem.odd ATTACH PARTITION mem.odd_%s FOR VALUES IN (%s)', i, i, i) FROM generate_series(1, 150) i \gexec
INSERT INTO mem.odd SELECT n, 'c1', now() FROM generate_series(1, 150) n;
INSERT INTO mem.odd VALUES (1, 'c1', now());
SELECT cmp_ok(k.contexts, '<', 100::bigint, 'of very many different ones not all are kept') FROM kept() k;
INSERT INTO mem.odd SELECT n, 'c1', now() FROM generate_series(1, 150) n;
SELECT chs_process_queue() \g /dev/null
SELECT is((SELECT value FROM chs_explain(1) WHERE metric = 'ticket_volume'), 403::float8, 'their rows count, too');
SELECT is((SELECT string_agg(v::text, '; ') FROM chs_verify() v), NULL, 'chs_verify finds nothing');

-- Compiling that is cancelled again and again.
CREATE FUNCTION mem.constant() RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN '{}'; END$$;
CREATE TABLE mem.cancelled (who text, at timestamptz);
SELECT chs_attach('mem.cancelled', 'who', 'support_ticket', 'at', 'mem.constant()', customer_key => 'external_id') \g /dev/null
CREATE OR REPLACE FUNCTION mem.constant() RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$BEGIN PERFORM pg_sleep(600); RETURN '{}'; END$$;
SET chs.plugin_timeout = 0;
SET statement_timeout = '50ms';
\set ON_ERROR_STOP off
SELECT 'INSERT INTO mem.cancelled VALUES (''c1'', now())' FROM generate_series(1, 2) \gexec
SELECT contexts FROM kept() \gset
SELECT 'INSERT INTO mem.cancelled VALUES (''c1'', now())' FROM generate_series(1, 10) \gexec
\set ON_ERROR_STOP on
RESET statement_timeout;
SELECT is((SELECT count(*) FROM mem.cancelled), 0::bigint, 'statements are cancelled while expressions are compiled');
SELECT is(k.contexts, :contexts::bigint, 'which leaves nothing behind') FROM kept() k;

SELECT * FROM finish();
DROP EXTENSION chs CASCADE;
DROP SCHEMA mem CASCADE;
