-- Online Retail: the orders of a shop, from the directory that the environment variable ONLINERETAIL names, as events; and a
-- card that somebody would write for it before looking at any outcome.
\getenv data ONLINERETAIL
\set file :data '/orders.csv'
CREATE TABLE public.orders (invoice text, customer bigint, country text, ordered_at timestamp, items integer, products integer, amount numeric);
COPY public.orders FROM :'file' (FORMAT csv, HEADER);
INSERT INTO chs.event_types (event_type, positive) VALUES ('purchase', '{}');
INSERT INTO chs.customers (customer_id, created_at) OVERRIDING SYSTEM VALUE SELECT customer, min(ordered_at) AT TIME ZONE 'UTC' FROM public.orders GROUP BY 1;
INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)
SELECT customer, 'purchase', jsonb_build_object('amount', amount), ordered_at AT TIME ZONE 'UTC' FROM public.orders;
DELETE FROM chs.factors;
SELECT chs_add_factor(f, w, scale => false, metrics => jsonb_build_array(m || jsonb_build_object('metric', f, 'event_type', 'purchase'))) FROM (VALUES
    (1, 'recency', 0.40, '{"aggregate": "days_since_last", "window_days": 365, "curve": "0:100 30:90 90:50 180:20 365:0", "missing": "zero"}'::jsonb),
    (2, 'orders_90', 0.15, '{"aggregate": "count", "window_days": 90, "curve": "0:0 3:100", "missing": "zero"}'),
    (3, 'orders_365', 0.15, '{"aggregate": "count", "window_days": 365, "curve": "0:0 12:100", "missing": "zero"}'),
    (4, 'spend_365', 0.20, '{"aggregate": "sum", "field": "amount", "window_days": 365, "curve": "0:0 5000:100", "missing": "zero"}'),
    (5, 'growth_90', 0.10, '{"aggregate": "growth", "window_days": 90, "curve": "-1:0 0:50 1:100"}')) v(n, f, w, m) ORDER BY n \g /dev/null
SELECT chs_publish('written by hand') \g /dev/null
CALL chs_recalculate_all();
