-- The one judgement of health. Columns are facts.Health's.
SELECT health_state, reasons, judged_at, last_snapshot_ts, last_status, coverage_pct, last_snapshot_age,
       last_good_snapshot_ts, last_good_age, universe_as_of_ts, universe_age, suspect
  FROM v_latest_health
