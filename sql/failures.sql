-- One customer whose score cannot be stored does not keep the others from theirs.

INSERT INTO chs.customers (customer_id, name, segment, created_at) OVERRIDING SYSTEM VALUE
SELECT n, 'f-' || n, 'smb', '2020-01-01 00:00+00' FROM generate_series(1, 4) n;
SELECT FROM chs_process_queue();

-- An index that somebody made, and that fails for one of them.
CREATE INDEX poison ON chs.customer_health ((CASE WHEN score > 14 THEN 1 / (customer_id - 3) END));
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
SELECT n, 'login', '{"ip_address": "203.0.113.1"}' FROM generate_series(1, 4) n, generate_series(1, 5);
SELECT FROM chs_process_queue();
SELECT customer_id, score FROM chs.customer_health ORDER BY 1;
SELECT customer_id, sqlstate, message, attempts, next_attempt > failed_at AS later FROM chs.failures;
SELECT customer_id, chs_score(customer_id) FROM chs.customers ORDER BY 1;
SELECT * FROM chs_verify();

-- It is not tried before its time, and then fails again.
UPDATE chs.failures SET next_attempt = now() + interval '1 day';
SELECT FROM chs_process_queue();
UPDATE chs.failures SET next_attempt = failed_at;
SELECT FROM chs_process_queue();
SELECT customer_id, sqlstate, attempts FROM chs.failures;

-- Rescoring everyone steps over it, too, and says so.
UPDATE chs.failures SET next_attempt = failed_at;
CALL chs_recalculate_all();

-- By hand the error is shown.
SELECT chs_recalculate(3);

-- Once the cause is gone the next success clears the failure.
DROP INDEX chs.poison;
UPDATE chs.failures SET next_attempt = failed_at;
SELECT FROM chs_process_queue();
SELECT customer_id, score FROM chs.customer_health ORDER BY 1;
SELECT * FROM chs.failures;
SELECT customer_id FROM chs.queue;
SELECT * FROM chs_verify();

-- What a function in PL/pgSQL raises is its own affair, even if it looks like the server's.
CREATE FUNCTION raise_for_one(bigint, double precision) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	IF current_setting('chs_test.raise', true) = $1::text THEN
		RAISE disk_full USING MESSAGE = 'pretended';
	END IF;
	RETURN $1;
END $$;
CREATE INDEX poison ON chs.customer_health (raise_for_one(customer_id, score));
SET chs_test.raise = '3';
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
SELECT n, 'login', '{"ip_address": "203.0.113.1"}' FROM generate_series(1, 4) n, generate_series(1, 5);
SELECT FROM chs_process_queue();
SELECT customer_id, sqlstate, message FROM chs.failures;
DROP INDEX chs.poison;
DROP FUNCTION raise_for_one(bigint, double precision);
RESET chs_test.raise;
SELECT chs_recalculate(3);
SELECT * FROM chs.failures;

-- What is stored of a customer may be damaged: it is made again from the raw events.
CREATE CAST (bytea AS chs_activity) WITHOUT FUNCTION;
INSERT INTO chs.customer_events (customer_id, event_type, event_data)
SELECT n, 'login', '{"ip_address": "203.0.113.2"}' FROM generate_series(1, 4) n;
UPDATE chs.activity SET activity = '\x010000000000008000000000'::bytea::chs_activity WHERE customer_id = 1;
UPDATE chs.activity SET activity = '\x6300000000000080'::bytea::chs_activity WHERE customer_id = 2;
UPDATE chs.queue SET delta = '\x0100'::bytea::chs_activity WHERE customer_id = 3;
SELECT customer_id, chs_score(customer_id) FROM chs.customers ORDER BY 1;
SELECT customer_id, difference, stored, expected FROM chs_verify();
SELECT FROM chs_process_queue();
SELECT customer_id, score FROM chs.customer_health ORDER BY 1;
SELECT customer_id FROM chs.failures;
SELECT * FROM chs_verify();
UPDATE chs.activity SET activity = '\x0100'::bytea::chs_activity WHERE customer_id <= 3;
CALL chs_recalculate_all();
SELECT * FROM chs_verify();
UPDATE chs.activity SET activity = '\x0100'::bytea::chs_activity WHERE customer_id <= 2;
SELECT chs_rebuild(1);
CALL chs_rebuild();
SELECT * FROM chs_verify();
DROP CAST (bytea AS chs_activity);

DELETE FROM chs.customers;
SELECT FROM chs_process_queue();
