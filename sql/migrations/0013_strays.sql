-- Cells without a partition, of days that are over: restored from an archive, or from a time in which none could be made.

-- As before, but the days to come are made first, and after 5 s no further day of the past is begun: a day of 200 wallets takes
-- seconds to move, and of several at once each call would be ended for its length, and none ever moved.
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
  SELECT array_agg(g::date ORDER BY g < date_trunc('day', public.hlctl_clock()), g)
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
    EXIT WHEN d < public.hlctl_clock()::date AND clock_timestamp() > statement_timestamp() + interval '5 s';
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
