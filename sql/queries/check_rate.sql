-- No 60 s of requests weigh more than 5/6 of the limit.
-- A request weighs 2, and the minute before counts. A run without a limit, or from before it was written down, is left out.
WITH run AS (
  SELECT snapshot_ts, rate_limit, sent_per_second
    FROM ingest_runs
   WHERE snapshot_ts >= %(since)s::timestamptz - interval '1 min' AND snapshot_ts < %(until)s),
sent AS (
  SELECT r.snapshot_ts, r.rate_limit,
         sum(2 * s.requests) OVER (ORDER BY r.snapshot_ts + s.second * interval '1 s'
                                   RANGE BETWEEN interval '59 s' PRECEDING AND CURRENT ROW) AS weight
    FROM run r
   CROSS JOIN unnest(r.sent_per_second) WITH ORDINALITY AS s (requests, second)
   WHERE s.requests > 0)
SELECT snapshot_ts, NULL::int AS wallet_id, NULL::text AS asset,
       concat('weight ', max(weight), ' in 60 s, 5/6 of ', rate_limit, ' allowed') AS found
  FROM sent
 WHERE snapshot_ts >= %(since)s
   AND rate_limit > 0
   AND 6 * weight > 5 * rate_limit
 GROUP BY snapshot_ts, rate_limit
 ORDER BY snapshot_ts
