-- The wallets of which most minutes are missing from `since` up to `until`, dirty ones next: at most `wallets`. Columns are
-- facts.TroubledWallet's. Minutes that have not begun, which a clock that was put back may leave, are later. A wallet's three
-- cells are missing together and for one reason, so one of them is counted.
WITH cells AS MATERIALIZED (
  SELECT wallet_id, asset, snapshot_ts, missing_reason, is_dirty
    FROM wallet_snapshots
   WHERE snapshot_ts >= %(since)s
     AND snapshot_ts <= %(until)s
     AND (missing_reason IS NOT NULL OR is_dirty)),
reasons AS (
  SELECT wallet_id, missing_reason AS reason, count(*)::int AS minutes
    FROM cells
   WHERE missing_reason IS NOT NULL
     AND asset = 'BTC'
   GROUP BY wallet_id, missing_reason),
missing AS (
  SELECT wallet_id, jsonb_object_agg(reason, minutes) AS missing, sum(minutes)::int AS minutes_missing
    FROM reasons
   GROUP BY wallet_id),
dirty AS (
  SELECT wallet_id, count(DISTINCT snapshot_ts)::int AS minutes_dirty
    FROM cells
   WHERE is_dirty
   GROUP BY wallet_id),
worst AS (
  SELECT wallet_id, coalesce(missing, '{}') AS missing, coalesce(minutes_missing, 0) AS minutes_missing,
         coalesce(minutes_dirty, 0) AS minutes_dirty
    FROM missing
    FULL JOIN dirty USING (wallet_id)
   ORDER BY minutes_missing DESC, minutes_dirty DESC, wallet_id
   LIMIT %(wallets)s)
SELECT w.address, worst.missing, worst.minutes_missing, worst.minutes_dirty
  FROM worst
  JOIN wallets w USING (wallet_id)
 ORDER BY worst.minutes_missing DESC, worst.minutes_dirty DESC, worst.wallet_id
