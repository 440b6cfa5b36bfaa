-- The least that a table of events can have.
CREATE TABLE bench.one_key (LIKE chs.customer_events INCLUDING DEFAULTS INCLUDING IDENTITY, PRIMARY KEY (event_id));
ALTER TABLE bench.one_key SET (autovacuum_enabled = false);

-- What a user would have: and an index by which events of a customer are found, as health needs them.
CREATE TABLE bench.usual (LIKE bench.one_key INCLUDING ALL);
CREATE INDEX ON bench.usual (customer_id, occurred_at);
ALTER TABLE bench.usual SET (autovacuum_enabled = false);

-- The statement that inserts an event of each customer into a table; another one in every round.
CREATE FUNCTION bench.insert_events(target regclass, round integer) RETURNS text LANGUAGE sql AS $$
    SELECT format('INSERT INTO %s (customer_id, event_type, event_data, occurred_at)
        SELECT c.customer_id, t.event_type, t.event_data, now() - (c.customer_id %% 24) * interval ''1 hour''
        FROM chs.customers c JOIN bench.template t ON t.n = hashint8extended(%2$s + c.customer_id, 12) & 4095
        ORDER BY hashint8extended(%2$s + c.customer_id, 13)', target, round)
$$;

-- The same, one event in each statement.
CREATE FUNCTION bench.insert_event_each(target regclass, round integer) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT format('INSERT INTO %s (customer_id, event_type, event_data, occurred_at) VALUES (%s, %L, %L, now() - interval ''%s h'')',
                  target, c.customer_id, t.event_type, t.event_data, c.customer_id % 24)
    FROM chs.customers c JOIN bench.template t ON t.n = hashint8extended(round + c.customer_id, 12) & 4095
    ORDER BY hashint8extended(round + c.customer_id, 13)
$$;
