-- How much room the record takes, for how many days after today there is a partition (NULL: no partition at all), and which
-- tables have a day's name and are none: ensure_partitions takes their day for made.
-- Columns are checks.database.Growth's. The cells themselves are not read: their runs counted them. The size of a minute
-- is that of the newest that has begun.
WITH clock AS MATERIALIZED (
  SELECT (hlctl_clock() AT TIME ZONE 'UTC')::date AS today),
run AS (
  SELECT coalesce(sum(rows_written), 0)::bigint AS cells FROM ingest_runs WHERE pruned_at IS NULL),
newest AS (
  SELECT rows_expected FROM ingest_runs WHERE snapshot_ts <= hlctl_clock() ORDER BY snapshot_ts DESC LIMIT 1)
SELECT pg_database_size(current_database()) AS database_bytes, storage.total_bytes AS cell_bytes, run.cells,
       coalesce(newest.rows_expected, 0) AS cells_a_minute, storage.newest_day - clock.today AS days_ahead,
       ARRAY(SELECT relname::text
               FROM pg_class
              WHERE relnamespace = 'public'::regnamespace
                AND relname ~ '^wallet_snapshots_[0-9]{8}$'
                AND NOT relispartition
              ORDER BY relname) AS detached
  FROM clock
 CROSS JOIN cell_storage() AS storage
 CROSS JOIN run
  LEFT JOIN newest ON true
