-- The newest recorded minute that has begun: a clock that was set back leaves others. Columns are model.Recorded's.
SELECT snapshot_ts, status, wallets_expected, wallets_succeeded, rows_expected, rows_written, coverage_pct, missing,
       attempts, universe_run_id
  FROM ingest_runs
 WHERE snapshot_ts <= hlctl_clock()
 ORDER BY snapshot_ts DESC
 LIMIT 1
