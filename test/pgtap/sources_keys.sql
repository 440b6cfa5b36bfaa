-- What a transaction remembers of customers is true: whatever it does to them between two inserts into
-- attached tables, each row is rejected that would be rejected in a transaction of its own.
-- Commits, and recreates the extension.

\set own_schema keys
\ir anew.psql
SELECT no_plan();

-- By the company's key and by number; rows that are put into a partition directly are kept until later.
CREATE TABLE keys.by_key (n int, who text, at timestamptz DEFAULT now());
CREATE TABLE keys.by_number (n int, who bigint, at timestamptz DEFAULT now());
CREATE TABLE keys.parts (n int, who text, at timestamptz DEFAULT now()) PARTITION BY LIST (n);
CREATE TABLE keys.part PARTITION OF keys.parts DEFAULT;
CREATE TABLE keys.numbered_parts (n int, who bigint, at timestamptz DEFAULT now()) PARTITION BY LIST (n);
CREATE TABLE keys.numbered_part PARTITION OF keys.numbered_parts DEFAULT;
SELECT chs_attach('keys.by_key', 'who', 'support_ticket', 'at', '''{}''::jsonb', customer_key => 'external_id'),
       chs_attach('keys.by_number', 'who', 'support_ticket', 'at', '''{}''::jsonb'),
       chs_attach('keys.parts', 'who', 'support_ticket', 'at', '''{}''::jsonb', customer_key => 'external_id'),
       chs_attach('keys.numbered_parts', 'who', 'support_ticket', 'at', '''{}''::jsonb') \g /dev/null

CREATE PROCEDURE tap.rows(n int) LANGUAGE sql AS $$
    INSERT INTO keys.by_key VALUES (n, 'B');
    INSERT INTO keys.by_number VALUES (n, 2);
    INSERT INTO keys.part VALUES (n, 'B');
    INSERT INTO keys.numbered_part VALUES (n, 2);
$$;
CREATE PROCEDURE tap.anew() LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM chs.customers;
    DELETE FROM keys.by_key; DELETE FROM keys.by_number; DELETE FROM keys.parts; DELETE FROM keys.numbered_parts;
    DELETE FROM chs.rejected_events;
    INSERT INTO chs.customers (customer_id, external_id, created_at) VALUES (2, 'B', now() - interval '1 year');
END
$$;
-- Which rows are rejected, by table and number.
CREATE FUNCTION tap.rejected(rejected text, what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN NEXT is((SELECT string_agg(DISTINCT relation || ' ' || (event_row ->> 'n'), ', ' ORDER BY relation || ' ' || (event_row ->> 'n')) FROM chs.rejected_events), rejected, what);
    PERFORM chs_process_queue();
    RETURN NEXT is((SELECT string_agg(v::text, '; ') FROM chs_verify() v), NULL, what || ': chs_verify finds nothing');
END
$$;
\set all 'keys.by_key 2, keys.by_number 2, keys.numbered_part 2, keys.part 2'
\set by_key 'keys.by_key 2, keys.part 2'
\set by_number 'keys.by_number 2, keys.numbered_part 2'

\set before 'CALL anew(); BEGIN; CALL rows(1);'
\set after 'CALL rows(2); COMMIT;'

:before DELETE FROM chs.customers; :after
SELECT * FROM rejected(:'all', 'the customer was deleted');

:before UPDATE chs.customers SET external_id = 'C'; :after
SELECT * FROM rejected(:'by_key', 'the key was changed');

:before UPDATE chs.customers SET customer_id = 3; :after
SELECT * FROM rejected(:'by_number', 'the number was changed');

:before TRUNCATE chs.customers CASCADE; :after
SELECT * FROM rejected(:'all', 'customers were truncated');

:before SAVEPOINT s; DELETE FROM chs.customers; RELEASE s; :after
SELECT * FROM rejected(:'all', 'the customer was deleted in a subtransaction');

:before SAVEPOINT s; DELETE FROM chs.customers; ROLLBACK TO s; :after
SELECT * FROM rejected(NULL, 'the customer was deleted in a subtransaction that was rolled back');

CALL anew(); BEGIN; DELETE FROM chs.customers; SAVEPOINT s;
INSERT INTO chs.customers (customer_id, external_id, created_at) VALUES (2, 'B', now() - interval '1 year');
CALL rows(1); ROLLBACK TO s; :after
SELECT * FROM rejected(:'all', 'the customer was created in a subtransaction that was rolled back');

SELECT * FROM finish();
DROP EXTENSION chs CASCADE;
DROP SCHEMA keys CASCADE;
