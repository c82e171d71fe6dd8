-- A figure is finite and possible: no NaN, no price < 0.
-- NaN and Infinity sort above every number.
SELECT snapshot_ts, wallet_id, asset::text AS asset,
       concat_ws(', ',
         CASE WHEN NOT abs(position_szi) < 1e15            THEN 'position_szi ' || position_szi END,
         CASE WHEN NOT (entry_px >= 0 AND entry_px < 1e15) THEN 'entry_px ' || entry_px END,
         CASE WHEN NOT (liq_px >= 0 AND liq_px < 1e15)     THEN 'liq_px ' || liq_px END,
         CASE WHEN NOT (leverage > 0 AND leverage <= 1000) THEN 'leverage ' || leverage END,
         CASE WHEN NOT abs(margin_used) < 1e15             THEN 'margin_used ' || margin_used END) AS found
  FROM wallet_snapshots
 WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s
   AND NOT coalesce(abs(position_szi) < 1e15
                AND coalesce(entry_px >= 0 AND entry_px < 1e15, true)
                AND coalesce(liq_px >= 0 AND liq_px < 1e15, true)
                AND coalesce(leverage > 0 AND leverage <= 1000, true)
                AND coalesce(abs(margin_used) < 1e15, true), true)
 ORDER BY snapshot_ts, wallet_id, wallet_snapshots.asset
