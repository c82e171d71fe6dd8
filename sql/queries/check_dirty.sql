-- Cells whose mark is not what the rules say, or that have a mark and no anomaly or the other way round. Only where the next
-- minute's run looked with these rules.
WITH judged AS (
  SELECT minutes_after(snapshot_ts, -1) AS snapshot_ts
    FROM ingest_runs
   WHERE snapshot_ts >= minutes_after(%(since)s, 1)
     AND snapshot_ts <  minutes_after(%(until)s, 1)
     AND anomaly_rules = 1),
rule AS MATERIALIZED (
  SELECT snapshot_ts, wallet_id, asset, reason FROM odd_cells(%(since)s, %(until)s)),
mark AS MATERIALIZED (
  SELECT snapshot_ts, wallet_id, asset, dirty_reason AS reason
    FROM wallet_snapshots
   WHERE snapshot_ts >= %(since)s
     AND snapshot_ts <  %(until)s
     AND is_dirty),
anomaly AS (
  SELECT snapshot_ts, wallet_id, asset, details ->> 'reason' AS reason
    FROM snapshot_anomalies
   WHERE snapshot_ts >= %(since)s
     AND snapshot_ts <  %(until)s
     AND details ? 'reason'),
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
         CASE WHEN mark.snapshot_ts IS NULL THEN 'anomaly without a mark: ' || reason
              ELSE 'marked as dirty without an anomaly: ' || reason END
    FROM mark
    FULL JOIN anomaly USING (snapshot_ts, wallet_id, asset, reason)
   WHERE mark.snapshot_ts IS NULL
      OR anomaly.snapshot_ts IS NULL)
SELECT snapshot_ts, wallet_id, asset::text AS asset, found
  FROM found
  JOIN judged USING (snapshot_ts)
 ORDER BY snapshot_ts, wallet_id, found.asset, found
