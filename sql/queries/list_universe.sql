-- First run of a minute: the members of the newest good refresh.
SELECT m.run_id AS universe_run_id, w.wallet_id, w.address
  FROM wallet_universe_members m
  JOIN wallets w USING (wallet_id)
 WHERE m.run_id = (SELECT run_id FROM wallet_universe_runs WHERE status = 'success' ORDER BY run_id DESC LIMIT 1)
 ORDER BY m.rank
