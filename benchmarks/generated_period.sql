-- The minutes that pin one universe, as hlctl would have recorded them. Takes begins, ends (half-open, whole minutes) and
-- run_id; the universe, its members and the partitions are there. The values are synthetic: digits and sizes like the
-- exchange's, 45 of 100 the cells a position that is kept for an hour and a half, drifts a little every quarter of an hour and
-- is marked to a price that moves each minute; half of the longs have no liquidation price. A wallet in a thousand does not
-- answer, and of 100,000 answers one is not a number.
WITH minute AS (
  SELECT m AS snapshot_ts, (extract(epoch FROM m) / 60)::int AS number
    FROM generate_series(%(begins)s::timestamptz, %(ends)s::timestamptz - interval '1 min', interval '1 min') AS m),
traded (asset, lot, decimals, px, tick) AS (VALUES
  ('HYPE'::asset, 60.0, 2, 31.374, 3), ('BTC', 0.02, 5, 88417.3, 1), ('ETH', 0.5, 4, 3127.82, 2)),
drawn AS (
  SELECT t.snapshot_ts, t.number, m.wallet_id, a.*,
         hashint8extended(m.wallet_id, t.number)                                                      AS luck,
         hashint8extended(m.wallet_id * 3 + a.decimals, (t.number + 37 * m.wallet_id + 11 * a.decimals) / 90) AS held,
         (t.number + m.wallet_id) / 15 %% 6                                                            AS step,
         round(a.px * (1 + 0.01 * sin(t.number / 211.0)::numeric(6, 5)), a.tick)                       AS mark
    FROM minute t
   CROSS JOIN (SELECT wallet_id FROM wallet_universe_members WHERE run_id = %(run_id)s) AS m
   CROSS JOIN traded a
   ORDER BY t.snapshot_ts, m.wallet_id, a.asset
  OFFSET 0),
judged AS (
  SELECT d.*,
         CASE WHEN luck & 131071 < 131 THEN 'timeout'::missing_reason WHEN luck & 131071 = 200 THEN 'bad_number' END AS reason,
         CASE WHEN held & 1023 < 461
              THEN round(CASE WHEN held & 1024 = 0 THEN lot ELSE -lot END * (0.3 + (held >> 12 & 65535) / 20.0 + step), decimals)
              ELSE 0 END                                                                                AS szi,
         CASE WHEN held & 1023 < 461 THEN (ARRAY[3, 5, 10, 20, 20, 25, 40, 40])[1 + (held >> 28 & 7)] END AS leverage,
         round(px * (0.9 + (held >> 32 & 4095) / 20480.0), 6 - length(trunc(px)::text))              AS entry_px
    FROM drawn d),
written AS (
  INSERT INTO wallet_snapshots (
    snapshot_ts, wallet_id, asset, ingest_run_id, attempt, is_dirty, dirty_reason, missing_reason, observed_at, position_szi,
    entry_px, liq_px, leverage, leverage_type, margin_used)
  SELECT snapshot_ts, wallet_id, asset, number, 1, reason IS NOT DISTINCT FROM 'bad_number',
         CASE reason WHEN 'bad_number' THEN 'null_szi' END, reason,
         CASE WHEN reason IS NULL THEN snapshot_ts + interval '2 s' + (luck >> 20 & 1048575) * interval '1 us' END,
         CASE WHEN reason IS NULL THEN CASE WHEN szi = 0 THEN 0 ELSE round(szi, greatest(min_scale(szi), 1)) END END,
         CASE WHEN reason IS NULL AND leverage > 0 THEN entry_px END,
         CASE WHEN reason IS NULL AND (szi < 0 OR szi > 0 AND held >> 31 & 1 = 0)
              THEN round(mark * (1 - sign(szi) * 0.87 / leverage) * (1 + (held >> 36 & 65535) / 3e6), 10) END,
         CASE WHEN reason IS NULL THEN leverage END,
         CASE WHEN reason IS NULL AND leverage > 0 THEN (CASE WHEN held >> 50 & 31 = 0 THEN 'isolated' ELSE 'cross' END)::leverage_type END,
         CASE WHEN reason IS NULL AND leverage > 0 THEN round(abs(szi) * mark / leverage, 6) END
    FROM judged
  RETURNING *),
anomaly AS (
  INSERT INTO snapshot_anomalies (snapshot_ts, wallet_id, asset, anomaly_type, details)
  SELECT snapshot_ts, wallet_id, asset, dirty_reason, jsonb_build_object('reason', dirty_reason, 'before', NULL, 'at', NULL, 'after', NULL)
    FROM written
   WHERE is_dirty),
counted AS (
  SELECT snapshot_ts, ingest_run_id, count(*)::int / 3 AS wallets, count(position_szi)::int / 3 AS known,
         (count(*) FILTER (WHERE missing_reason = 'timeout'))::int / 3    AS timeouts,
         (count(*) FILTER (WHERE missing_reason = 'bad_number'))::int / 3 AS bad_numbers,
         sum(cell_fingerprint(wallet_id, asset, position_szi, entry_px, liq_px, leverage, leverage_type, margin_used,
                              observed_at, missing_reason, attempt)) AS fingerprint
    FROM written
   GROUP BY snapshot_ts, ingest_run_id),
run AS (
  INSERT INTO ingest_runs (
    run_id, snapshot_ts, status, wallets_expected, wallets_succeeded, wallets_failed, rows_expected, rows_written,
    coverage_pct, missing, universe_run_id, attempts, attempt_id, coverage_success, coverage_failed, stale_after,
    universe_stale_after, rate_limit, requests_sent, retries, rate_limited, last_sent_at, sent_per_second, skew_ms,
    clock_offset_ms, duration_ms, host, version, published_at, fingerprint, anomaly_rules)
  SELECT ingest_run_id, snapshot_ts,
         CASE WHEN 100 * known >= 95 * wallets THEN 'success' WHEN 100 * known >= 80 * wallets THEN 'partial' ELSE 'failed' END,
         wallets, known, wallets - known, 3 * wallets, 3 * wallets, trunc(100.0 * known / wallets, 2),
         jsonb_strip_nulls(jsonb_build_object('timeout', nullif(timeouts, 0), 'bad_number', nullif(bad_numbers, 0))),
         %(run_id)s, 1, gen_random_uuid(), 95, 80, '180 s', '12 h', 1200, wallets, 0, 0, snapshot_ts + interval '3 s',
         ARRAY[0, 0, wallets - wallets / 3, wallets / 3], 1048, 12, 3500, 'synthetic', '0', snapshot_ts + interval '3.4 s',
         fingerprint, 1
    FROM counted
   ORDER BY snapshot_ts
  RETURNING snapshot_ts, status, coverage_pct)
INSERT INTO ingest_health (health_ts, last_success_snapshot_ts, snapshot_status, coverage_pct, health_state)
SELECT snapshot_ts,
       coalesce(max(snapshot_ts) FILTER (WHERE status <> 'failed') OVER (ORDER BY snapshot_ts),
                (SELECT max(g.snapshot_ts) FROM ingest_runs g WHERE g.status <> 'failed' AND g.snapshot_ts < %(begins)s)),
       status, coverage_pct, CASE status WHEN 'success' THEN 'healthy' WHEN 'partial' THEN 'degraded' ELSE 'stale' END
  FROM run
 ORDER BY snapshot_ts
