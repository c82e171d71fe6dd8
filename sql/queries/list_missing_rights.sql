-- What a role lacks of a reader's and a writer's rights; this is the one list of them. It asks the catalogs only, so that it
-- works where nothing is granted yet. `needed_by` names the commands that cannot do without a right; the others are granted
-- for people's sake. Columns are access.Right's.
WITH role AS (
  SELECT oid, rolname FROM pg_roles WHERE rolname = coalesce(%(role)s, current_user)),
wanted (access, privilege, object, columns, needed_by) AS (
  SELECT 'reader', 'SELECT', r.relation, NULL::name[], r.needed_by::text[]
    FROM (VALUES
      ('schema_migrations',       '{status, snapshot, refresh-universe, verify, prune, export}'),
      ('wallets',                 '{status, snapshot, refresh-universe, verify, export}'),
      ('wallet_universe_runs',    '{status, snapshot, refresh-universe, verify}'),
      ('wallet_universe_members', '{snapshot, refresh-universe, verify}'),
      ('wallet_universe_current', '{status, refresh-universe, verify}'),
      ('wallet_snapshots',        '{status, snapshot, verify, prune, export}'),
      ('snapshot_anomalies',      '{snapshot, verify}'),
      ('ingest_runs',             '{status, snapshot, verify, prune, export}'),
      ('ingest_health',           '{snapshot, verify}'),
      ('signals',                 '{}'),
      ('signal_contributors',     '{}'),
      ('alerts',                  '{}'),
      ('alert_state',             '{}'),
      ('v_universe',              '{}'),
      ('v_universe_history',      '{}'),
      ('v_positions',             '{}'),
      ('v_latest_health',         '{status, snapshot}'),
      ('v_latest_signals',        '{}'),
      ('v_recent_alerts',         '{}')) AS r (relation, needed_by)
   UNION ALL
  SELECT 'writer', w.privilege, w.relation, w.columns::name[], w.needed_by::text[]
    FROM (VALUES
      ('INSERT', 'wallets', '{address}', '{refresh-universe}'),
      ('INSERT', 'wallet_universe_runs',
       '{as_of_ts, status, source, n_requested, n_received, entered_count, exited_count, churn_warning_count, duration_ms,
         rows_seen, rows_rejected, error}', '{refresh-universe}'),
      ('INSERT', 'wallet_universe_members',
       '{run_id, wallet_id, rank, month_pnl, month_roi, account_value, month_volume, is_vault}', '{refresh-universe}'),
      ('DELETE', 'wallet_universe_current', NULL, '{refresh-universe}'),
      ('INSERT', 'wallet_universe_current',
       '{wallet_id, run_id, rank, month_pnl, month_roi, account_value, month_volume, is_vault, as_of_ts}', '{refresh-universe}'),
      ('INSERT', 'ingest_runs',
       '{run_id, snapshot_ts, status, wallets_expected, wallets_succeeded, wallets_failed, rows_expected, rows_written,
         coverage_pct, missing, universe_run_id, attempts, attempt_id, coverage_success, coverage_failed, stale_after,
         universe_stale_after, rate_limit, requests_sent, retries, rate_limited, last_sent_at, sent_per_second,
         clock_offset_ms, duration_ms, error, host, version, published_at}', '{snapshot}'),
      ('UPDATE', 'ingest_runs',
       '{status, wallets_expected, wallets_succeeded, wallets_failed, rows_expected, rows_written, coverage_pct, missing,
         fingerprint, attempts, attempt_id, rate_limit, requests_sent, retries, rate_limited, last_sent_at, sent_per_second,
         skew_ms, clock_offset_ms, suspect, anomaly_rules, duration_ms, error, host, version, published_at}', '{snapshot}'),
      ('INSERT', 'wallet_snapshots',
       '{snapshot_ts, wallet_id, asset, position_szi, entry_px, liq_px, leverage, leverage_type, margin_used, observed_at,
         missing_reason, ingest_run_id, attempt}', '{snapshot}'),
      ('UPDATE', 'wallet_snapshots',
       '{position_szi, entry_px, liq_px, leverage, leverage_type, margin_used, observed_at, missing_reason, attempt,
         is_dirty, dirty_reason}', '{snapshot}'),
      ('INSERT', 'snapshot_anomalies', '{snapshot_ts, wallet_id, asset, anomaly_type, details}', '{snapshot}'),
      ('INSERT', 'ingest_health',
       '{health_ts, last_success_snapshot_ts, snapshot_status, coverage_pct, health_state, error}', '{snapshot}'),
      ('UPDATE', 'ingest_health',
       '{last_success_snapshot_ts, snapshot_status, coverage_pct, health_state, error}', '{snapshot}'))
         AS w (privilege, relation, columns, needed_by)),
