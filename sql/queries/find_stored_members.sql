-- What the next refresh's turnover is measured against: the members stored last, in force or not, and how many warnings in a
-- row their refresh was. Columns: churn_warning_count, addresses (best first); no row if there never were any.
SELECT r.churn_warning_count, array_agg(w.address ORDER BY m.rank) AS addresses
  FROM wallet_universe_members m
  JOIN wallet_universe_runs r USING (run_id)
  JOIN wallets w USING (wallet_id)
 WHERE m.run_id = (SELECT max(run_id) FROM wallet_universe_members)
 GROUP BY r.run_id
