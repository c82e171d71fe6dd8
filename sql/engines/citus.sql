-- Spreads wallet_snapshots over a Citus cluster: cells by wallet_id on the workers, everything else on the coordinator.
-- psql runs it, in a database that has hlctl's schema, as the owner of the tables. docs/scaling.md has the whole way, with what
-- stands before it: the extension on every node, and the workers made known. Stop the timers first: writers wait meanwhile.
--
-- Run it again after a `hlctl init-db` that migrated, which may have put a function of plain PostgreSQL back: `hlctl doctor`
-- says so. A table that is distributed already is left as it is. The way back is citus_back.sql.
--
-- Tried outside of this repository, with Citus 13.2.2 on PostgreSQL 15.18, a coordinator and two workers on one machine, and an
-- earlier schema: create_distributed_table as below (865,000 cells in 2.8 s), truncate_local_data_after_distributing_table,
-- minutes, re-runs, partitions and audits on the result, and undistribute_table. Never run on Citus: the functions as they are
-- written here, create_distributed_function of the two below, and the columns' grants of a writer. Citus 14 needs PostgreSQL
-- 16 to 18 and was not tried.
--
-- Afterwards: `hlctl doctor`, `hlctl snapshot` as the role that records, `hlctl verify`, `hlctl status --verbose`.
-- If a worker refuses that role ("permission denied for table wallet_snapshots_..."), its version of Citus does not carry grants
-- on columns to the shards, as none before 13.1 does: GRANT INSERT, UPDATE ON wallet_snapshots TO that role.

\set ON_ERROR_STOP on
\set QUIET on
SET search_path = public, pg_temp;
SET statement_timeout = 0;
SET lock_timeout = '10s';

SELECT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = 'wallet_snapshots'::regclass) AS is_distributed \gset

\if :is_distributed
\echo wallet_snapshots is distributed already: only the functions are put back
\else

-- Few shards: a minute touches all of them. With 4 a minute took 2.6 times as long as on plain PostgreSQL, with Citus' own 32
-- it took 12 times as long. Two a worker leave room to move one.
SELECT create_distributed_table('wallet_snapshots', 'wallet_id', shard_count => 4);

-- The rows that were copied to the workers lie here still, unseen.
SELECT truncate_local_data_after_distributing_table('wallet_snapshots');

\endif

BEGIN;

-- They serve the coordinator alone: the workers have neither the tables that they read nor a use for them.
SET LOCAL citus.enable_ddl_propagation = off;

