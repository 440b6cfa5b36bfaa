-- A table that the company already has becomes a source of events, as it is.
--
--   psql -X -d company -v customer=42 -f attach.sql

\echo '## An existing table is attached'
SET client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS helpdesk;
DROP TABLE IF EXISTS helpdesk.cases;
CREATE TABLE helpdesk.cases (
    case_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account bigint NOT NULL, opened timestamp NOT NULL, closed timestamp,
    urgency text, channel text, language text, product text, version text, component text, subject text, body text, requester text,
    requester_email text, assignee text, team text, escalated boolean, reopened int, replies int, first_reply timestamp, stars int,
    tags text[], custom jsonb, source_ip inet, updated timestamptz DEFAULT now());
CREATE INDEX ON helpdesk.cases (account, opened);
INSERT INTO helpdesk.cases (account, opened, closed, urgency, channel, product, subject, stars)
SELECT customer_id, at, at + interval '6 hours' * (1 + customer_id % 5), 'normal', 'mail', 'app', 'question', 3 + customer_id % 3
FROM chs.customers, LATERAL (SELECT now() AT TIME ZONE 'UTC' - interval '1 day' * (1 + customer_id % 25) AS at) a
WHERE customer_id % 3 = 0 AND customer_id <> :customer;

SELECT chs_score(:customer) AS before \gset
SELECT chs_attach('helpdesk.cases', customer => 'account', event_type => 'support_ticket', occurred_at => 'opened',
    event_data => $$jsonb_build_object('priority', urgency, 'satisfaction', stars,
                                       'resolution_time', extract(epoch FROM closed - opened)::bigint)$$) AS source \gset
SELECT clock_timestamp() AS attached \gset
SELECT count(*) AS cases FROM helpdesk.cases \gset
INSERT INTO helpdesk.cases (account, opened, urgency, subject) VALUES (:customer, now() AT TIME ZONE 'UTC', 'urgent', 'nothing prints');
INSERT INTO helpdesk.cases (account, opened, subject) VALUES (0, now() AT TIME ZONE 'UTC', 'of an unknown account');

\pset tuples_only on
SELECT format('helpdesk.cases, %s columns, %s rows:', count(*), :'cases') FROM pg_attribute
WHERE attrelid = 'helpdesk.cases'::regclass AND attnum > 0;
SELECT $$SELECT chs_attach('helpdesk.cases', 'account', 'support_ticket', 'opened', ...)$$;
SELECT format('An urgent case inserted there: %s was %s, is %s', name, :'before', chs_score(customer_id))
FROM chs.customers WHERE customer_id = :customer;
SELECT 'A case of an unknown account stays in its table, and is reported: ' || reason FROM chs.rejected_events WHERE source_id = :source ORDER BY rejected_id DESC LIMIT 1;

-- Scores are right at once, from the raw events of both tables; until the worker has recounted everyone, each takes milliseconds.
DO $$
BEGIN
    WHILE EXISTS (SELECT FROM chs.stale_health) AND clock_timestamp() < now() + interval '1 minute' LOOP
        PERFORM pg_sleep(0.05);
    END LOOP;
END
$$;
SELECT format('Seconds until the worker had recounted everyone from both tables: %s',
              round(extract(epoch FROM clock_timestamp() - :'attached'), 1));
\pset tuples_only off
