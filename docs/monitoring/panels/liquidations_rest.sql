-- The mark that the ladder goes by, and the wallets on it, beyond it, open without a liquidation price, which is normal for
-- cross-margined longs, and not known: missing or dirty. Without an open cross-margined position there is no mark.
WITH newest AS MATERIALIZED (
  SELECT max(snapshot_ts) AS minute
    FROM ingest_runs
   WHERE $__timeFilter(snapshot_ts)
     AND status <> 'failed'
     AND suspect = '{}'
     AND pruned_at IS NULL),
cell AS MATERIALIZED (
  SELECT snapshot_ts, asset, CASE WHEN NOT is_dirty THEN position_szi END AS szi, liq_px, leverage_type, margin_used, leverage
    FROM wallet_snapshots
   WHERE snapshot_ts = (SELECT minute FROM newest)
     AND $__timeFilter(snapshot_ts)
     AND asset IN (${asset:sqlstring})),
mark AS (
  SELECT asset, percentile_disc(0.5) WITHIN GROUP (ORDER BY abs(margin_used * leverage / szi)) AS px
    FROM cell
   WHERE szi <> 0
     AND leverage_type = 'cross'
   GROUP BY asset)
SELECT c.snapshot_ts AS minute, c.asset::text AS asset, m.px AS mark,
       count(*) FILTER (WHERE c.szi <> 0 AND floor(100 * (c.liq_px / nullif(m.px, 0) - 1)) BETWEEN -25 AND 24)     AS on_ladder,
       count(*) FILTER (WHERE c.szi <> 0 AND floor(100 * (c.liq_px / nullif(m.px, 0) - 1)) NOT BETWEEN -25 AND 24) AS beyond,
       count(*) FILTER (WHERE c.szi <> 0 AND c.liq_px IS NULL)                                                    AS no_price,
       count(*) FILTER (WHERE c.szi IS NULL)                                                                      AS not_known
  FROM cell c
  LEFT JOIN mark m USING (asset)
 GROUP BY c.snapshot_ts, c.asset, m.px
 ORDER BY c.asset
