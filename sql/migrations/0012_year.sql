-- A year of days: how each day's cells are kept, from today's on.

-- Cells come minute after minute and never change their keys, so a page of an index that is left behind is not written to
-- again: room kept free in it (10 % by default) is lost. Full pages save 7.3 of 168 bytes a cell.
-- A day that is over is not written to again either. What autovacuum visits in it because rows came, it freezes then and
-- there; otherwise every page would be read and written once more before the server's transaction numbers come round.
CREATE FUNCTION tune_cells(day regclass) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  index regclass;
BEGIN
  EXECUTE format('ALTER TABLE %s SET (autovacuum_freeze_min_age = 0)', day);
  FOR index IN SELECT i.indexrelid FROM pg_index i WHERE i.indrelid = day LOOP
    EXECUTE format('ALTER INDEX %s SET (fillfactor = 100)', index);
  END LOOP;
END
$$;

COMMENT ON FUNCTION tune_cells(regclass) IS 'Gives the table of a day''s cells its settings; ensure_partitions calls it.';
REVOKE ALL ON FUNCTION tune_cells(regclass) FROM PUBLIC;

-- As before, with the settings.
CREATE OR REPLACE FUNCTION ensure_partitions(days int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '2s'
AS $$
DECLARE
  wanted date[];
  d      date;
  day    text;
  made   int := 0;
BEGIN
  IF days IS NULL OR days NOT BETWEEN 0 AND 31 THEN
    RAISE EXCEPTION 'days must be 0 to 31' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  SELECT array_agg(g::date ORDER BY g)
    INTO wanted
    FROM (SELECT generate_series(date_trunc('day', public.hlctl_clock()),
                                 date_trunc('day', public.hlctl_clock()) + make_interval(days => days), interval '1 day') AS g
           UNION
          SELECT date_trunc('day', c.snapshot_ts) FROM public.wallet_snapshots_default c) AS day
   WHERE to_regclass(format('public.wallet_snapshots_%s', to_char(g, 'YYYYMMDD'))) IS NULL;
  IF wanted IS NULL THEN
    RETURN 0;
  END IF;
  -- Two callers at once: the second waits here and finds the work done.
  PERFORM pg_advisory_xact_lock(1751908352, -3);
  FOREACH d IN ARRAY wanted LOOP
    day := format('wallet_snapshots_%s', to_char(d, 'YYYYMMDD'));
    CONTINUE WHEN to_regclass(format('public.%I', day)) IS NOT NULL;
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

-- As before, but it looks for newer cells from yesterday on first: whoever asks for all later days opens all of them, which
-- takes some 0.6 ms each, and holds a lock on each and on its two indexes to the end.
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

-- The days that were made ahead. Those that are over stay as they are.
SELECT tune_cells(c.oid)
  FROM pg_inherits i
  JOIN pg_class c ON c.oid = i.inhrelid
 WHERE i.inhparent = 'wallet_snapshots'::regclass
   AND c.relname >= 'wallet_snapshots_' || to_char(hlctl_clock(), 'YYYYMMDD')
   AND c.relname ~ '^wallet_snapshots_[0-9]{8}$';
