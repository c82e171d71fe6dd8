-- No cell is of a minute without a run, or of a pruned one.
WITH minute AS MATERIALIZED (
  SELECT snapshot_ts, count(*) AS n
    FROM wallet_snapshots
   WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s
   GROUP BY snapshot_ts)
SELECT m.snapshot_ts, NULL::int AS wallet_id, NULL::text AS asset,
       concat(m.n, ' rows, ', CASE WHEN r.snapshot_ts IS NULL THEN 'and no run recorded the minute'
                                   ELSE 'and they were pruned at ' || to_char(r.pruned_at, 'YYYY-MM-DD HH24:MI:SS') END) AS found
  FROM minute m
  LEFT JOIN ingest_runs r ON r.snapshot_ts = m.snapshot_ts AND r.snapshot_ts >= %(since)s AND r.snapshot_ts < %(until)s
 WHERE r.snapshot_ts IS NULL OR r.pruned_at IS NOT NULL
 ORDER BY m.snapshot_ts