function (access, name, needed_by) AS (VALUES
  ('reader', 'hlctl_clock', '{status, snapshot, refresh-universe, verify, prune, export}'::text[]),
  ('reader', 'cell_fingerprint', '{snapshot, verify, export}'),
  ('reader', 'stray_cells', '{status, verify}'),
  ('reader', 'cell_storage', '{status}'),
  ('reader', 'minutes_after', '{snapshot, verify}'),
  ('reader', 'odd_cells', '{snapshot, verify}'),
  ('reader', 'suspect_cells', '{snapshot, verify}'),
  ('reader', 'stored_days', '{prune}'),
  ('writer', 'drop_day', '{prune}'),
  ('writer', 'ensure_partitions', '{}')),  -- without it the DEFAULT partition takes the minute
mark (access, col) AS (VALUES  -- by these list_access knows who was let in: they count only where they are granted by name
  ('reader', 'version'::name),
  ('writer', 'tool_version'))
SELECT role.rolname AS role, w.access, w.privilege, w.object,
       CASE WHEN c.oid IS NULL THEN w.columns ELSE lacking.columns END AS columns,
       cardinality(lacking.columns) < cardinality(w.columns) IS TRUE AS is_partial,
       c.oid IS NOT NULL AS is_there, w.needed_by
  FROM role
 CROSS JOIN wanted w
  LEFT JOIN pg_class c ON c.relname = w.object AND c.relnamespace = 'public'::regnamespace
 CROSS JOIN LATERAL (
       SELECT array_agg(a.attname ORDER BY a.attnum) AS columns
         FROM pg_attribute a
        WHERE a.attrelid = c.oid
          AND CASE WHEN a.attname = ANY (w.columns) THEN NOT has_column_privilege(role.oid, c.oid, a.attnum, w.privilege) END)
       AS lacking
 WHERE has_table_privilege(role.oid, c.oid, w.privilege) IS NOT TRUE
   AND (w.columns IS NULL OR c.oid IS NULL OR lacking.columns IS NOT NULL)
 UNION ALL
SELECT role.rolname, f.access, 'EXECUTE', 'FUNCTION ' || f.name, NULL, false, p.oid IS NOT NULL, f.needed_by
  FROM role
 CROSS JOIN function f
  LEFT JOIN pg_proc p ON p.proname = f.name AND p.pronamespace = 'public'::regnamespace
 WHERE has_function_privilege(role.oid, p.oid, 'EXECUTE') IS NOT TRUE
 UNION ALL
SELECT role.rolname, 'reader', 'USAGE', 'SCHEMA public', NULL, false, true,
       '{status, snapshot, refresh-universe, verify, prune, export}'
  FROM role
 WHERE NOT has_schema_privilege(role.oid, 'public'::regnamespace, 'USAGE')
 UNION ALL
SELECT role.rolname, m.access, 'SELECT', 'schema_migrations', ARRAY[m.col], true, c.oid IS NOT NULL, '{}'
  FROM role
 CROSS JOIN mark m
  LEFT JOIN pg_class c ON c.relname = 'schema_migrations' AND c.relnamespace = 'public'::regnamespace
 WHERE pg_has_role(role.oid, c.relowner, 'USAGE') IS NOT TRUE
   AND NOT EXISTS (SELECT
                     FROM pg_attribute a
                    CROSS JOIN aclexplode(a.attacl) AS entry
                    WHERE a.attrelid = c.oid
                      AND a.attname = m.col
                      AND entry.privilege_type = 'SELECT'
                      AND pg_has_role(role.oid, entry.grantee, 'USAGE'))
 ORDER BY privilege, object, columns NULLS FIRST
