-- The addresses of the universe in force, best first.
SELECT w.address
  FROM wallet_universe_current u
  JOIN wallets w USING (wallet_id)
 ORDER BY u.rank
