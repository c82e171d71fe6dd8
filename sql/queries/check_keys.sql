-- No cell is of a wallet outside the pinned universe.
-- A member is looked up and not joined: after refreshes of fewer wallets the planner expects few, and would compare each cell
-- with every member. min(): without its key the table may have one twice, which is check_counts' business.
WITH wallet AS MATERIALIZED (
  SELECT snapshot_ts, wallet_id, count(*) AS n
    FROM wallet_snapshots
   WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s
   GROUP BY snapshot_ts, wallet_id)
SELECT w.snapshot_ts, w.wallet_id, NULL::text AS asset,
       concat(w.n, ' rows, no member of refresh ', r.universe_run_id) AS found
  FROM wallet w
  JOIN ingest_runs r ON r.snapshot_ts = w.snapshot_ts AND r.snapshot_ts >= %(since)s AND r.snapshot_ts < %(until)s
 WHERE (SELECT min(m.wallet_id)
          FROM wallet_universe_members m
         WHERE m.run_id = r.universe_run_id
           AND m.wallet_id = w.wallet_id) IS NULL
 ORDER BY w.snapshot_ts, w.wallet_id
