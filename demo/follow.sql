-- Events arrive, and the score follows automatically.
--
--   psql -X -d company -v customer=42 -f follow.sql

\echo '## Events arrive, the score follows'
CREATE TEMP TABLE before AS
SELECT b.*, l.score AS customer_score, l.status FROM chs.factor_breakdown b JOIN chs.customer_list l USING (customer_id)
WHERE customer_id = :customer;

-- Waits until the worker has stored the score, and returns when that was.
CREATE FUNCTION pg_temp.stored_at(id bigint, expected double precision) RETURNS timestamptz LANGUAGE plpgsql AS $$
DECLARE
    since timestamptz := clock_timestamp();
BEGIN
    LOOP
        PERFORM 1 FROM chs.customer_health WHERE customer_id = id AND score = expected;
        IF FOUND THEN RETURN clock_timestamp(); END IF;
        IF clock_timestamp() > since + interval '30 seconds' THEN
            RAISE 'the worker did not store the score % of customer % within 30 seconds', expected, id;
        END IF;
        PERFORM pg_sleep(0.0005);
    END LOOP;
END
$$;

BEGIN;
INSERT INTO chs.customer_events (customer_id, event_type, event_data) VALUES
    (:customer, 'payment', '{"amount": 1250, "status": "overdue", "days_late": 14}'),
    (:customer, 'support_ticket', '{"priority": "urgent", "subject": "labels fail at checkout"}'),
    (:customer, 'support_ticket', '{"priority": "urgent", "subject": "still failing", "satisfaction": 1}');
-- Immediate and exact, even for what is not committed yet:
SELECT chs_score(:customer) AS inside, clock_timestamp() AS committing \gset
COMMIT;
SELECT round(extract(epoch FROM pg_temp.stored_at(:customer, :inside) - :'committing') * 1000, 1) AS ms \gset

\pset tuples_only on
SELECT unnest(ARRAY[l.name || ' gets an overdue invoice and two urgent tickets:',
                    format('was %s, is %s', b.status, l.status)])
FROM chs.customer_list l JOIN before b USING (customer_id)
LIMIT 2;
\pset tuples_only off

SELECT factor, round(before::numeric, 2) AS before, round(after::numeric, 2) AS after,
       nullif(round((after - before)::numeric, 2), 0) AS change
FROM (
    SELECT a.position, a.factor_name AS factor, b.contribution AS before, a.contribution AS after
    FROM chs.factor_breakdown a JOIN before b USING (customer_id, factor_name)
    UNION ALL
    SELECT 1000, 'score', b.customer_score, l.score
    FROM chs.customer_list l JOIN (SELECT DISTINCT customer_id, customer_score FROM before) b USING (customer_id)
) r
ORDER BY position;

\pset tuples_only on
SELECT 'chs_score in the inserting transaction, before its commit:', :'inside'
UNION ALL
SELECT 'milliseconds from the commit until chs.customer_health had it:', :'ms';
\pset tuples_only off
