-- Logical replication: tables of chs may be published, and rows that arrive are not mistaken for own ones.

-- A publication of all tables includes these, which have no primary key; rows of a published table can only be deleted
-- if they can be identified.  At wal_level = logical a row that is deleted is logged whole.
ALTER TABLE chs.queue REPLICA IDENTITY FULL;
ALTER TABLE chs.health_counts REPLICA IDENTITY FULL;
ALTER TABLE chs.daily_counts REPLICA IDENTITY FULL;
ALTER TABLE chs.partial_counts REPLICA IDENTITY FULL;
ALTER TABLE chs.recounts REPLICA IDENTITY FULL;
ALTER TABLE chs.missing_customers REPLICA IDENTITY FULL;
ALTER TABLE chs.shipped REPLICA IDENTITY FULL;
ALTER TABLE chs.targets REPLICA IDENTITY FULL;
ALTER TABLE chs.segment_weights REPLICA IDENTITY FULL;

CREATE FUNCTION chs.skip_replicated() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'chs_skip_replicated';
COMMENT ON FUNCTION chs.skip_replicated()
    IS 'trigger: ignores rows that arrive by logical replication; with argument "existing", only new ones whose key is there already';

-- Fired in replica mode only.  What is derived, each server derives from its own customers and events; and each has its own
-- rules.  Segments and event types belong to customers and events, so they come along; the shipped ones are there already.
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY '{activity,backtests,counted_days,customer_health,daily_counts,daily_movers,day_count,event_types,factors,failures,fits,health_counts,health_scores,jobs,metrics,missing_customers,partial_counts,pause,plugins,queue,
                         recommendations,recounts,rejected_events,retention,scorecard_version_factors,scorecard_versions,scorecards,
                         segment_weights,segments,shipped,sources,targets}'::text[] LOOP
        EXECUTE pg_catalog.format('CREATE TRIGGER "00_chs_skip_replicated" BEFORE INSERT OR UPDATE OR DELETE ON chs.%1$I
                                   FOR EACH ROW EXECUTE FUNCTION chs.skip_replicated(%2$s);
                                   ALTER TABLE chs.%1$I ENABLE REPLICA TRIGGER "00_chs_skip_replicated"',
                                  t, CASE WHEN t IN ('event_types', 'segments') THEN 'existing' END);
    END LOOP;
END
$$;
