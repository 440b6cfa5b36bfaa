-- What a transaction keeps in memory does not grow with the number of its subtransactions.

\ir begin.psql

INSERT INTO chs.customers (customer_id, created_at) SELECT i, '2020-01-01' FROM generate_series(1, 100) i;
SELECT chs_process_queue() \g /dev/null

CREATE FUNCTION tap.memory() RETURNS bigint LANGUAGE sql VOLATILE AS
    'SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts';

-- Runs a statement in so many subtransactions, undone or not; in it $1 is the number of the subtransaction.
CREATE PROCEDURE tap.subtransactions(statement text, times integer, undone boolean) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..times LOOP
        BEGIN
            EXECUTE statement USING i;
            IF undone THEN
                RAISE division_by_zero;
            END IF;
        EXCEPTION WHEN division_by_zero THEN
            NULL;
        END;
    END LOOP;
END
$$;

-- The bytes that 1,000 subtransactions more add to those of 100.
CREATE FUNCTION tap.added(statement text, undone boolean DEFAULT false) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    before bigint;
BEGIN
    CALL subtransactions(statement, 100, undone);
    before := memory();
    CALL subtransactions(statement, 1000, undone);
    RETURN memory() - before;
END
$$;

CREATE FUNCTION tap.is_bounded(statement text, what text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT cmp_ok(added(statement), '<', 1000000::bigint, what)
    UNION ALL
    SELECT cmp_ok(added(statement, true), '<', 1000000::bigint, what || ', rolled back')
$$;

-- In pairs, the inner one within the outer one.
CREATE FUNCTION tap.nested(i integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chs.customer_events (customer_id, event_type) VALUES (1 + i % 100, 'support_ticket');
    BEGIN
        INSERT INTO chs.customer_events (customer_id, event_type) VALUES (1 + i % 100, 'support_ticket');
    EXCEPTION WHEN unique_violation THEN
        NULL;
    END;
END
$$;

CREATE FUNCTION tap.levels(n integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chs.customer_events (customer_id, event_type) VALUES (1 + n % 100, 'support_ticket');
    IF n > 1 THEN
        PERFORM levels(n - 1);
    END IF;
EXCEPTION WHEN unique_violation THEN
    NULL;
END
$$;

-- A file to copy from, in the directory of the server.
SELECT current_setting('data_directory') || '/chs-memory' AS file \gset
COPY (SELECT i, 'support_ticket' FROM generate_series(1, 3) i) TO :'file';
SELECT format('COPY chs.customer_events (customer_id, event_type) FROM %L', :'file') AS copy \gset

SELECT is_bounded($$INSERT INTO chs.customer_events (customer_id, event_type) VALUES (1 + $1 % 100, 'support_ticket')$$, 'INSERT');
SELECT is_bounded($$INSERT INTO chs.customer_events (customer_id, event_type) SELECT i, 'support_ticket' FROM generate_series(1, 3) i WHERE $1 > 0$$,
                      'INSERT of several rows');
SELECT is_bounded(:'copy', 'COPY');
SELECT is_bounded($$SELECT chs_record_event(1 + $1 % 100, 'support_ticket', '{}', NULL, $1::text)$$, 'chs_record_event');
SELECT is_bounded($$SELECT nested($1)$$, 'two levels');
SELECT is_bounded($$SELECT levels(5) WHERE $1 > 0$$, 'five levels');
CREATE TABLE tap.ids AS SELECT row_number() OVER () AS i, customer_id, event_id FROM chs.customer_events;
CREATE INDEX ON ids (i);
SELECT is_bounded($$UPDATE chs.customer_events e SET occurred_at = e.occurred_at - interval '1 s'
                        FROM ids n WHERE n.i = $1 AND (e.customer_id, e.event_id) = (n.customer_id, n.event_id)$$, 'UPDATE');
SELECT is_bounded($$DELETE FROM chs.customer_events e USING ids n
                        WHERE n.i = $1 AND (e.customer_id, e.event_id) = (n.customer_id, n.event_id)$$, 'DELETE');
SELECT is_bounded($$UPDATE chs.customers SET segment = CASE segment WHEN 'smb' THEN 'startup' ELSE 'smb' END WHERE customer_id = 1 + $1 % 100$$,
                      'UPDATE of customers');

-- One that is open has 8 kB of PostgreSQL's own.
CREATE FUNCTION tap.open_levels(n integer) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    bytes bigint;
BEGIN
    INSERT INTO chs.customer_events (customer_id, event_type) VALUES (1 + n % 100, 'support_ticket');
    IF n = 0 THEN
        SELECT sum(total_bytes)::bigint INTO bytes FROM pg_backend_memory_contexts WHERE name LIKE 'chs%';
        RETURN bytes;
    END IF;
    RETURN open_levels(n - 1);
EXCEPTION WHEN unique_violation THEN
    NULL;
END
$$;
SELECT cmp_ok(open_levels(100) - open_levels(1), '<', 10000::bigint, 'a level that is open and has queued its deltas keeps nothing of chs');

SELECT is((SELECT count(*) FROM chs_verify()), 0::bigint, 'and every event counts once');

COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; rm chs-memory';
-- Attached tables, whose rows are taken at once, or kept; for a partition no statement trigger fires.
CREATE TABLE public.direct (customer bigint, ip_address text, at timestamptz DEFAULT now());
CREATE TABLE public.failing (customer text, ip_address text, at timestamptz DEFAULT now());
CREATE TABLE public.parts (customer text, ip_address text, at timestamptz DEFAULT now()) PARTITION BY LIST (customer);
CREATE TABLE public.part PARTITION OF public.parts DEFAULT;
SELECT chs_attach('public.direct', 'customer', 'login', 'at', 'jsonb_build_object(''ip_address'', ip_address)'),
       chs_attach('public.failing', 'customer::bigint', 'login', 'at', 'jsonb_build_object(''ip_address'', ip_address)'),
       chs_attach('public.parts', 'customer::bigint', 'login', 'at', 'jsonb_build_object(''ip_address'', ip_address)') \g /dev/null
SELECT is_bounded($$INSERT INTO public.direct VALUES (1 + $1 % 100, 'x')$$, 'attached');
SELECT is_bounded($$INSERT INTO public.direct VALUES (1 + $1 % 100, NULL)$$, 'attached, rejected');
SELECT is_bounded($$INSERT INTO public.failing VALUES (1 + $1 % 100, 'x')$$, 'attached, kept');
SELECT is_bounded($$INSERT INTO public.failing VALUES (1 + $1 % 100, NULL)$$, 'attached, kept and rejected');
SELECT is_bounded($$INSERT INTO public.part VALUES (1 + $1 % 100, 'x')$$, 'attached, a partition');
SELECT is_bounded($$INSERT INTO public.part VALUES (1 + $1 % 100, CASE WHEN $1 % 2 > 0 THEN 'x' END)$$, 'attached, a partition, half of the rows rejected');

CREATE FUNCTION tap.open_attached(n integer) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.part VALUES (1 + n % 100, 'x');
    IF n = 0 THEN
        RETURN (SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts WHERE name ~ '^chs (deferred rows|rejected rows|external ids)');
    END IF;
    RETURN open_attached(n - 1);
EXCEPTION WHEN unique_violation THEN
    NULL;
END
$$;
SELECT open_attached(10) AS ten \gset
SELECT cmp_ok(open_attached(500) - :ten, '<', 200000::bigint, 'attached: no more rows are kept for 500 levels that are open');
SELECT is((SELECT count(*) FROM public.part p WHERE ip_address IS NOT NULL), (SELECT sum(n) FROM (SELECT e.value AS n FROM chs.customers, chs_explain(customer_id) e WHERE metric = 'logins') s)::bigint
          - (SELECT count(*) FROM public.direct WHERE ip_address IS NOT NULL) - (SELECT count(*) FROM public.failing WHERE ip_address IS NOT NULL), 'and all count');
SELECT is((SELECT count(*) FROM chs_verify()), 0::bigint, 'and each row counts once');

SELECT * FROM finish();
ROLLBACK;
