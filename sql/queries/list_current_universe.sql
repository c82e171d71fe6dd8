-- The universe in force, best first. Columns: address, rank.
SELECT w.address, u.rank
  FROM wallet_universe_current u
  JOIN wallets w USING (wallet_id)
 ORDER BY u.rank
