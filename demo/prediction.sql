-- Does the score predict who leaves?  The company's own past says it: everybody's score as of many days, and what
-- happened in the 30 days after each.

\echo '## Does the score predict who leaves?'
SELECT chs_backtest('churned', 30, every => '7 days') AS report \gset
\pset tuples_only on
SELECT chs_backtest_report(:report);
\pset tuples_only off
