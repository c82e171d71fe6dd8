-- From the start of a run to its publication, in the slowest minute of each point and on average. Fetching ends at 50 s.
SELECT $__timeGroup(snapshot_ts, $__interval, NULL) AS "time",
       max(duration_ms) / 1000.0 AS "slowest", avg(duration_ms) / 1000.0 AS "average"
  FROM ingest_runs
 WHERE $__timeFilter(snapshot_ts)
 GROUP BY 1
 ORDER BY 1
