-- Re-run of a minute: the wallets of its pinned universe that still have no value.
-- Cells are reduced first, then joined: distributed engines refuse a subquery that correlates cells with another table.
WITH known AS MATERIALIZED (
  SELECT DISTINCT wallet_id FROM wallet_snapshots WHERE snapshot_ts = %(minute)s AND missing_reason IS NULL)
SELECT m.run_id AS universe_run_id, w.wallet_id, w.address
  FROM wallet_universe_members m
  JOIN wallets w USING (wallet_id)
 WHERE m.run_id = %(universe_run_id)s
   AND NOT EXISTS (SELECT FROM known k WHERE k.wallet_id = m.wallet_id)
 ORDER BY m.rank
