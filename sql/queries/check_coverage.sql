-- A run's wallets known, unknown, percent are its cells'.
WITH known AS MATERIALIZED (
  SELECT snapshot_ts, wallet_id
    FROM wallet_snapshots
   WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s
   GROUP BY snapshot_ts, wallet_id
  HAVING count(position_szi) = count(*)),
run AS (
  SELECT snapshot_ts, universe_run_id, wallets_succeeded, wallets_failed, coverage_pct
    FROM ingest_runs
   WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s
     AND pruned_at IS NULL),
counted AS (
  SELECT r.snapshot_ts, count(m.wallet_id) AS members, count(k.wallet_id) AS succeeded
    FROM run r
    LEFT JOIN wallet_universe_members m ON m.run_id = r.universe_run_id
    LEFT JOIN known k ON k.snapshot_ts = r.snapshot_ts AND k.wallet_id = m.wallet_id
   GROUP BY r.snapshot_ts),
recomputed AS (
  SELECT snapshot_ts, succeeded, members - succeeded AS failed,
         coalesce(trunc(100.0 * succeeded / nullif(members, 0), 2), 0) AS coverage_pct
    FROM counted)
SELECT r.snapshot_ts, NULL::int AS wallet_id, NULL::text AS asset,
       concat_ws('; ',
         CASE WHEN r.wallets_succeeded IS DISTINCT FROM c.succeeded
              THEN concat('wallets_succeeded ', r.wallets_succeeded, ', ', c.succeeded, ' by the cells') END,
         CASE WHEN r.wallets_failed IS DISTINCT FROM c.failed
              THEN concat('wallets_failed ', r.wallets_failed, ', ', c.failed, ' by the cells') END,
         CASE WHEN r.coverage_pct IS DISTINCT FROM c.coverage_pct
              THEN concat('coverage_pct ', r.coverage_pct, ', ', c.coverage_pct, ' by the cells') END) AS found
  FROM run r
  JOIN recomputed c USING (snapshot_ts)
 WHERE (r.wallets_succeeded, r.wallets_failed, r.coverage_pct) IS DISTINCT FROM (c.succeeded, c.failed, c.coverage_pct)
 ORDER BY r.snapshot_ts
