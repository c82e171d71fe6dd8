-- How much room the record takes, for how many days after today there is a partition, up to the first that has none (-1: not
-- even today; a clock that ran ahead leaves some of later days), and which tables have a day's name and are not its partition:
-- ensure_partitions takes their day for made, and drop_day drops by name. One that was detached to keep it when its day was
-- pruned is nobody's business.
-- Columns are checks.database.Growth's. The cells themselves are not read: their runs counted them. The size of a minute
-- is that of the newest that has begun.
WITH clock AS MATERIALIZED (
  SELECT (hlctl_clock() AT TIME ZONE 'UTC')::date AS today),
run AS (
  SELECT coalesce(sum(rows_written), 0)::bigint AS cells FROM ingest_runs WHERE pruned_at IS NULL),
newest AS (
  SELECT rows_expected FROM ingest_runs WHERE snapshot_ts <= hlctl_clock() ORDER BY snapshot_ts DESC LIMIT 1)
SELECT pg_database_size(current_database()) AS database_bytes, storage.total_bytes AS cell_bytes, run.cells,
       coalesce(newest.rows_expected, 0) AS cells_a_minute,
       (SELECT coalesce(min(n), 32) - 1
          FROM generate_series(0, 31) AS n
         WHERE to_regclass('public.wallet_snapshots_' || to_char(clock.today + n, 'YYYYMMDD')) IS NULL) AS days_ahead,
       ARRAY(SELECT p.name
               FROM (SELECT c.relname::text AS name, pg_get_expr(c.relpartbound, c.oid) AS bound
                       FROM pg_class c
                      WHERE c.relnamespace = 'public'::regnamespace
                        AND c.relname ~ '^wallet_snapshots_[0-9]{8}$') AS p
              CROSS JOIN LATERAL (SELECT substring(p.bound FROM 'FROM \(.(\d{4}-\d\d-\d\d) ')::date AS day) AS begins
              WHERE (p.bound IS DISTINCT FROM concat('FOR VALUES FROM (', quote_literal(day::timestamptz),
                                                 ') TO (', quote_literal((day + 1)::timestamptz), ')')
                     OR p.name <> 'wallet_snapshots_' || to_char(day, 'YYYYMMDD'))
                AND (p.bound IS NOT NULL
                     OR right(p.name, 8) >= to_char(clock.today, 'YYYYMMDD')
                     OR EXISTS (SELECT
                                  FROM ingest_runs r
                                 WHERE r.pruned_at IS NULL AND to_char(r.snapshot_ts, 'YYYYMMDD') = right(p.name, 8)))
              ORDER BY p.name) AS misplaced
  FROM clock
 CROSS JOIN cell_storage() AS storage
 CROSS JOIN run
  LEFT JOIN newest ON true
