-- Makes a generated record look as if it had begun {days} days ago: each earlier minute has its run, and each earlier day a
-- partition that stays empty. So a statement meets as many days and as many runs as it would then; only the cells are spared.
DO $$
DECLARE
  first_minute timestamptz := (SELECT min(snapshot_ts) FROM ingest_runs);
  begins       timestamptz := date_trunc('day', hlctl_clock()) - make_interval(days => {days} - 1);
  day          timestamptz;
  name         text;
BEGIN
  INSERT INTO ingest_runs (
    run_id, snapshot_ts, status, wallets_expected, wallets_succeeded, wallets_failed, rows_expected, rows_written,
    coverage_pct, missing, universe_run_id, attempts, attempt_id, coverage_success, coverage_failed, stale_after,
    universe_stale_after, rate_limit, requests_sent, retries, rate_limited, last_sent_at, sent_per_second, skew_ms,
    clock_offset_ms, duration_ms, host, version, published_at, fingerprint, anomaly_rules, pruned_at)
  SELECT extract(epoch FROM m) / 60, m, r.status, r.wallets_expected, r.wallets_succeeded, r.wallets_failed, r.rows_expected,
         r.rows_written, r.coverage_pct, r.missing, r.universe_run_id, 1, gen_random_uuid(), r.coverage_success,
         r.coverage_failed, r.stale_after, r.universe_stale_after, r.rate_limit, r.requests_sent, 0, 0, m + interval '3 s',
         r.sent_per_second, r.skew_ms, r.clock_offset_ms, r.duration_ms, r.host, r.version, m + interval '3.4 s', r.fingerprint, 1,
         first_minute
    FROM (SELECT * FROM ingest_runs WHERE snapshot_ts = first_minute) AS r
   CROSS JOIN generate_series(begins, first_minute - interval '1 min', interval '1 min') AS m;
  INSERT INTO ingest_health (health_ts, last_success_snapshot_ts, snapshot_status, coverage_pct, health_state)
  SELECT snapshot_ts, snapshot_ts, status, coverage_pct, 'healthy' FROM ingest_runs WHERE snapshot_ts < first_minute;
  FOR day IN SELECT generate_series(begins, first_minute - interval '1 day', interval '1 day') LOOP
    name := 'wallet_snapshots_' || to_char(day, 'YYYYMMDD');
    IF to_regclass(name) IS NULL THEN
      EXECUTE format('CREATE TABLE %I (LIKE wallet_snapshots INCLUDING ALL)', name);
      PERFORM tune_cells(name::regclass);
      EXECUTE format('ALTER TABLE wallet_snapshots ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                     name, day, day + interval '1 day');
      COMMIT;  -- one transaction has not the locks for all of them
    END IF;
  END LOOP;
END
$$
