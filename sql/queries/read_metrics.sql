-- What the metrics file says of the record but its sizes, as one row. Columns are metrics.Facts'. Cells are not read: their runs
-- counted them.
WITH judged AS MATERIALIZED (
  SELECT health_state, last_good_snapshot_ts, date_bin(interval '1 minute', judged_at, timestamptz 'epoch') AS current FROM v_latest_health),
recent AS MATERIALIZED (  -- an hour has no more of them
  SELECT * FROM ingest_runs WHERE snapshot_ts <= hlctl_clock() ORDER BY snapshot_ts DESC LIMIT 60),
newest AS (
  SELECT * FROM recent ORDER BY snapshot_ts DESC LIMIT 1),
in_force AS (
  SELECT as_of_ts, entered_count, exited_count FROM wallet_universe_runs WHERE status = 'success' ORDER BY run_id DESC LIMIT 1),
hour AS (  -- as list_last_hour has it: the current minute counts once it is recorded, and none before the first
  SELECT coalesce(r.status, 'gap') AS status, count(*)::int AS minutes
    FROM judged
   CROSS JOIN (SELECT min(snapshot_ts) AS first FROM ingest_runs) AS record
   CROSS JOIN generate_series(judged.current - interval '59 min', judged.current, interval '1 min') AS m (minute)
    LEFT JOIN recent r ON r.snapshot_ts = m.minute
   WHERE m.minute >= record.first
     AND (m.minute < judged.current OR r.status IS NOT NULL)
   GROUP BY 1),
odd AS (
  SELECT a.anomaly_type, count(*)::int AS cells
    FROM judged
    JOIN recent r ON r.snapshot_ts >= judged.current - interval '59 min'
    JOIN snapshot_anomalies a ON a.snapshot_ts = r.snapshot_ts
   GROUP BY 1)
SELECT judged.health_state, judged.last_good_snapshot_ts AS last_good_ts,
       newest.snapshot_ts AS newest_ts, newest.status, newest.coverage_pct, newest.wallets_expected,
       newest.wallets_succeeded, newest.missing, newest.duration_ms, newest.requests_sent, newest.retries,
       newest.rate_limited, 2 * newest.requests_sent AS weight, newest.rate_limit, newest.skew_ms, newest.clock_offset_ms,
       cardinality(newest.suspect) AS suspect_kinds, newest.rows_written,
       (SELECT coalesce(jsonb_object_agg(status, minutes), '{}') FROM hour)      AS last_hour,
       (SELECT coalesce(jsonb_object_agg(anomaly_type, cells), '{}') FROM odd)   AS anomalies,
       (SELECT count(*)::int FROM wallet_universe_current)                       AS universe_wallets,
       in_force.as_of_ts AS universe_ts, in_force.entered_count AS entered, in_force.exited_count AS exited,
       -- A refresh that read nothing says nothing of turnover.
       (SELECT churn_warning_count FROM wallet_universe_runs WHERE n_received > 0 ORDER BY run_id DESC LIMIT 1)
                                                                                 AS churn_warnings,
       (SELECT status = 'failed' FROM wallet_universe_runs ORDER BY run_id DESC LIMIT 1) AS refresh_failed
  FROM judged
  LEFT JOIN newest ON true
  LEFT JOIN in_force ON true
