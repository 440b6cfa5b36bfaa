-- What must survive pg_dump; everything else is rebuilt from it.
--
-- CREATE EXTENSION inserts the shipped rows before the rows of a dump arrive, and
-- pg_restore with --jobs loads those in any order.  src/store/restore.c explains how that
-- is handled.

CREATE TABLE chs.shipped (
    table_name text NOT NULL,
    written_by xid NOT NULL
);
COMMENT ON TABLE chs.shipped IS 'internal: tables with shipped rows, until a dump is restored';
COMMENT ON COLUMN chs.shipped.table_name IS 'in schema chs';
COMMENT ON COLUMN chs.shipped.written_by IS 'transaction or subtransaction that wrote them';

CREATE FUNCTION chs.restore_begin() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'chs_restore_begin';
COMMENT ON FUNCTION chs.restore_begin() IS 'trigger: removes the shipped rows and turns foreign keys off before rows of a dump arrive';
CREATE FUNCTION chs.restore_end() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'chs_restore_end';
COMMENT ON FUNCTION chs.restore_end() IS 'trigger: turns foreign keys on again after rows of a dump have arrived';

-- Whoever may insert a version must not be able to stop all scoring with an invalid document.
CREATE FUNCTION chs.restore_version() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Scoring relies on that.
    LOCK TABLE chs.scorecard_versions IN SHARE ROW EXCLUSIVE MODE;
    PERFORM chs.document_series(NEW.document);
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION chs.restore_version() IS 'trigger: refuses invalid documents of versions, also from a dump';
CREATE TRIGGER restore_version BEFORE INSERT ON chs.scorecard_versions
    FOR EACH ROW EXECUTE FUNCTION chs.restore_version();
ALTER TABLE chs.scorecard_versions ENABLE ALWAYS TRIGGER restore_version;

-- Only for this script: makes a table be dumped, and its shipped rows be replaced by those of a dump.
CREATE FUNCTION chs.dump(relation regclass) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_extension_config_dump(relation, '');
    EXECUTE format('INSERT INTO chs.shipped SELECT DISTINCT c.relname, t.xmin FROM pg_class c, %1$s t WHERE c.oid = %2$s;
                    CREATE TRIGGER restore_begin BEFORE INSERT ON %1$s FOR EACH STATEMENT EXECUTE FUNCTION chs.restore_begin();
                    CREATE TRIGGER restore_end AFTER INSERT ON %1$s FOR EACH STATEMENT EXECUTE FUNCTION chs.restore_end();
                    ALTER TABLE %1$s ENABLE ALWAYS TRIGGER restore_begin, ENABLE ALWAYS TRIGGER restore_end',
                   relation, relation::oid);
END
$$;

SELECT chs.dump('chs.scorecards');
SELECT chs.dump('chs.factors');
SELECT chs.dump('chs.metrics');
SELECT chs.dump('chs.segments');
SELECT chs.dump('chs.targets');
SELECT chs.dump('chs.plugins');
SELECT chs.dump('chs.recommendations');
SELECT chs.dump('chs.segment_weights');
SELECT chs.dump('chs.scorecard_versions');
SELECT chs.dump('chs.scorecard_version_factors');
SELECT chs.dump('chs.event_types');
SELECT chs.dump('chs.customers');
SELECT chs.dump('chs.outcomes');
SELECT chs.dump('chs.backtests');
SELECT chs.dump('chs.fits');
SELECT chs.dump('chs.sources');
SELECT chs.dump('chs.rejected_events');
DROP FUNCTION chs.dump(regclass);

-- These ship no rows, and have no foreign key that is checked on insert.
SELECT pg_catalog.pg_extension_config_dump('chs.customer_events', '');
SELECT pg_catalog.pg_extension_config_dump('chs.health_scores', '');
SELECT pg_catalog.pg_extension_config_dump('chs.retention', '');
SELECT pg_catalog.pg_extension_config_dump('chs.daily_counts', '');
SELECT pg_catalog.pg_extension_config_dump('chs.counted_days', '');
SELECT pg_catalog.pg_extension_config_dump('chs.recounts', '');

SELECT pg_catalog.pg_extension_config_dump('chs.customers_customer_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('chs.backtests_backtest_seq', '');
SELECT pg_catalog.pg_extension_config_dump('chs.fits_fit_seq', '');
SELECT pg_catalog.pg_extension_config_dump('chs.customer_events_event_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('chs.health_scores_health_score_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('chs.sources_source_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('chs.rejected_events_rejected_id_seq', '');
