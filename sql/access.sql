-- Row-level security on chs.customers decides what scores and dashboards show.

INSERT INTO chs.customers (customer_id, name, segment, created_at) OVERRIDING SYSTEM VALUE
SELECT n, 'r-' || n, CASE WHEN n = 1 THEN 'smb' ELSE 'startup' END, '2020-01-01 00:00+00' FROM generate_series(1, 3) n;
SELECT FROM chs_process_queue();
CREATE ROLE regress_chs_reader;
GRANT SELECT ON chs.customers, chs.customer_health, chs.health_counts, chs.dashboard_stats, chs.customer_list TO regress_chs_reader;

SET ROLE regress_chs_reader;
SELECT total, critical FROM chs.dashboard_stats;
RESET ROLE;

ALTER TABLE chs.customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY startups ON chs.customers USING (segment = 'startup');
SET ROLE regress_chs_reader;
SELECT total, critical FROM chs.dashboard_stats;
SELECT customer_id FROM chs.customer_list ORDER BY 1;
SELECT chs_score(2);
SELECT chs_score(1);
SELECT chs_process_queue();
RESET ROLE;
SELECT total, critical FROM chs.dashboard_stats;

DROP POLICY startups ON chs.customers;
ALTER TABLE chs.customers DISABLE ROW LEVEL SECURITY;
DROP OWNED BY regress_chs_reader;
DROP ROLE regress_chs_reader;
DELETE FROM chs.customers;
SELECT FROM chs_process_queue();
