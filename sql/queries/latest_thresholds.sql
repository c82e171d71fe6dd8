-- What the newest minute is judged by. Columns are facts.Thresholds'.
SELECT coverage_success, coverage_failed, stale_after, universe_stale_after
  FROM ingest_runs
 WHERE snapshot_ts <= hlctl_clock()
 ORDER BY snapshot_ts DESC
 LIMIT 1