-- Citus refuses a function in SQL that reads a distributed table by its parameters ("Consider using PL/pgSQL functions
-- instead."), and takes the same statement in PL/pgSQL. Its text is not repeated here: it is the migrations', as the server has it.
SELECT format(E'CREATE OR REPLACE FUNCTION %I(%s) RETURNS %s\nLANGUAGE plpgsql STABLE\nAS %L',
              p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
              E'-- engine: citus\n#variable_conflict use_column\nBEGIN\n  RETURN QUERY'
              || regexp_replace(pg_get_function_sqlbody(p.oid), '^BEGIN ATOMIC', '')) AS statement
  FROM pg_proc p
 WHERE p.oid IN ('odd_cells(timestamptz, timestamptz)'::regprocedure, 'suspect_cells(timestamptz, timestamptz)'::regprocedure)
   AND p.prosqlbody IS NOT NULL
\gexec

CREATE OR REPLACE FUNCTION stray_cells(since timestamptz, until timestamptz)
RETURNS TABLE (snapshot_ts timestamptz, wallet_id int, asset asset)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
-- engine: citus
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT c.snapshot_ts, c.wallet_id, c.asset
    FROM public.wallet_snapshots_default c
   WHERE c.snapshot_ts >= since AND c.snapshot_ts < until;
END
$$;

-- The partitions of the coordinator are empty, so its own sizes say nothing. Without a worker this is an error, and no zero.
CREATE OR REPLACE FUNCTION cell_storage()
RETURNS TABLE (total_bytes bigint, days int, oldest_day date, newest_day date)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO'
AS $$
  -- engine: citus
  SELECT citus_total_relation_size('public.wallet_snapshots'), count(part.day)::int, min(part.day), max(part.day)
    FROM (SELECT substring(pg_get_expr(c.relpartbound, c.oid) FROM $re$FROM \('(\d{4}-\d\d-\d\d) $re$)::date AS day
            FROM pg_inherits i
            JOIN pg_class c ON c.oid = i.inhrelid
           WHERE i.inhparent = 'public.wallet_snapshots'::regclass) AS part
$$;

-- Here and below a statement reads cells or something else, never both. The day of a cell is told without the session's time
-- zone, which a worker need not share.
CREATE OR REPLACE FUNCTION stored_days(until date)
RETURNS TABLE (day date, bytes bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
-- engine: citus
#variable_conflict use_column
DECLARE
  stray   date;
  strayed date[] := '{}';
BEGIN
  FOR stray IN SELECT DISTINCT (s.snapshot_ts AT TIME ZONE 'UTC')::date FROM public.wallet_snapshots_default s LOOP
    strayed := strayed || stray;
  END LOOP;
  RETURN QUERY
  SELECT stored.day, sum(stored.bytes)::bigint
    FROM (SELECT to_date(right(c.relname::text, 8), 'YYYYMMDD') AS day, citus_total_relation_size(c.oid::regclass) AS bytes
            FROM pg_inherits i
            JOIN pg_class c ON c.oid = i.inhrelid
           WHERE i.inhparent = 'public.wallet_snapshots'::regclass
             AND c.relname::text ~ '^wallet_snapshots_[0-9]{8}$'
           UNION
          SELECT unnest(strayed), 0) AS stored
   WHERE stored.day < until
   GROUP BY stored.day;
END
$$;

CREATE OR REPLACE FUNCTION ensure_partitions(days int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '2s'
AS $$
-- engine: citus
DECLARE
  today   date := public.hlctl_clock()::date;
  strayed date[] := '{}';
  wanted  date[];
  d       date;
  day     text;
  made    int := 0;
BEGIN
  IF days IS NULL OR days NOT BETWEEN 0 AND 31 THEN
    RAISE EXCEPTION 'days must be 0 to 31' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  FOR d IN SELECT DISTINCT (c.snapshot_ts AT TIME ZONE 'UTC')::date FROM public.wallet_snapshots_default c LOOP
    strayed := strayed || d;
  END LOOP;
  SELECT array_agg(g ORDER BY g < today, g)
    INTO wanted
    FROM (SELECT g
            FROM (SELECT today + n FROM generate_series(0, days) AS n
                   UNION
                  SELECT s FROM unnest(strayed) AS s WHERE s < today) AS day (g)
           WHERE to_regclass(format('public.wallet_snapshots_%s', to_char(g, 'YYYYMMDD'))) IS NULL
           ORDER BY g < today, g
           LIMIT 64) AS day;
  IF wanted IS NULL THEN
    RETURN 0;
  END IF;
  -- Two callers at once: the second waits here and finds the work done.
  PERFORM pg_advisory_xact_lock(1751908352, -3);
  FOREACH d IN ARRAY wanted LOOP
    day := format('wallet_snapshots_%s', to_char(d, 'YYYYMMDD'));
    CONTINUE WHEN to_regclass(format('public.%I', day)) IS NOT NULL;
    EXIT WHEN d < today AND clock_timestamp() > statement_timestamp() + interval '5 s';
    EXECUTE format('CREATE TABLE public.%I (LIKE public.wallet_snapshots INCLUDING ALL)', day);
    PERFORM public.tune_cells(format('public.%I', day));
    EXECUTE format('WITH strayed AS (DELETE FROM public.wallet_snapshots_default
                                      WHERE snapshot_ts >= %1$L AND snapshot_ts < %2$L RETURNING *)
                    INSERT INTO public.%3$I SELECT * FROM strayed', d::timestamptz, (d + 1)::timestamptz, day);
    EXECUTE format('ALTER TABLE public.wallet_snapshots ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
                   day, d::timestamptz, (d + 1)::timestamptz);
    made := made + 1;
  END LOOP;
  RETURN made;
END
$$;

CREATE OR REPLACE FUNCTION drop_day(day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '200ms'
AS $$
-- engine: citus
DECLARE
  begins   timestamptz := day;
  ends     timestamptz := day + 1;
  at       timestamptz := public.hlctl_clock();
  cells    regclass    := to_regclass(format('public.wallet_snapshots_%s', to_char(day, 'YYYYMMDD')));
  since    timestamptz;
  is_newer boolean;
BEGIN
  IF day IS NULL OR day >= at::date - 1 THEN
    RAISE EXCEPTION 'a day is dropped when it has been over for a whole day' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  -- That of ensure_partitions: one at a time changes the partitions.
  PERFORM pg_advisory_xact_lock(1751908352, -3);
  FOREACH since IN ARRAY ARRAY[at::date - 1, ends] LOOP
    -- EXECUTE, so that it is planned with the value and leaves the other days out.
    EXECUTE 'SELECT true FROM public.wallet_snapshots WHERE snapshot_ts >= $1 LIMIT 1' INTO is_newer USING since;
    EXIT WHEN is_newer;
  END LOOP;
  IF is_newer IS NOT TRUE THEN
    RAISE EXCEPTION 'the newest day is never dropped' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  DELETE FROM public.snapshot_anomalies WHERE snapshot_ts >= begins AND snapshot_ts < ends;
  UPDATE public.ingest_runs SET pruned_at = at
   WHERE snapshot_ts >= begins AND snapshot_ts < ends AND pruned_at IS NULL;
  DELETE FROM public.wallet_snapshots_default WHERE snapshot_ts >= begins AND snapshot_ts < ends;
  IF EXISTS (SELECT FROM pg_inherits WHERE inhrelid = cells AND inhparent = 'public.wallet_snapshots'::regclass) THEN
    EXECUTE format('DROP TABLE %s', cells);
  END IF;
END
$$;

COMMIT;

-- Statements that reach the workers call these of cells; the others are reckoned on the coordinator.
SELECT create_distributed_function('cell_fingerprint(int, asset, numeric, numeric, numeric, numeric, leverage_type, numeric, timestamptz, missing_reason, smallint)');
SELECT create_distributed_function('minutes_after(timestamptz, int)');
