-- The cells of [begins, ends) that are not to be believed, and why: the one thing about a cell that its fingerprint leaves out.
SELECT snapshot_ts, wallet_id, asset::text AS asset, dirty_reason
  FROM wallet_snapshots
 WHERE snapshot_ts >= %(begins)s
   AND snapshot_ts < %(ends)s
   AND is_dirty
