-- Makes wallet_snapshots a hypertable of TimescaleDB, with a chunk for each UTC day, in one transaction.
-- psql runs it, in a database that has hlctl's schema and the extension in its schema public, as the owner of the tables.
-- Nobody reads or writes cells meanwhile, and the disk must hold them twice. Stop the timers first.
--
-- Run it again after a `hlctl init-db` that migrated, which may have put a function of plain PostgreSQL back: `hlctl doctor`
-- says so. A hypertable is left as it is. The way back is timescaledb_back.sql.
--
-- Tried outside of this repository, with TimescaleDB 2.28.3 (its Apache-2 edition) on PostgreSQL 15.18 and an earlier schema:
-- LIKE, create_hypertable, the copy (864,000 cells in 6.5 s for the whole transaction), drop_chunks, minutes, re-runs and audits
-- on the result. Never run on TimescaleDB: keep.sql, and the functions as they are written here. TimescaleDB 2.29 needs
-- PostgreSQL 16 to 18 and was not tried.
--
-- Afterwards: `hlctl init-db`, which finds nothing to grant, `hlctl doctor`, `hlctl snapshot`, `hlctl verify`,
-- `hlctl status --verbose`.

\set ON_ERROR_STOP on
\set QUIET on
SET search_path = public, pg_temp;
SET timezone = 'UTC';
SET statement_timeout = 0;
SET lock_timeout = '10s';

SELECT EXISTS (SELECT FROM timescaledb_information.hypertables
                WHERE hypertable_schema = 'public' AND hypertable_name = 'wallet_snapshots') AS is_hypertable \gset

BEGIN;

\if :is_hypertable
\echo wallet_snapshots is a hypertable already: only the functions are put back
\else

LOCK TABLE wallet_snapshots IN ACCESS EXCLUSIVE MODE;
\ir keep.sql

-- A partitioned table cannot become a hypertable, so another takes its place.
ALTER TABLE wallet_snapshots RENAME TO wallet_snapshots_partitioned;
ALTER INDEX wallet_snapshots_pkey RENAME TO wallet_snapshots_partitioned_pkey;
ALTER INDEX wallet_snapshots_series RENAME TO wallet_snapshots_partitioned_series;
CREATE TABLE wallet_snapshots (LIKE wallet_snapshots_partitioned INCLUDING ALL);
ALTER INDEX wallet_snapshots_wallet_id_asset_snapshot_ts_idx RENAME TO wallet_snapshots_series;
SELECT create_hypertable('wallet_snapshots', by_range('snapshot_ts', interval '1 day'), create_default_indexes => false);
INSERT INTO wallet_snapshots SELECT * FROM wallet_snapshots_partitioned;

-- What reads cells is pointed at the new table and keeps its grants and comments. What keep.sql does not know makes the DROP
-- fail, and everything stays as it was.
SELECT statement FROM kept WHERE what = 'definition' \gexec
DROP TABLE wallet_snapshots_partitioned;
SELECT statement FROM kept WHERE what = 'right' \gexec
SELECT statement FROM kept WHERE what = 'comment' \gexec

\endif

-- A chunk appears with its first cell, so there is never a day to make and no cell strays.
CREATE OR REPLACE FUNCTION ensure_partitions(days int) RETURNS int
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '2s'
AS $$
  -- engine: timescaledb
  SELECT 0
$$;

CREATE OR REPLACE FUNCTION stray_cells(since timestamptz, until timestamptz)
RETURNS TABLE (snapshot_ts timestamptz, wallet_id int, asset asset)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
  -- engine: timescaledb
  SELECT c.snapshot_ts, c.wallet_id, c.asset FROM public.wallet_snapshots c WHERE false
$$;

-- Chunks are looked up by name in the catalogs: a cast to regclass would ask for a right on their schema.
CREATE OR REPLACE FUNCTION cell_storage()
RETURNS TABLE (total_bytes bigint, days int, oldest_day date, newest_day date)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO'
AS $$
  -- engine: timescaledb
  SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint, count(*)::int, min(k.range_start)::date, max(k.range_start)::date
    FROM timescaledb_information.chunks k
    JOIN pg_namespace n ON n.nspname = k.chunk_schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = k.chunk_name
   WHERE k.hypertable_schema = 'public' AND k.hypertable_name = 'wallet_snapshots'
$$;

CREATE OR REPLACE FUNCTION stored_days(until date)
RETURNS TABLE (day date, bytes bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
  -- engine: timescaledb
  SELECT k.range_start::date, sum(pg_total_relation_size(c.oid))::bigint
    FROM timescaledb_information.chunks k
    JOIN pg_namespace n ON n.nspname = k.chunk_schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = k.chunk_name
   WHERE k.hypertable_schema = 'public' AND k.hypertable_name = 'wallet_snapshots'
     AND k.range_start::date < until
   GROUP BY k.range_start::date
$$;

CREATE OR REPLACE FUNCTION drop_day(day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '200ms'
AS $$
-- engine: timescaledb
DECLARE
  begins timestamptz := day;
  ends   timestamptz := day + 1;
  at     timestamptz := public.hlctl_clock();
BEGIN
  IF day IS NULL OR day >= at::date - 1 THEN
    RAISE EXCEPTION 'a day is dropped when it has been over for a whole day' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  PERFORM pg_advisory_xact_lock(1751908352, -3);  -- one at a time
  IF NOT EXISTS (SELECT FROM public.wallet_snapshots WHERE snapshot_ts >= ends) THEN
    RAISE EXCEPTION 'the newest day is never dropped' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  DELETE FROM public.snapshot_anomalies WHERE snapshot_ts >= begins AND snapshot_ts < ends;
  UPDATE public.ingest_runs SET pruned_at = at
   WHERE snapshot_ts >= begins AND snapshot_ts < ends AND pruned_at IS NULL;
  -- Drops what lies wholly between the two: the chunk of the day.
  PERFORM public.drop_chunks('public.wallet_snapshots', older_than => ends, newer_than => begins);
END
$$;

COMMIT;

ANALYZE wallet_snapshots;
