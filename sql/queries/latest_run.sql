-- The newest recorded minute. Columns are model.Recorded's.
SELECT snapshot_ts, status, wallets_expected, wallets_succeeded, rows_expected, rows_written, coverage_pct, missing,
       attempts, universe_run_id
  FROM ingest_runs
 ORDER BY snapshot_ts DESC
 LIMIT 1
