-- The wallets of which most minutes are missing since then, dirty ones next: at most `wallets`. Columns are
-- model.TroubledWallet's. A wallet's three cells are missing together, and for one reason.
WITH minutes AS MATERIALIZED (
  SELECT wallet_id, snapshot_ts, min(missing_reason)::text AS reason, bool_or(is_dirty) AS is_dirty
    FROM wallet_snapshots
   WHERE snapshot_ts >= %(since)s
     AND (missing_reason IS NOT NULL OR is_dirty)
   GROUP BY wallet_id, snapshot_ts),
reasons AS (
  SELECT wallet_id, reason, count(*)::int AS missing, count(*) FILTER (WHERE is_dirty) AS dirty
    FROM minutes
   GROUP BY wallet_id, reason),
worst AS (
  SELECT wallet_id,
         coalesce(jsonb_object_agg(reason, missing) FILTER (WHERE reason IS NOT NULL), '{}') AS missing,
         coalesce(sum(missing) FILTER (WHERE reason IS NOT NULL), 0)::int                    AS minutes_missing,
         sum(dirty)::int                                                                     AS minutes_dirty
    FROM reasons
   GROUP BY wallet_id
   ORDER BY minutes_missing DESC, minutes_dirty DESC, wallet_id
   LIMIT %(wallets)s)
SELECT w.address, worst.missing, worst.minutes_missing, worst.minutes_dirty
  FROM worst
  JOIN wallets w USING (wallet_id)
 ORDER BY worst.minutes_missing DESC, worst.minutes_dirty DESC, worst.wallet_id
