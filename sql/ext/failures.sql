-- Failures: customers that could not be scored.

CREATE TABLE chs.failures (
    customer_id  bigint PRIMARY KEY,
    sqlstate     text NOT NULL,
    message      text NOT NULL,
    detail       text,
    attempts     integer NOT NULL,
    failed_at    timestamptz NOT NULL,
    next_attempt timestamptz NOT NULL,
    version      integer NOT NULL
);
ALTER TABLE chs.failures ADD CONSTRAINT failures_customer_id_fkey
    FOREIGN KEY (customer_id) REFERENCES chs.customers ON UPDATE CASCADE ON DELETE CASCADE;
-- Written only by the fold, which has looked up the customer.
ALTER TABLE chs.failures DISABLE TRIGGER ALL;
COMMENT ON TABLE chs.failures IS 'customers whose score could not be calculated or stored; the others are not affected';
COMMENT ON COLUMN chs.failures.attempts IS 'the number of failures in a row';
COMMENT ON COLUMN chs.failures.customer_id IS 'the customer';
COMMENT ON COLUMN chs.failures.sqlstate IS 'code of the error';
COMMENT ON COLUMN chs.failures.message IS 'the error';
COMMENT ON COLUMN chs.failures.detail IS 'the detail message of the error, if any';
COMMENT ON COLUMN chs.failures.failed_at IS 'when it last failed';
COMMENT ON COLUMN chs.failures.next_attempt IS 'when it will be retried; the next success removes the row';
COMMENT ON COLUMN chs.failures.version IS 'the latest scorecard version at that time; when a later one is published, the customer is retried at once';
