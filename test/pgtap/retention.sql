-- Old rows go in slices of customers: of all of them, and no others.

\ir begin.psql

INSERT INTO chs.customers (customer_id, created_at) SELECT i, '2020-01-01' FROM generate_series(1, 2500) i;
SELECT chs_process_queue() \g /dev/null
-- old for three of four
UPDATE chs.health_scores SET as_of = as_of - CASE WHEN customer_id % 4 = 0 THEN 10 ELSE 100 END;
SELECT is((SELECT count(*) FROM chs.health_scores), 2500::bigint, 'everybody has a row');

SET LOCAL chs.history_retention = '60d';
SELECT is((SELECT history_deleted FROM chs_apply_retention(700)), 700::bigint, 'as many as asked for');
SELECT is((SELECT complete FROM chs.retention WHERE kind = 'history'), false, 'there are more');
SELECT is((SELECT history_deleted FROM chs_apply_retention()), 1175::bigint, 'the rest of all slices');
SELECT is((SELECT complete FROM chs.retention WHERE kind = 'history'), true, 'there are none left');
SELECT is_empty('SELECT FROM chs.health_scores WHERE as_of < current_date - 60', 'what is old is gone');
SELECT is((SELECT count(*) FROM chs.health_scores), 625::bigint, 'and nothing else');
SELECT is((SELECT history_deleted FROM chs_apply_retention()), 0::bigint, 'nothing is left to do');

SELECT * FROM finish();
ROLLBACK;
