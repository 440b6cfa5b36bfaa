# shellcheck shell=bash
# Point 13: judging how well scores predict.  On one processor.

customers=$(size 10000 100000)
events=$((customers * 100))
database backtest "$customers"
export PGOPTIONS='-c max_parallel_workers_per_gather=0'
value "INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at) SELECT * FROM bench.events($events, $customers, 900)"
# One of four leaves some time within the two years.
value "UPDATE chs.customers SET created_at = now() - interval '900 days',
	churned_at = CASE WHEN bench.u(customer_id, 9) < 0.25 THEN now() - (20 + 700 * bench.u(customer_id, 8)) * interval '1 day' END"
settle
value "ANALYZE"

group backtest s "$(grouped "$customers") customers with $(grouped "$events") events, 24 origins a month apart"
sample backtest chs_backtest "$(timed "SELECT chs_backtest('churned', 90)")"
sample backtest 'of a fifth of the customers' "$(timed "SELECT chs_backtest('churned', 90, sample => 0.2)")"
target backtest chs_backtest '<=' "$(size 6 60)"

group memory MB "the most memory of the process that does it"
sample memory chs_backtest "$(psql -XAtq -v ON_ERROR_STOP=1 -c "SELECT chs_backtest('churned', 90)" -c "
	SELECT (regexp_match(pg_read_file('/proc/self/status'), 'RssAnon:\s+(\d+)'))[1]::numeric / 1024,
	       (regexp_match(pg_read_file('/proc/self/status'), 'VmHWM:\s+(\d+)'))[1]::numeric / 1024" | tail -n 1 | cut -d '|' -f 2)"
note "$(grouped "$(value "SELECT value::bigint FROM chs.backtest_figures WHERE backtest = 1 AND figure = 'rows'")") rows; VmHWM has shared_buffers in it, as far as it was touched."
leave
