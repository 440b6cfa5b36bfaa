-- For the tests of sql/: what a statement is refused with; nothing of one that is accepted stays.  Included without being
-- printed.
CREATE OR REPLACE FUNCTION refusal(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    d text;
    h text;
    c text;
BEGIN
    EXECUTE statement;
    RAISE 'accepted' USING ERRCODE = 'ZZZZZ';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT, c = COLUMN_NAME;
    RETURN concat_ws(' | ', SQLSTATE || ' ' || SQLERRM, NULLIF(d, ''), NULLIF(h, ''), 'column ' || NULLIF(c, ''));
END
$$;
