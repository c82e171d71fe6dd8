-- Each member of the pinned universe has its three cells.
-- A minute whose cells were dropped on purpose owes none.
WITH wallet AS MATERIALIZED (
  SELECT snapshot_ts, wallet_id, count(*) AS n
    FROM wallet_snapshots
   WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s
   GROUP BY snapshot_ts, wallet_id),
member AS MATERIALIZED (
  SELECT r.snapshot_ts, m.wallet_id
    FROM ingest_runs r
    JOIN wallet_universe_members m ON m.run_id = r.universe_run_id
   WHERE r.snapshot_ts >= %(since)s AND r.snapshot_ts < %(until)s
     AND r.pruned_at IS NULL)
SELECT m.snapshot_ts,
       CASE WHEN count(*) FILTER (WHERE w.n IS DISTINCT FROM 3) = 1
            THEN min(m.wallet_id) FILTER (WHERE w.n IS DISTINCT FROM 3) END AS wallet_id,
       NULL::text AS asset,
       concat(coalesce(sum(w.n), 0), ' rows, ', 3 * count(*), ' expected') AS found
  FROM member m
  LEFT JOIN wallet w USING (snapshot_ts, wallet_id)
 GROUP BY m.snapshot_ts
HAVING count(*) FILTER (WHERE w.n IS DISTINCT FROM 3) > 0
 ORDER BY m.snapshot_ts
