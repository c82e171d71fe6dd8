-- Second half: the members of this refresh are in force.
INSERT INTO wallet_universe_current (wallet_id, run_id, rank, month_pnl, month_roi, account_value, month_volume,
                                     is_vault, as_of_ts)
SELECT m.wallet_id, m.run_id, m.rank, m.month_pnl, m.month_roi, m.account_value, m.month_volume, m.is_vault, r.as_of_ts
  FROM wallet_universe_members m
  JOIN wallet_universe_runs r USING (run_id)
 WHERE m.run_id = %(run_id)s
