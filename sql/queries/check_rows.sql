-- Each member of the pinned universe has its three cells.
-- A minute whose cells were dropped on purpose owes none. Members and cells are put together by grouping and not by a join:
-- of a minute that is newer than the statistics the planner expects one cell, and would compare each with every member.
WITH wallet AS MATERIALIZED (
  SELECT snapshot_ts, wallet_id, count(*) AS n
    FROM wallet_snapshots
   WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s
   GROUP BY snapshot_ts, wallet_id),
part AS (
  SELECT snapshot_ts, wallet_id, n, false AS is_member
    FROM wallet
   UNION ALL
  SELECT r.snapshot_ts, m.wallet_id, 0, true
    FROM ingest_runs r
    JOIN wallet_universe_members m ON m.run_id = r.universe_run_id
   WHERE r.snapshot_ts >= %(since)s AND r.snapshot_ts < %(until)s
     AND r.pruned_at IS NULL),
member AS (
  SELECT snapshot_ts, wallet_id, sum(n) AS n
    FROM part
   GROUP BY snapshot_ts, wallet_id
  HAVING bool_or(is_member))
SELECT snapshot_ts,
       CASE WHEN count(*) FILTER (WHERE n <> 3) = 1
            THEN min(wallet_id) FILTER (WHERE n <> 3) END AS wallet_id,
       NULL::text AS asset,
       concat(sum(n), ' rows, ', 3 * count(*), ' expected') AS found
  FROM member
 GROUP BY snapshot_ts
HAVING count(*) FILTER (WHERE n <> 3) > 0
 ORDER BY snapshot_ts
