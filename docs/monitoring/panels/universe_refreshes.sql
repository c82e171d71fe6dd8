-- The newest refreshes, failed ones included, with what was wrong.
SELECT as_of_ts AS "time", status, source, n_received AS wallets, entered_count AS entered, exited_count AS exited, error
  FROM wallet_universe_runs
 WHERE $__timeFilter(as_of_ts)
 ORDER BY run_id DESC
 LIMIT 50
