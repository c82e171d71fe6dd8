-- Roles with less than the owner's rights: what `hlctl init-db --writer ROLE --reader ROLE` grants.

-- The clock is no longer everybody's: an entry of its own on it is how a later init-db knows a role that was let in.
REVOKE ALL ON FUNCTION hlctl_clock() FROM PUBLIC;

-- A writer calls this with the owner's rights, so it says how far ahead: nobody but the owner makes tables at will.
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
    FROM generate_series(date_trunc('day', public.hlctl_clock()),
                         date_trunc('day', public.hlctl_clock()) + make_interval(days => days), interval '1 day') AS g
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

COMMENT ON FUNCTION ensure_partitions(int) IS
  'Makes the daily partitions of wallet_snapshots for today and this many days after it, 0 to 31; returns how many it made.';
