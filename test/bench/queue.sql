-- Ways to fill the queue: a delta per customer and statement.
SET search_path = bench, public;

-- So many transactions, each with one event of every customer.
CREATE PROCEDURE fill_each(transactions bigint, customers bigint) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. transactions LOOP
        INSERT INTO chs.customer_events (customer_id, event_type, event_data)
        SELECT c, t.event_type, t.event_data
        FROM generate_series(1, customers) c JOIN bench.template t ON t.n = hashint8extended(c, i::integer) & 4095;
        COMMIT;
    END LOOP;
END
$$;

-- So many events by a statement each; all customers alike, or customer c in proportion to 1/c.
CREATE PROCEDURE fill_rows(events bigint, customers bigint, hot boolean) LANGUAGE plpgsql AS $$
DECLARE
    luck double precision;
BEGIN
    FOR i IN 1 .. events LOOP
        luck := bench.u(i, 21);
        INSERT INTO chs.customer_events (customer_id, event_type, event_data)
        VALUES (CASE WHEN hot THEN floor(customers ^ luck) ELSE 1 + floor(customers * luck) END,
                'api_call', '{"endpoint": "/v1/items", "status_code": 200}');
        IF i % 10 = 0 THEN
            COMMIT;
        END IF;
    END LOOP;
END
$$;
