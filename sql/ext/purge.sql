-- Forgetting a customer.

CREATE FUNCTION @extschema@.chs_purge_customer(customer_id bigint) RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chs_purge_customer';
COMMENT ON FUNCTION @extschema@.chs_purge_customer(bigint)
    IS 'permanently removes everything that chs keeps about a customer, and returns the number of its events; delete rows of attached tables before';
REVOKE EXECUTE ON FUNCTION @extschema@.chs_purge_customer(bigint) FROM PUBLIC;
