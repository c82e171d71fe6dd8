-- Counts, coverage, status, skew, fingerprint and oddities of the run row; touches no cell. The claimed row makes publishers queue,
-- so nothing moves between count_minute and here. No row back: too late.
UPDATE ingest_runs r
   SET wallets_expected  = n.expected,
       wallets_succeeded = n.succeeded,
       wallets_failed    = n.expected - n.succeeded,
       rows_expected     = n.expected * 3,
       rows_written      = n.rows_written,
       missing           = n.missing,
       skew_ms           = n.skew_ms,
       fingerprint       = n.fingerprint,
       coverage_pct      = coalesce(trunc(100.0 * n.succeeded / nullif(n.expected, 0), 2), 0),
       status            = CASE WHEN n.expected > 0 AND 100 * n.succeeded >= r.coverage_success * n.expected THEN 'success'
                                WHEN n.expected > 0 AND 100 * n.succeeded >= r.coverage_failed  * n.expected THEN 'partial'
                                ELSE 'failed' END,
       suspect           = coalesce(%(suspect)s::text[], r.suspect),
       anomaly_rules     = %(anomaly_rules)s,
       published_at      = hlctl_clock()
  FROM (SELECT %(expected)s::int AS expected, %(succeeded)s::int AS succeeded, %(rows_written)s::int AS rows_written,
               %(missing)s::jsonb AS missing, %(skew_ms)s::int AS skew_ms, %(fingerprint)s::numeric AS fingerprint) AS n
 WHERE r.snapshot_ts = %(minute)s
   AND hlctl_clock() < r.snapshot_ts + interval '60 s'
RETURNING r.snapshot_ts, r.status, r.wallets_expected, r.wallets_succeeded, r.rows_expected, r.rows_written,
          r.coverage_pct, r.missing, r.attempts, r.universe_run_id
