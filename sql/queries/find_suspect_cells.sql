-- The cells for which this minute is suspect. Columns are those of find_odd_cells.
SELECT snapshot_ts, wallet_id, asset::text AS asset, word AS reason, NULL::numeric AS position_szi, 'other' AS anomaly_type,
       details::text AS details
  FROM suspect_cells(%(minute)s::timestamptz, minutes_after(%(minute)s::timestamptz, 1))
 ORDER BY snapshot_ts, wallet_id, asset
