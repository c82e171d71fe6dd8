-- Whole days of cells: which there are, and dropping one on purpose. Whoever keeps the cells in another way than in daily
-- partitions replaces these two functions, as ensure_partitions and stray_cells.

CREATE FUNCTION stored_days(until date)
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

COMMENT ON FUNCTION stored_days(date) IS
  'The days before `until` that cells are kept for, UTC, and the disk they take with their indexes, in bytes; a day may be empty.';
REVOKE ALL ON FUNCTION stored_days(date) FROM PUBLIC;

-- A writer calls this with the owner's rights, so it refuses by itself what must not go. Everything of the day goes in the
-- caller's transaction or nothing does. The lock that keeps readers out comes last and is waited for only this long, for
-- whoever comes meanwhile waits behind it.
CREATE FUNCTION drop_day(day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '200ms'
AS $$
DECLARE
  begins timestamptz := day;
  ends   timestamptz := day + 1;
  at     timestamptz := public.hlctl_clock();
  cells  regclass    := to_regclass(format('public.wallet_snapshots_%s', to_char(day, 'YYYYMMDD')));
BEGIN
  IF day IS NULL OR day >= at::date - 1 THEN
    RAISE EXCEPTION 'a day is dropped when it has been over for a whole day' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  -- That of ensure_partitions: one at a time changes the partitions.
  PERFORM pg_advisory_xact_lock(1751908352, -3);
  IF NOT EXISTS (SELECT FROM public.wallet_snapshots WHERE snapshot_ts >= ends) THEN
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

COMMENT ON FUNCTION drop_day(date) IS
  'Drops the cells and anomalies of a day, UTC, and marks its minutes as pruned; refuses today, yesterday, and the newest day that has cells.';
REVOKE ALL ON FUNCTION drop_day(date) FROM PUBLIC;
