-- What the newest minute took. A request weighs 2, and five sixths of the limit may be used: minute.py plans by the same.
-- Columns are facts.Traffic's.
SELECT duration_ms, skew_ms, clock_offset_ms, requests_sent, retries, rate_limited,
       2 * requests_sent   AS weight,
       (rate_limit::bigint * 5 / 6)::int AS budget,
       error
  FROM ingest_runs
 WHERE snapshot_ts <= hlctl_clock()
 ORDER BY snapshot_ts DESC
 LIMIT 1
