-- How many leaderboards in a row changed more of the wallets than is usual, refused ones included; the third in a row keeps
-- the old wallets. A refresh that read nothing says nothing of it.
SELECT as_of_ts AS "time", churn_warning_count AS "in a row"
  FROM wallet_universe_runs
 WHERE n_received > 0
   AND $__timeFilter(as_of_ts)
 ORDER BY 1
