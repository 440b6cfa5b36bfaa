-- Activities as of days to come or gone, by the aggregate itself.
SET search_path = bench, public;
\ir queue.sql

CREATE FUNCTION document() RETURNS jsonb LANGUAGE sql STABLE
    RETURN (SELECT document FROM chs.scorecard_versions WHERE live_at IS NOT NULL ORDER BY version DESC LIMIT 1);

-- Bytes of the activity of a customer who never does the same twice.
CREATE FUNCTION extreme_size(events bigint) RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT pg_column_size(chs.activity_prune(chs_activity_agg((SELECT bench.document()),
            (ARRAY['api_call', 'login', 'feature_use'])[1 + i % 3],
            jsonb_build_object('endpoint', i, 'user_id', i, 'feature_name', i, 'tier', 'basic'),
            now() - (i % 29) * interval '1 day'), (SELECT bench.document()), now()))
    FROM generate_series(1, events) i
$$;

-- Bytes of the activity of a customer of 2,000 events a year, as it is so many days after the first one.
CREATE FUNCTION size_at(days integer) RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT pg_column_size(chs.activity_prune(chs_activity_agg((SELECT bench.document()), event_type, event_data, occurred_at),
            (SELECT bench.document()), now() - (365 - days) * interval '1 day'))
    FROM bench.events(2000, 1, 365)
    WHERE occurred_at < now() - (365 - days) * interval '1 day'
$$;
