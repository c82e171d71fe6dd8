-- A cell was seen within its minute.
SELECT snapshot_ts, wallet_id, asset::text AS asset,
       concat('seen at ', to_char(observed_at, 'YYYY-MM-DD HH24:MI:SS.US')) AS found
  FROM wallet_snapshots
 WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s
   AND (observed_at < snapshot_ts OR observed_at >= snapshot_ts + interval '60 s')
 ORDER BY snapshot_ts, wallet_id, wallet_snapshots.asset
