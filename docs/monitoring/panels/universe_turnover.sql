-- The wallets that entered and that left with each refresh that was believed.
SELECT as_of_ts AS "time", entered_count AS "entered", exited_count AS "exited"
  FROM wallet_universe_runs
 WHERE status = 'success'
   AND $__timeFilter(as_of_ts)
 ORDER BY 1
