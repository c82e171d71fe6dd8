-- What the judge says now, kept as history beside the minute. A statement of its own: it must see the published row.
INSERT INTO ingest_health AS h (health_ts, last_success_snapshot_ts, snapshot_status, coverage_pct, health_state, error)
SELECT r.snapshot_ts,
       (SELECT max(g.snapshot_ts) FROM ingest_runs g WHERE g.status <> 'failed' AND g.snapshot_ts <= r.snapshot_ts),
       r.status, r.coverage_pct, v.health_state, r.error
  FROM ingest_runs r, v_latest_health v
 WHERE r.snapshot_ts = %(minute)s
ON CONFLICT (health_ts) DO UPDATE
   SET last_success_snapshot_ts = excluded.last_success_snapshot_ts,
       snapshot_status          = excluded.snapshot_status,
       coverage_pct             = excluded.coverage_pct,
       health_state             = excluded.health_state,
       error                    = excluded.error
