-- Forgetting a customer: both functions are called by chs_purge_customer(), with the rights of the owner.

CREATE FUNCTION chs.references_to(customer_id bigint, OUT foreign_key name, OUT relation regclass, OUT owner oid, OUT query text)
    RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    by_row text;
BEGIN
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
        RAISE EXCEPTION 'customers cannot be purged in a transaction of isolation level %', upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'feature_not_supported',
                  DETAIL = 'Rows that were added after the transaction began would remain.',
                  HINT = 'Use a transaction of isolation level READ COMMITTED.';
    END IF;
    PERFORM FROM chs.customers c WHERE c.customer_id = $1 FOR UPDATE;
    FOR foreign_key, relation, owner, by_row IN
        SELECT k.conname, k.conrelid, t.relowner,
               format('SELECT format(%L, %s) FROM %s r WHERE r.customer_id = $1',
                      format('SELECT FROM %s%s f WHERE %s LIMIT 1',
                             CASE t.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END, replace(k.conrelid::regclass::text, '%', '%%'),
                             string_agg(format('f.%s = %%L::%s', replace(quote_ident(f.attname), '%', '%%'), format_type(p.atttypid, NULL)),
                                        ' AND ' ORDER BY u.n)),
                      string_agg(format('r.%I::text', p.attname), ', ' ORDER BY u.n), k.confrelid::regclass)
        FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid
        CROSS JOIN LATERAL ROWS FROM (unnest(k.conkey), unnest(k.confkey)) WITH ORDINALITY u(referring, referred, n)
        JOIN pg_attribute f ON f.attrelid = k.conrelid AND f.attnum = u.referring
        JOIN pg_attribute p ON p.attrelid = k.confrelid AND p.attnum = u.referred
        WHERE k.contype = 'f' AND k.conparentid = 0
          AND k.confrelid IN ('chs.customers'::regclass, 'chs.customer_events'::regclass)
          AND t.relnamespace <> 'chs'::regnamespace
        GROUP BY k.oid, k.conname, k.conrelid, k.confrelid, t.relowner, t.relkind
        ORDER BY k.conrelid, k.conname
    LOOP
        FOR query IN EXECUTE by_row USING customer_id LOOP
            RETURN NEXT;
        END LOOP;
    END LOOP;
END
$$;
COMMENT ON FUNCTION chs.references_to(bigint)
    IS 'locks a customer; a row for each foreign key of a table not of chs and each row of the customer that it can refer to, with the query that finds out, as the owner of that table, whether it does';
REVOKE EXECUTE ON FUNCTION chs.references_to(bigint) FROM PUBLIC;

CREATE FUNCTION chs.purge(customer_id bigint) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    events  bigint;
    n       bigint;
    removed bigint;
    t       regclass;
BEGIN
    DELETE FROM chs.rejected_events r USING chs.sources s, chs.customers c
    WHERE c.customer_id = $1 AND r.source_id = s.source_id
      AND r.customer_key = CASE s.customer_key WHEN 'external_id' THEN c.external_id ELSE c.customer_id::text END;
    DELETE FROM chs.missing_customers m USING chs.customers c WHERE c.customer_id = $1 AND m.external_id = c.external_id;
    UPDATE chs.customers c SET parent_id = NULL WHERE c.parent_id = $1;
    DELETE FROM chs.customer_events e WHERE e.customer_id = $1;
    GET DIAGNOSTICS events = ROW_COUNT;
    DELETE FROM chs.customers c WHERE c.customer_id = $1;
    GET DIAGNOSTICS removed = ROW_COUNT;
    removed := removed + events;
    -- what foreign keys do not do for the owner, and what the deletion queued: in every table with a customer_id, so that none is forgotten
    FOR t IN SELECT c.oid FROM pg_depend d
             JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'chs'
             JOIN pg_class c ON c.oid = d.objid AND c.relkind IN ('r', 'p')
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'customer_id' AND NOT a.attisdropped
             WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    LOOP
        EXECUTE format('DELETE FROM %s WHERE customer_id = $1', t) USING customer_id;
        GET DIAGNOSTICS n = ROW_COUNT;
        removed := removed + n;
    END LOOP;
    RETURN CASE WHEN removed > 0 THEN events END;
END
$$;
COMMENT ON FUNCTION chs.purge(bigint) IS 'removes everything about a customer from all tables of chs, and returns the number of its events; NULL: there was nothing';
REVOKE EXECUTE ON FUNCTION chs.purge(bigint) FROM PUBLIC;

CREATE FUNCTION @extschema@.chs_purge_customer(customer_id bigint) RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chs_purge_customer';
COMMENT ON FUNCTION @extschema@.chs_purge_customer(bigint)
    IS 'permanently removes everything that chs keeps about a customer, and returns the number of its events; delete rows of attached tables before';
REVOKE EXECUTE ON FUNCTION @extschema@.chs_purge_customer(bigint) FROM PUBLIC;
