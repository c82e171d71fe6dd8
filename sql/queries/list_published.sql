-- What was published for each minute of [begins, ends), whether its cells are still there or not.
SELECT snapshot_ts, rows_written, fingerprint, pruned_at IS NOT NULL AS is_pruned
  FROM ingest_runs
 WHERE snapshot_ts >= %(begins)s
   AND snapshot_ts < %(ends)s
