-- What an auditor needs besides the record: a fingerprint of what was published, the limit it was asked under, whether its
-- cells were dropped on purpose, and where cells lie outside their day.

ALTER TABLE ingest_runs
  ADD COLUMN rate_limit  int CHECK (rate_limit >= 0),
  ADD COLUMN fingerprint numeric,
  ADD COLUMN pruned_at   timestamptz;

COMMENT ON COLUMN ingest_runs.rate_limit  IS 'The exchange''s limit in force then, weight a minute, of which 5/6 may be used; 0 = none; NULL = recorded before this was written down.';
COMMENT ON COLUMN ingest_runs.fingerprint IS 'Sum of cell_fingerprint over the cells as published, the proof that none changed since; NULL = recorded before there were fingerprints.';
COMMENT ON COLUMN ingest_runs.pruned_at   IS 'When the cells of this minute were dropped on purpose, UTC; NULL = they are kept.';

-- A sum does not depend on the order of the cells and can be added up where they lie. The dirty mark is no part of it: it
-- comes later. A time is told in seconds, so that no session's time zone matters.
CREATE FUNCTION cell_fingerprint(
  wallet_id int, asset asset, position_szi numeric, entry_px numeric, liq_px numeric, leverage numeric,
  leverage_type leverage_type, margin_used numeric, observed_at timestamptz, missing_reason missing_reason, attempt smallint)
RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE
RETURN ('x' || left(md5(ROW(wallet_id, asset, position_szi, entry_px, liq_px, leverage, leverage_type, margin_used,
                            extract(epoch FROM observed_at), missing_reason, attempt)::text), 15))::bit(60)::bigint;

COMMENT ON FUNCTION cell_fingerprint(int, asset, numeric, numeric, numeric, numeric, leverage_type, numeric, timestamptz, missing_reason, smallint) IS
  'The first 60 bits of the MD5 of everything a cell says, its dirty mark aside.';
REVOKE ALL ON FUNCTION cell_fingerprint(int, asset, numeric, numeric, numeric, numeric, leverage_type, numeric, timestamptz, missing_reason, smallint) FROM PUBLIC;

-- Whoever keeps the cells in another way than in daily partitions replaces this function and the one below.
-- It runs with the owner's rights: a reader has no business with the partitions themselves.
CREATE FUNCTION stray_cells(since timestamptz, until timestamptz)
RETURNS TABLE (snapshot_ts timestamptz, wallet_id int, asset asset)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.snapshot_ts, c.wallet_id, c.asset
    FROM public.wallet_snapshots_default c
   WHERE c.snapshot_ts >= since AND c.snapshot_ts < until
$$;

COMMENT ON FUNCTION stray_cells(timestamptz, timestamptz) IS
  'The cells of [since, until) that lie in no partition of their day: prune would leave them, so the next run moves them.';
REVOKE ALL ON FUNCTION stray_cells(timestamptz, timestamptz) FROM PUBLIC;

-- Also makes the partition of any day that strayed into DEFAULT, so that a day without one heals by itself.
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
  'Makes the daily partitions of wallet_snapshots for today, this many days after it (0 to 31), and days whose cells strayed into DEFAULT; returns how many it made.';
