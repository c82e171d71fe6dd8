-- Makes a generated record look as if it had begun {days} days ago: each earlier minute has its run, each earlier quarter of a
-- day a refresh with the members of the first one, and each earlier day a partition that stays empty. So a statement meets as
-- many days, runs and refreshes as it would then; only the cells are spared.
DO $$
DECLARE
  first_minute timestamptz := (SELECT min(snapshot_ts) FROM ingest_runs);
  begins       timestamptz := date_trunc('day', hlctl_clock()) - make_interval(days => {days} - 1);
  first_list   int         := (SELECT min(run_id) FROM wallet_universe_runs);
  day          timestamptz;
  name         text;
BEGIN
  INSERT INTO wallet_universe_runs (
    run_id, as_of_ts, status, source, n_requested, n_received, entered_count, exited_count, churn_warning_count, duration_ms,
    rows_seen, rows_rejected)
  OVERRIDING SYSTEM VALUE
  SELECT first_list - n, u.as_of_ts - n * interval '6 h', u.status, u.source, u.n_requested, u.n_received, 0, 0, 0, u.duration_ms,
         u.rows_seen, u.rows_rejected
    FROM (SELECT * FROM wallet_universe_runs WHERE run_id = first_list) AS u
   CROSS JOIN generate_series(1, ceil(extract(epoch FROM first_minute - begins) / 21600)::int) AS n;
  INSERT INTO wallet_universe_members (run_id, wallet_id, rank, month_pnl, month_roi, account_value, month_volume)
  SELECT u.run_id, m.wallet_id, m.rank, m.month_pnl, m.month_roi, m.account_value, m.month_volume
    FROM wallet_universe_runs u
   CROSS JOIN (SELECT * FROM wallet_universe_members WHERE run_id = first_list) AS m
   WHERE u.run_id < first_list;
  INSERT INTO ingest_runs (
    run_id, snapshot_ts, status, wallets_expected, wallets_succeeded, wallets_failed, rows_expected, rows_written,
    coverage_pct, missing, universe_run_id, attempts, attempt_id, coverage_success, coverage_failed, stale_after,
    universe_stale_after, rate_limit, requests_sent, retries, rate_limited, last_sent_at, sent_per_second, skew_ms,
    clock_offset_ms, duration_ms, host, version, published_at, fingerprint, anomaly_rules, pruned_at)
  SELECT extract(epoch FROM m) / 60, m, r.status, r.wallets_expected, r.wallets_succeeded, r.wallets_failed, r.rows_expected,
         r.rows_written, r.coverage_pct, r.missing, first_list - ceil(extract(epoch FROM first_minute - m) / 21600)::int, 1,
         gen_random_uuid(), r.coverage_success, r.coverage_failed, r.stale_after, r.universe_stale_after, r.rate_limit,
         r.requests_sent, 0, 0, m + interval '3 s', r.sent_per_second, r.skew_ms, r.clock_offset_ms, r.duration_ms, r.host, r.version, m + interval '3.4 s', r.fingerprint, 1,
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
