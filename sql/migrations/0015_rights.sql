-- What a role may do because it was let in, and not because a DBA's default privileges gave it whatever is made.

-- Who was let in bears a mark: a column of the migrations' book that it is granted by name, which no default privilege does.
-- A later migration that makes functions calls this with their names, instead of REVOKE ... FROM PUBLIC; init-db then grants
-- them to whom they are for.
CREATE FUNCTION close_functions(names text[], but_for name[] DEFAULT '{}') RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  entry record;
BEGIN
  FOR entry IN
    SELECT DISTINCT p.oid::regprocedure AS function, coalesce(quote_ident(r.rolname), 'PUBLIC') AS role
      FROM pg_proc p
     CROSS JOIN aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS e
      LEFT JOIN pg_roles r ON r.oid = e.grantee
     WHERE p.pronamespace = 'public'::regnamespace
       AND p.proname::text = ANY (names)
       AND pg_has_role(p.proowner, 'USAGE')
       AND e.grantee <> p.proowner
       AND (r.rolname = ANY (but_for)) IS NOT TRUE
  LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %s CASCADE', entry.function, entry.role);
  END LOOP;
END
$$;

COMMENT ON FUNCTION close_functions(text[], name[]) IS
  'Takes the functions of these names from PUBLIC and from every role but their owner and those named; a migration calls it for what it makes.';

-- Who was let in before was told by an entry on the functions that every reader and writer may run. Whoever has one on
-- tune_cells too, which hlctl grants nobody, has it from default privileges, or from a grant on all functions: what an
-- earlier init-db then gave it as a "writer" is taken back. Name it once more if it is to be let in.
DO $$
DECLARE
  guest  record;
  given  record;
  let_in name[] := '{}';
BEGIN
  FOR guest IN
    SELECT r.oid, r.rolname, bool_or(p.proname = 'ensure_partitions') AS is_writer, bool_or(p.proname = 'tune_cells') AS is_uninvited
      FROM pg_proc p
     CROSS JOIN aclexplode(p.proacl) AS e
      JOIN pg_roles r ON r.oid = e.grantee
     WHERE p.pronamespace = 'public'::regnamespace
       AND p.proname IN ('hlctl_clock', 'ensure_partitions', 'tune_cells')
       AND e.grantee <> p.proowner
     GROUP BY r.oid, r.rolname
  LOOP
    IF NOT guest.is_uninvited THEN
      let_in := let_in || guest.rolname;
      EXECUTE format('GRANT SELECT (version%s) ON schema_migrations TO %I',
                     CASE WHEN guest.is_writer THEN ', tool_version' END, guest.rolname);
      CONTINUE;
    END IF;
    FOR given IN
      SELECT a.attrelid::regclass AS relation, a.attname
        FROM pg_attribute a
       CROSS JOIN aclexplode(a.attacl) AS e
       WHERE a.attrelid = ANY ('{wallets, wallet_universe_runs, wallet_universe_members, wallet_universe_current, ingest_runs,
                                 wallet_snapshots, snapshot_anomalies, ingest_health}'::regclass[])
         AND e.grantee = guest.oid
         AND e.privilege_type IN ('INSERT', 'UPDATE')
    LOOP
      EXECUTE format('REVOKE INSERT (%1$I), UPDATE (%1$I) ON %2$s FROM %3$I CASCADE', given.attname, given.relation, guest.rolname);
    END LOOP;
    EXECUTE format('REVOKE DELETE ON wallet_universe_current FROM %I CASCADE', guest.rolname);
  END LOOP;
  PERFORM close_functions('{hlctl_clock, ensure_partitions, cell_fingerprint, stray_cells, cell_storage, minutes_after, odd_cells,
                            suspect_cells, stored_days, drop_day, tune_cells, close_functions}'::text[], let_in);
END
$$;

-- As before, but a day to come is made only if it is wanted: a writer can put cells of any day into DEFAULT, and makes with
-- them tables of the past at most, 64 a call. With those of many years to come one call ran out of locks, and so did each
-- after it. They stay in DEFAULT until their day is near.
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

COMMENT ON FUNCTION ensure_partitions(int) IS
  'Makes the daily partitions of wallet_snapshots for today, this many days after it (0 to 31), and days of the past whose cells strayed into DEFAULT; returns how many it made.';
