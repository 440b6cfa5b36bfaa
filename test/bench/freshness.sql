-- Inserts events one after the other and waits until each one's score shows.
SET search_path = bench, public;

CREATE UNLOGGED TABLE delays (ms double precision);

-- The customers after the given one take turns; nobody else inserts events of them.
CREATE PROCEDURE probe(events integer, pause double precision, after_customer bigint) LANGUAGE plpgsql AS $$
DECLARE
    customer bigint;
    before timestamptz;
    committed timestamptz;
    calculated timestamptz;
BEGIN
    TRUNCATE bench.delays;
    FOR i IN 1 .. events LOOP
        PERFORM pg_sleep(pause * (1 + bench.u(i, 31) / 5));
        customer := after_customer + 1 + i % 100;
        SELECT calculated_at INTO before FROM chs.customer_health WHERE customer_id = customer;
        INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES (customer, 'api_call', '{"endpoint": "/v1/items"}');
        COMMIT;
        committed := clock_timestamp();
        -- Every statement of a procedure has a new snapshot.
        LOOP
            SELECT calculated_at INTO calculated FROM chs.customer_health WHERE customer_id = customer;
            EXIT WHEN calculated > before OR before IS NULL AND calculated IS NOT NULL;
            IF clock_timestamp() > committed + interval '1 minute' THEN
                RAISE 'no score after a minute';
            END IF;
            PERFORM pg_sleep(0.0001);
            COMMIT;
        END LOOP;
        INSERT INTO bench.delays VALUES (extract(epoch FROM clock_timestamp() - committed) * 1000);
    END LOOP;
END
$$;
