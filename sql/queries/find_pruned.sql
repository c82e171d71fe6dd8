-- The last minute of those that a range begins with and whose cells were dropped on purpose; no row if it begins with others.
SELECT r.snapshot_ts, r.pruned_at
  FROM ingest_runs r
 WHERE r.snapshot_ts >= %(since)s
   AND r.snapshot_ts < coalesce((SELECT min(k.snapshot_ts)
                                   FROM ingest_runs k
                                  WHERE k.snapshot_ts >= %(since)s AND k.snapshot_ts < %(until)s
                                    AND k.pruned_at IS NULL), %(until)s)
   AND r.pruned_at IS NOT NULL
 ORDER BY r.snapshot_ts DESC
 LIMIT 1
