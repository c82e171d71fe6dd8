-- A minute is whole, numbered by the minutes since 1970.
WITH minute AS MATERIALIZED (
  SELECT snapshot_ts, ingest_run_id, count(*) AS n, min(wallet_id) AS wallet_id, min(asset) AS asset
    FROM wallet_snapshots
   WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s
   GROUP BY snapshot_ts, ingest_run_id)
SELECT snapshot_ts, CASE WHEN n = 1 THEN wallet_id END AS wallet_id, CASE WHEN n = 1 THEN asset::text END AS asset,
       concat(n, ' rows of run ', ingest_run_id, ', at minute ', trim_scale(extract(epoch FROM snapshot_ts) / 60)) AS found
  FROM minute
 WHERE ingest_run_id IS DISTINCT FROM extract(epoch FROM snapshot_ts) / 60
 UNION ALL
SELECT snapshot_ts, NULL, NULL, concat('run ', run_id, ' at minute ', trim_scale(extract(epoch FROM snapshot_ts) / 60))
  FROM ingest_runs
 WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s
   AND run_id IS DISTINCT FROM extract(epoch FROM snapshot_ts) / 60
 ORDER BY snapshot_ts, wallet_id
