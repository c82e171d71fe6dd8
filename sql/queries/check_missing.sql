-- A run's missing wallets by reason are its cells'.
WITH unknown AS MATERIALIZED (
  SELECT snapshot_ts, wallet_id, coalesce(min(missing_reason)::text, 'none') AS reason
    FROM wallet_snapshots
   WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s
   GROUP BY snapshot_ts, wallet_id
  HAVING count(position_szi) < count(*)),
counted AS (
  SELECT r.snapshot_ts, u.reason, count(*) AS n
    FROM ingest_runs r
    JOIN wallet_universe_members m ON m.run_id = r.universe_run_id
    JOIN unknown u ON u.snapshot_ts = r.snapshot_ts AND u.wallet_id = m.wallet_id
   WHERE r.snapshot_ts >= %(since)s AND r.snapshot_ts < %(until)s
   GROUP BY r.snapshot_ts, u.reason),
recomputed AS (
  SELECT snapshot_ts, jsonb_object_agg(reason, n) AS missing
    FROM counted
   GROUP BY snapshot_ts)
SELECT r.snapshot_ts, NULL::int AS wallet_id, NULL::text AS asset,
       concat(r.missing, ', ', coalesce(c.missing, '{}'), ' by the cells') AS found
  FROM ingest_runs r
  LEFT JOIN recomputed c USING (snapshot_ts)
 WHERE r.snapshot_ts >= %(since)s AND r.snapshot_ts < %(until)s
   AND r.pruned_at IS NULL
   AND r.missing IS DISTINCT FROM coalesce(c.missing, '{}')
 ORDER BY r.snapshot_ts
