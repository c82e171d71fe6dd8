-- The universe in force at a glance; no row if there is none. Columns are model.Universe's.
SELECT r.run_id, r.as_of_ts, r.source, r.entered_count, r.exited_count, r.churn_warning_count,
       (SELECT count(*)::int FROM wallet_universe_current) AS size
  FROM wallet_universe_runs r
 WHERE r.status = 'success'
 ORDER BY r.run_id DESC
 LIMIT 1
