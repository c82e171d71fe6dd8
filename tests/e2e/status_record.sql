-- A small record that is the same each time: two minutes and a gap of three wallets, a refresh with a churn warning and a failed one.
INSERT INTO wallets (address) SELECT '0x' || repeat(d, 40) FROM unnest('{a,b,c}'::text[]) AS d;
INSERT INTO wallet_universe_runs (as_of_ts, status, source, n_requested, n_received, entered_count, exited_count,
                                  churn_warning_count, duration_ms, rows_seen, rows_rejected, error)
VALUES ('2026-01-06 14:00Z', 'success', 'stats-data', 3, 3, 2, 1, 1, 900, 30, 0, NULL),
       ('2026-01-06 20:00Z', 'failed',  NULL,         3, 0, 0, 0, 0, 900,  0, 0, 'stats-data: no_rows: the leaderboard is empty');
INSERT INTO wallet_universe_current (wallet_id, run_id, rank, month_pnl, month_roi, account_value, month_volume, as_of_ts)
SELECT wallet_id, 1, wallet_id, 1, 0, 1, 0, '2026-01-06 14:00Z' FROM wallets;
INSERT INTO ingest_runs (run_id, snapshot_ts, status, wallets_expected, wallets_succeeded, wallets_failed, rows_expected,
                         rows_written, coverage_pct, missing, universe_run_id, attempts, attempt_id, coverage_success,
                         coverage_failed, stale_after, universe_stale_after, rate_limit, requests_sent, retries,
                         rate_limited, sent_per_second, skew_ms, clock_offset_ms, duration_ms, host, version, published_at)
SELECT extract(epoch FROM ts) / 60, ts, status, 3, ok, 3 - ok, 9, 9, trunc(100.0 * ok / 3, 2), missing::jsonb, 1, 1,
       '00000000-0000-4000-8000-000000000000', 95, 60, '180 s', '12 h', 1200, 5, 2, 1, '{5}', 321, -4, 1234, 'h', '0', ts
  FROM (VALUES ('2026-01-06 20:42Z'::timestamptz, 'success', 3, '{}'),
               ('2026-01-06 20:44Z'::timestamptz, 'partial', 2, '{"timeout": 1}')) AS m (ts, status, ok, missing);
INSERT INTO wallet_snapshots (snapshot_ts, wallet_id, asset, ingest_run_id, attempt, observed_at, position_szi, leverage,
                              leverage_type, margin_used, missing_reason)
SELECT r.snapshot_ts, w.wallet_id, a, r.run_id, 1,
       CASE WHEN known THEN r.snapshot_ts + interval '1 s' END,
       CASE WHEN known THEN CASE w.wallet_id WHEN 1 THEN 2.5 ELSE -1.25 END END,
       CASE WHEN known THEN 5 END, CASE WHEN known THEN 'cross'::leverage_type END, CASE WHEN known THEN 10 END,
       CASE WHEN NOT known THEN 'timeout'::missing_reason END
  FROM ingest_runs r, wallets w, unnest(enum_range(NULL::asset)) AS a,
       LATERAL (SELECT r.status = 'success' OR w.wallet_id < 3 AS known) AS k;
