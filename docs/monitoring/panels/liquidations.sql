-- Coins of which the exchange begins the liquidation at a price this far from the mark, in steps of 1 % up to 25 %, in the
-- last usable minute shown: longs below it, shorts above it. The record holds no prices: the mark is inferred, as the median
-- of margin times leverage by size over the cross-margined positions. Dirty cells are left out; what else is not on the
-- ladder is counted below.
WITH newest AS MATERIALIZED (
  SELECT max(snapshot_ts) AS minute
    FROM ingest_runs
   WHERE $__timeFilter(snapshot_ts)
     AND status <> 'failed'
     AND suspect = '{}'
     AND pruned_at IS NULL),
position AS MATERIALIZED (
  SELECT position_szi AS szi, liq_px, leverage_type, abs(margin_used * leverage / position_szi) AS px
    FROM wallet_snapshots
   WHERE snapshot_ts = (SELECT minute FROM newest)
     AND $__timeFilter(snapshot_ts)
     AND asset IN (${asset:sqlstring})
     AND position_szi <> 0
     AND NOT is_dirty),
mark AS (
  SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY px) AS px FROM position WHERE leverage_type = 'cross')
SELECT s.step || ' %' AS distance, sum(p.szi) FILTER (WHERE p.szi > 0) AS long, sum(-p.szi) FILTER (WHERE p.szi < 0) AS short
  FROM mark
 CROSS JOIN generate_series(-25, 24) AS s (step)
  LEFT JOIN position p ON floor(100 * (p.liq_px / nullif(mark.px, 0) - 1)) = s.step
 GROUP BY s.step
 ORDER BY s.step
