-- The universe in force is the newest good refresh's.
-- Asked once: it is of no minute.
WITH newest AS (
  SELECT m.wallet_id, m.run_id, m.rank, m.month_pnl, m.month_roi, m.account_value, m.month_volume, m.is_vault, r.as_of_ts
    FROM wallet_universe_members m
    JOIN wallet_universe_runs r USING (run_id)
   WHERE m.run_id = (SELECT max(run_id) FROM wallet_universe_runs WHERE status = 'success'))
SELECT NULL::timestamptz AS snapshot_ts, wallet_id, NULL::text AS asset,
       CASE WHEN n.run_id IS NULL THEN concat('in force by refresh ', c.run_id, ', and no member of the newest good one')
            WHEN c.run_id IS NULL THEN concat('member of refresh ', n.run_id, ', and not in force')
            ELSE concat('rank ', c.rank, ' by refresh ', c.run_id, ' in force, not as rank ', n.rank, ' of refresh ', n.run_id)
            END AS found
  FROM newest n
  FULL JOIN wallet_universe_current c USING (wallet_id)
 WHERE (n.run_id, n.rank, n.month_pnl, n.month_roi, n.account_value, n.month_volume, n.is_vault, n.as_of_ts)
       IS DISTINCT FROM (c.run_id, c.rank, c.month_pnl, c.month_roi, c.account_value, c.month_volume, c.is_vault, c.as_of_ts)
 ORDER BY wallet_id
