-- A cell is dirty if the minutes around it make it so.
-- And only then; a mark has its anomaly, and an anomaly its mark. Only where the next minute's run looked with these rules,
-- and where no cell that it looked at was dropped since.
WITH judged AS (
  SELECT minutes_after(r.snapshot_ts, -1) AS snapshot_ts
    FROM ingest_runs r
   WHERE r.snapshot_ts >= minutes_after(%(since)s::timestamptz, 1)
     AND r.snapshot_ts <  minutes_after(%(until)s::timestamptz, 1)
     AND r.anomaly_rules = 1
     AND NOT EXISTS (SELECT
                       FROM ingest_runs p
                      WHERE p.snapshot_ts >= minutes_after(r.snapshot_ts, -2)
                        AND p.snapshot_ts <= r.snapshot_ts
                        AND p.pruned_at IS NOT NULL)),
rule AS MATERIALIZED (
  SELECT snapshot_ts, wallet_id, asset, reason FROM odd_cells(%(since)s::timestamptz, %(until)s::timestamptz)),
mark AS MATERIALIZED (
  SELECT snapshot_ts, wallet_id, asset,
         CASE WHEN is_dirty THEN coalesce(dirty_reason, 'without a reason') ELSE dirty_reason || ', without the mark' END AS reason,
         CASE dirty_reason WHEN 'stale_time' THEN 'other' ELSE dirty_reason END AS anomaly_type
    FROM wallet_snapshots
   WHERE snapshot_ts >= %(since)s
     AND snapshot_ts <  %(until)s
     AND (is_dirty OR dirty_reason IS NOT NULL)),
anomaly AS (  -- those with a kind and no reason are check_suspect's
  SELECT snapshot_ts, wallet_id, asset, details ->> 'reason' AS reason, anomaly_type
    FROM snapshot_anomalies
   WHERE snapshot_ts >= %(since)s
     AND snapshot_ts <  %(until)s
     AND (details ->> 'reason' IS NOT NULL OR details ->> 'kind' IS NULL)),
found AS (
  SELECT snapshot_ts, wallet_id, asset,
         CASE WHEN mark.reason IS NULL THEN 'not marked as dirty: ' || rule.reason
              WHEN rule.reason IS NULL THEN 'marked as dirty for nothing: ' || mark.reason
              ELSE 'marked as dirty: ' || mark.reason || ', should be ' || rule.reason END AS found
    FROM rule
    FULL JOIN mark USING (snapshot_ts, wallet_id, asset)
   WHERE rule.reason IS DISTINCT FROM mark.reason
   UNION ALL
  SELECT snapshot_ts, wallet_id, asset,
         CASE WHEN mark.snapshot_ts IS NULL THEN 'anomaly without a mark: ' || coalesce(reason, anomaly_type)
              ELSE 'marked as dirty without an anomaly: ' || reason END
    FROM mark
    FULL JOIN anomaly USING (snapshot_ts, wallet_id, asset, reason, anomaly_type)
   WHERE mark.snapshot_ts IS NULL
      OR anomaly.snapshot_ts IS NULL)
SELECT snapshot_ts, wallet_id, asset::text AS asset, found
  FROM found
  JOIN judged USING (snapshot_ts)
 ORDER BY snapshot_ts, wallet_id, found.asset, found
