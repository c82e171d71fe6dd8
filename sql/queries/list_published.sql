-- What was published for each minute of [begins, ends), whether its cells are still there or not. A fingerprint that is gone,
-- though the rate limit is there that was first written down with it, is -1, which no cells have.
SELECT snapshot_ts, rows_written, coalesce(fingerprint, CASE WHEN rate_limit IS NOT NULL THEN -1 END) AS fingerprint,
       pruned_at IS NOT NULL AS is_pruned
  FROM ingest_runs
 WHERE snapshot_ts >= %(begins)s
   AND snapshot_ts < %(ends)s
