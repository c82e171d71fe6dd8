-- What was sent to the exchange in the busiest minute of each point: requests, retries among them, and answers with 429.
SELECT $__timeGroup(snapshot_ts, $__interval, NULL) AS "time",
       max(requests_sent) AS "sent", max(retries) AS "retries", max(rate_limited) AS "429"
  FROM ingest_runs
 WHERE $__timeFilter(snapshot_ts)
 GROUP BY 1
 ORDER BY 1
