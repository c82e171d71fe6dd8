-- How far apart the first and the last answer of a minute are, and how far the exchange's clock is from the database's: the
-- worst of each point. A break: no answer came.
SELECT $__timeGroup(snapshot_ts, $__interval, NULL) AS "time",
       max(skew_ms) / 1000.0 AS "skew", max(abs(clock_offset_ms)) / 1000.0 AS "clock offset"
  FROM ingest_runs
 WHERE $__timeFilter(snapshot_ts)
 GROUP BY 1
 ORDER BY 1
