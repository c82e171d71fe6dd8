-- How many cells are stored of [begins, ends).
SELECT count(*) AS cells
  FROM wallet_snapshots
 WHERE snapshot_ts >= %(begins)s
   AND snapshot_ts < %(ends)s
