-- Forgetting a customer.

CREATE FUNCTION @extschema@.chs_purge_customer(customer_id bigint) RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chs_purge_customer';
COMMENT ON FUNCTION @extschema@.chs_purge_customer(bigint)
    IS 'removes all that chs keeps of a customer, for good, and returns how many events that were; rows of attached tables are their owner''s to delete, before';
REVOKE EXECUTE ON FUNCTION @extschema@.chs_purge_customer(bigint) FROM PUBLIC;
