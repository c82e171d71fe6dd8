-- A record in which every invariant holds, made by the database alone: for measuring, and for trying the checks on what
-- `snapshot` did not write. Takes first (the first minute), minutes, and wallets; wants an empty schema.
-- Each 50th minute is partial (30 of 200 wallets missing), each 400th failed (all missing); the rest are whole.
WITH address AS (
  INSERT INTO wallets (address)
  SELECT '0x' || lpad(to_hex(n), 40, '0') FROM generate_series(1, %(wallets)s) AS n
  RETURNING wallet_id),
refresh AS (
  INSERT INTO wallet_universe_runs (as_of_ts, status, source, n_requested, n_received, duration_ms, rows_seen, rows_rejected)
  VALUES (%(first)s::timestamptz - interval '1 hour', 'success', 'stats-data', %(wallets)s, %(wallets)s, 1, %(wallets)s, 0)
  RETURNING run_id, as_of_ts),
ranked AS (
  SELECT run_id, as_of_ts, wallet_id, row_number() OVER (ORDER BY wallet_id)::int AS rank
    FROM address, refresh),
member AS (
  INSERT INTO wallet_universe_members (run_id, wallet_id, rank, month_pnl, month_roi, account_value, month_volume)
  SELECT run_id, wallet_id, rank, 1000 - rank, 0.1, 5, 0 FROM ranked
  RETURNING wallet_id, rank),
in_force AS (
  INSERT INTO wallet_universe_current (wallet_id, run_id, rank, month_pnl, month_roi, account_value, month_volume,
                                       as_of_ts)
  SELECT wallet_id, run_id, rank, 1000 - rank, 0.1, 5, 0, as_of_ts FROM ranked),
minute AS (
  SELECT %(first)s::timestamptz + n * interval '1 min' AS snapshot_ts,
         CASE WHEN n %% 400 = 399 THEN 0 WHEN n %% 50 = 49 THEN 0.85 ELSE 1 END AS share
    FROM generate_series(0, %(minutes)s - 1) AS n),
cell AS (
  SELECT t.snapshot_ts, m.wallet_id, a.asset, m.rank <= share * %(wallets)s AS known,
         CASE WHEN (m.rank + a.n) %% 3 = 0 THEN m.rank + a.n / 10.0 ELSE 0 END::numeric AS szi
    FROM minute t, member m, unnest(enum_range(NULL::asset)) WITH ORDINALITY AS a (asset, n)),
written AS (
  INSERT INTO wallet_snapshots (
    snapshot_ts, wallet_id, asset, ingest_run_id, attempt, position_szi, observed_at, missing_reason,
    entry_px, liq_px, leverage, leverage_type, margin_used)
  SELECT snapshot_ts, wallet_id, asset, (extract(epoch FROM snapshot_ts) / 60)::int, 1,
         CASE WHEN known THEN szi END,
         CASE WHEN known THEN snapshot_ts + interval '3.123456 s' + wallet_id * interval '1 ms' END,
         CASE WHEN NOT known THEN 'timeout'::missing_reason END,
         CASE WHEN known AND szi <> 0 THEN 45123.5 END, CASE WHEN known AND szi <> 0 THEN 30000.25 END,
         CASE WHEN known AND szi <> 0 THEN 10 END, CASE WHEN known AND szi <> 0 THEN 'cross'::leverage_type END,
         CASE WHEN known AND szi <> 0 THEN 1234.567891 END
    FROM cell
   ORDER BY snapshot_ts, wallet_id, asset
  RETURNING *),
counted AS (
  SELECT snapshot_ts, count(*)::int AS n, count(position_szi)::int / 3 AS succeeded,
         sum(cell_fingerprint(wallet_id, asset, position_szi, entry_px, liq_px, leverage, leverage_type, margin_used,
                              observed_at, missing_reason, attempt)) AS fingerprint
    FROM written
   GROUP BY snapshot_ts),
run AS (
  INSERT INTO ingest_runs (
    run_id, snapshot_ts, status, wallets_expected, wallets_succeeded, wallets_failed, rows_expected, rows_written,
    coverage_pct, missing, universe_run_id, attempts, attempt_id, coverage_success, coverage_failed, stale_after,
    universe_stale_after, rate_limit, requests_sent, retries, rate_limited, last_sent_at, sent_per_second, duration_ms,
    host, version, published_at, fingerprint, anomaly_rules)
  SELECT extract(epoch FROM snapshot_ts) / 60, snapshot_ts,
         CASE WHEN 100 * succeeded >= 95 * %(wallets)s THEN 'success'
              WHEN 100 * succeeded >= 80 * %(wallets)s THEN 'partial' ELSE 'failed' END,
         %(wallets)s, succeeded, %(wallets)s - succeeded, n, n, trunc(100.0 * succeeded / %(wallets)s, 2),
         CASE WHEN succeeded < %(wallets)s THEN jsonb_build_object('timeout', %(wallets)s - succeeded) ELSE '{}' END,
         run_id, 1, gen_random_uuid(), 95, 80, '180 s', '12 h', 1200, %(wallets)s, 0, 0, snapshot_ts + interval '3 s',
         ARRAY[0, 0, 0, %(wallets)s], 3500, 'here', '0', snapshot_ts + interval '4 s', fingerprint, 1
    FROM counted, refresh
  RETURNING snapshot_ts, status, coverage_pct)
INSERT INTO ingest_health (health_ts, last_success_snapshot_ts, snapshot_status, coverage_pct, health_state)
SELECT snapshot_ts, max(snapshot_ts) FILTER (WHERE status <> 'failed') OVER (ORDER BY snapshot_ts), status, coverage_pct,
       CASE status WHEN 'success' THEN 'healthy' WHEN 'partial' THEN 'degraded' ELSE 'stale' END
  FROM run
