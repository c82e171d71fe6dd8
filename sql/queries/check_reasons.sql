-- A cell has a size and a time, or a reason: never both.
SELECT snapshot_ts, wallet_id, asset::text AS asset,
       concat_ws(', ', CASE WHEN position_szi IS NULL THEN 'no size' ELSE 'a size' END,
                       CASE WHEN observed_at IS NULL THEN 'no time' ELSE 'a time' END,
                       coalesce('reason ' || missing_reason, 'no reason')) AS found
  FROM wallet_snapshots
 WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s
   AND ((position_szi IS NULL) <> (missing_reason IS NOT NULL) OR (position_szi IS NULL) <> (observed_at IS NULL))
 ORDER BY snapshot_ts, wallet_id, wallet_snapshots.asset
