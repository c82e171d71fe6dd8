-- The newest minute that has cells, from `since` on; NULL if none has. Days before `since` are not opened.
SELECT max(snapshot_ts) AS minute
  FROM wallet_snapshots
 WHERE snapshot_ts >= %(since)s
