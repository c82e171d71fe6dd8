-- A run's status is what its cells and thresholds make it.
WITH known AS MATERIALIZED (
  SELECT snapshot_ts, wallet_id
    FROM wallet_snapshots
   WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s
   GROUP BY snapshot_ts, wallet_id
  HAVING count(position_szi) = count(*)),
run AS (
  SELECT snapshot_ts, universe_run_id, status, coverage_success, coverage_failed
    FROM ingest_runs
   WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s
     AND pruned_at IS NULL),
counted AS (
  SELECT r.snapshot_ts, count(m.wallet_id) AS expected, count(k.wallet_id) AS succeeded
    FROM run r
    LEFT JOIN wallet_universe_members m ON m.run_id = r.universe_run_id
    LEFT JOIN known k ON k.snapshot_ts = r.snapshot_ts AND k.wallet_id = m.wallet_id
   GROUP BY r.snapshot_ts),
recomputed AS (
  SELECT r.snapshot_ts, r.status AS stored, c.succeeded, c.expected,
         CASE WHEN c.expected > 0 AND 100 * c.succeeded >= r.coverage_success * c.expected THEN 'success'
              WHEN c.expected > 0 AND 100 * c.succeeded >= r.coverage_failed  * c.expected THEN 'partial'
              ELSE 'failed' END AS status
    FROM run r
    JOIN counted c USING (snapshot_ts))
SELECT snapshot_ts, NULL::int AS wallet_id, NULL::text AS asset,
       concat(stored, ', ', status, ' by ', succeeded, ' of ', expected, ' wallets') AS found
  FROM recomputed
 WHERE stored IS DISTINCT FROM status
 ORDER BY snapshot_ts
