-- The share of the wallets that are known, in the worst and in the best minute of each point. A break is a gap: nothing was
-- recorded.
SELECT $__timeGroup(snapshot_ts, $__interval, NULL) AS "time",
       min(coverage_pct) AS "worst", max(coverage_pct) AS "best"
  FROM ingest_runs
 WHERE $__timeFilter(snapshot_ts)
 GROUP BY 1
 ORDER BY 1
