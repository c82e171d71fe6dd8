-- A position has its terms; flat and missing cells none.
SELECT snapshot_ts, wallet_id, asset::text AS asset,
       CASE WHEN position_szi <> 0
            THEN concat_ws(', ', 'a position', CASE WHEN leverage IS NULL THEN 'no leverage' END,
                                 CASE WHEN leverage_type IS NULL THEN 'no leverage_type' END,
                                 CASE WHEN margin_used IS NULL THEN 'no margin_used' END)
            ELSE concat_ws(', ', CASE WHEN position_szi = 0 THEN 'flat' ELSE 'missing' END,
                                 'entry_px ' || entry_px, 'liq_px ' || liq_px, 'leverage ' || leverage,
                                 'leverage_type ' || leverage_type, 'margin_used ' || margin_used) END AS found
  FROM wallet_snapshots
 WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s
   AND CASE WHEN position_szi <> 0 THEN leverage IS NULL OR leverage_type IS NULL OR margin_used IS NULL
            ELSE (entry_px, liq_px, leverage, leverage_type, margin_used) IS DISTINCT FROM (NULL, NULL, NULL, NULL, NULL) END
 ORDER BY snapshot_ts, wallet_id, wallet_snapshots.asset
