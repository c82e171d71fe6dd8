-- How many wallets are long and short in the last usable minute of each point, and how many are not known: missing or dirty.
-- The others are flat. A step in what is not known is no trade, nor is one at a refresh: the wallets are others.
WITH point AS MATERIALIZED (
  SELECT $__timeGroup(snapshot_ts, $__interval, NULL) AS bucket, max(snapshot_ts) AS minute
    FROM ingest_runs
   WHERE $__timeFilter(snapshot_ts)
     AND status <> 'failed'
     AND suspect = '{}'
     AND pruned_at IS NULL
   GROUP BY 1)
SELECT p.bucket AS "time", e.long, e.short, e.unknown AS "not known"
  FROM point p
 CROSS JOIN LATERAL (
       SELECT count(*) FILTER (WHERE position_szi > 0 AND NOT is_dirty)   AS long,
              count(*) FILTER (WHERE position_szi < 0 AND NOT is_dirty)   AS short,
              count(*) FILTER (WHERE position_szi IS NULL OR is_dirty)    AS unknown
         FROM wallet_snapshots
        WHERE snapshot_ts = p.minute
          AND $__timeFilter(snapshot_ts)
          AND asset IN (${asset:sqlstring})) AS e
 ORDER BY 1
