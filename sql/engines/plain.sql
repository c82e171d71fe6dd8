-- The functions that know how cells are kept, as the migrations leave them: for daily partitions. Part of the ways back.
-- A test compares them with a fresh schema.

-- From 0006_audit.sql.
CREATE OR REPLACE FUNCTION stray_cells(since timestamptz, until timestamptz)
RETURNS TABLE (snapshot_ts timestamptz, wallet_id int, asset asset)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.snapshot_ts, c.wallet_id, c.asset
    FROM public.wallet_snapshots_default c
   WHERE c.snapshot_ts >= since AND c.snapshot_ts < until
$$;

-- From 0009_storage.sql.
CREATE OR REPLACE FUNCTION cell_storage()
RETURNS TABLE (total_bytes bigint, days int, oldest_day date, newest_day date)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO'
AS $$
  SELECT coalesce(sum(pg_total_relation_size(part.oid)), 0)::bigint, count(part.day)::int, min(part.day), max(part.day)
    FROM (SELECT c.oid, substring(pg_get_expr(c.relpartbound, c.oid) FROM $re$FROM \('(\d{4}-\d\d-\d\d) $re$)::date AS day
            FROM pg_inherits i
            JOIN pg_class c ON c.oid = i.inhrelid
           WHERE i.inhparent = 'public.wallet_snapshots'::regclass) AS part
$$;

-- From 0010_prune.sql.
CREATE OR REPLACE FUNCTION stored_days(until date)
RETURNS TABLE (day date, bytes bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
  SELECT stored.day, sum(stored.bytes)::bigint
    FROM (SELECT to_date(right(c.relname::text, 8), 'YYYYMMDD') AS day, coalesce(pg_total_relation_size(c.oid), 0) AS bytes
            FROM pg_inherits i
            JOIN pg_class c ON c.oid = i.inhrelid
           WHERE i.inhparent = 'public.wallet_snapshots'::regclass
             AND c.relname::text ~ '^wallet_snapshots_[0-9]{8}$'
           UNION
          SELECT date_trunc('day', s.snapshot_ts)::date, 0
            FROM public.wallet_snapshots_default s) AS stored
   WHERE stored.day < until
   GROUP BY stored.day
$$;

-- From 0015_rights.sql.
CREATE OR REPLACE FUNCTION ensure_partitions(days int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '2s'
AS $$
DECLARE
  today  date := public.hlctl_clock()::date;
  wanted date[];
  d      date;
  day    text;
  made   int := 0;
BEGIN
  IF days IS NULL OR days NOT BETWEEN 0 AND 31 THEN
    RAISE EXCEPTION 'days must be 0 to 31' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  SELECT array_agg(g ORDER BY g < today, g)
    INTO wanted
    FROM (SELECT g
            FROM (SELECT today + n FROM generate_series(0, days) AS n
                   UNION
                  SELECT c.snapshot_ts::date FROM public.wallet_snapshots_default c WHERE c.snapshot_ts < today) AS day (g)
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

-- From 0012_year.sql.
CREATE OR REPLACE FUNCTION drop_day(day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '200ms'
AS $$
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
    EXECUTE 'SELECT EXISTS (SELECT FROM public.wallet_snapshots WHERE snapshot_ts >= $1)' INTO is_newer USING since;
    EXIT WHEN is_newer;
  END LOOP;
  IF NOT is_newer THEN
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
