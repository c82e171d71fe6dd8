-- The days before today that have run rows, oldest first: how many cells were published, and whether the day is final, which
-- it is once the run of 00:01 is over too, which may mark cells of its last minute as dirty, and pruned.
-- A clock that is ahead is corrected as for list_prunable_days: today is not over yet.
WITH newest AS (
  SELECT clock_offset_ms
    FROM ingest_runs
   WHERE snapshot_ts <= hlctl_clock()
     AND clock_offset_ms IS NOT NULL
   ORDER BY snapshot_ts DESC
   LIMIT 1),
clock AS (
  SELECT hlctl_clock() + coalesce((SELECT clock_offset_ms FROM newest WHERE clock_offset_ms < -65000), 0) * interval '1 ms' AS at)
SELECT date_trunc('day', snapshot_ts)::date AS day, sum(rows_written)::bigint AS cells,
       bool_or(pruned_at IS NOT NULL) AS is_pruned,
       date_trunc('day', snapshot_ts) + interval '1 day 2 min' <= clock.at AS is_final
  FROM clock
  JOIN ingest_runs r ON r.snapshot_ts < date_trunc('day', clock.at)
 GROUP BY date_trunc('day', snapshot_ts), clock.at
 ORDER BY day
