-- Dirty cells without a mark: of the minute before, whose window this minute completes, and of the one before that, in case
-- its neighbour became visible only after that minute was published. Columns: of oddities.Odd, the size and the anomaly.
SELECT snapshot_ts, wallet_id, asset::text AS asset, reason, position_szi, anomaly_type, details::text AS details
  FROM odd_cells(minutes_after(%(minute)s::timestamptz, -2), %(minute)s::timestamptz)
 WHERE marked_as IS NULL
 ORDER BY snapshot_ts, wallet_id, asset
