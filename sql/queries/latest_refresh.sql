-- The newest refresh, accepted or not: a universe that cannot be renewed is known before it is old. Columns are
-- facts.RefreshRun's.
SELECT as_of_ts, status, n_received, churn_warning_count, error
  FROM wallet_universe_runs
 ORDER BY run_id DESC
 LIMIT 1
