-- The days before today that have run rows, oldest first: how many cells were published, and whether the day is final, which
-- its last minute is two minutes after it began, and pruned.
SELECT date_trunc('day', snapshot_ts)::date AS day, sum(rows_written)::bigint AS cells,
       bool_or(pruned_at IS NOT NULL) AS is_pruned,
       date_trunc('day', snapshot_ts) + interval '1 day 1 min' <= hlctl_clock() AS is_final
  FROM ingest_runs
 WHERE snapshot_ts < date_trunc('day', hlctl_clock())
 GROUP BY date_trunc('day', snapshot_ts)
 ORDER BY day
