-- Records a refresh, good or failed. The newest has the highest number: one that has not would be recorded and never in force.
INSERT INTO wallet_universe_runs (
  as_of_ts, status, source, n_requested, n_received, entered_count, exited_count, churn_warning_count, duration_ms, rows_seen,
  rows_rejected, error)
VALUES (hlctl_clock(), %(status)s, %(source)s, %(n_requested)s, %(n_received)s, %(entered_count)s, %(exited_count)s,
        %(churn_warning_count)s, %(duration_ms)s, %(rows_seen)s, %(rows_rejected)s, %(error)s)
RETURNING run_id, run_id > coalesce((SELECT max(o.run_id) FROM wallet_universe_runs o), 0) AS is_newest
