-- The days before today that have run rows, oldest first: how many cells were published, and whether the day is final, which
-- it is once the run of 00:01 is over too, which may mark cells of its last minute as dirty, and pruned.
SELECT date_trunc('day', snapshot_ts)::date AS day, sum(rows_written)::bigint AS cells,
       bool_or(pruned_at IS NOT NULL) AS is_pruned,
       date_trunc('day', snapshot_ts) + interval '1 day 2 min' <= hlctl_clock() AS is_final
  FROM ingest_runs
 WHERE snapshot_ts < date_trunc('day', hlctl_clock())
 GROUP BY date_trunc('day', snapshot_ts)
 ORDER BY day
