-- A COMMIT whose reply was lost: did it land? Columns are model.Recorded's.
SELECT snapshot_ts, status, wallets_expected, wallets_succeeded, rows_expected, rows_written, coverage_pct, missing,
       attempts, universe_run_id
  FROM ingest_runs
 WHERE snapshot_ts = %(minute)s
   AND attempt_id = %(attempt_id)s
