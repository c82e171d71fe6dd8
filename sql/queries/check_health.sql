-- What a minute noted of health is what its run says.
-- A failed minute was stale, a partial or suspect one not healthy, and a success not stale.
-- A failed minute may be published before the COMMIT of the good one right before it is through, and then notes one before that.
WITH run AS (
  SELECT snapshot_ts, status, coverage_pct, suspect, error,
         greatest(max(snapshot_ts) FILTER (WHERE status <> 'failed') OVER (ORDER BY snapshot_ts),
                  (SELECT max(g.snapshot_ts) FROM ingest_runs g WHERE g.status <> 'failed' AND g.snapshot_ts < %(since)s))
           AS last_good
    FROM ingest_runs
   WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s),
health AS (
  SELECT *
    FROM ingest_health
   WHERE health_ts >= %(since)s AND health_ts < %(until)s),
compared AS (
  SELECT coalesce(r.snapshot_ts, h.health_ts) AS snapshot_ts,
         concat_ws('; ',
           CASE WHEN h.health_ts IS NULL THEN 'nothing was noted' END,
           CASE WHEN r.snapshot_ts IS NULL THEN 'noted, and no run recorded the minute' END,
           CASE WHEN h.snapshot_status IS DISTINCT FROM r.status AND h.health_ts = r.snapshot_ts
                THEN concat('status ', h.snapshot_status, ', the run''s is ', r.status) END,
           CASE WHEN h.coverage_pct IS DISTINCT FROM r.coverage_pct AND h.health_ts = r.snapshot_ts
                THEN concat('coverage_pct ', h.coverage_pct, ', the run''s is ', r.coverage_pct) END,
           CASE WHEN h.last_success_snapshot_ts IS DISTINCT FROM r.last_good AND h.health_ts = r.snapshot_ts
                 AND (r.status = 'failed' AND r.last_good = r.snapshot_ts - interval '1 min'
                      AND h.last_success_snapshot_ts IS NOT DISTINCT FROM
                          (SELECT max(g.snapshot_ts) FROM ingest_runs g WHERE g.status <> 'failed' AND g.snapshot_ts < r.last_good))
                     IS NOT TRUE
                THEN concat('last good minute ', coalesce(to_char(h.last_success_snapshot_ts, 'YYYY-MM-DD HH24:MI'), 'none'), ', ',
                            coalesce(to_char(r.last_good, 'YYYY-MM-DD HH24:MI'), 'none'), ' by the runs') END,
           CASE WHEN h.error IS DISTINCT FROM r.error AND h.health_ts = r.snapshot_ts THEN 'another error than the run''s' END,
           CASE WHEN h.health_state IS NULL AND h.health_ts = r.snapshot_ts THEN 'no state' END,
           CASE WHEN (r.status = 'failed' AND h.health_state <> 'stale')
                  OR (r.status = 'partial' AND h.health_state = 'healthy')
                  OR (r.status = 'success' AND h.health_state = 'stale')
                  OR (cardinality(r.suspect) > 0 AND h.health_state = 'healthy')
                THEN concat_ws(', ', h.health_state, r.status, 'suspect ' || nullif(array_to_string(r.suspect, ' '), '')) END)
           AS found
    FROM run r
    FULL JOIN health h ON h.health_ts = r.snapshot_ts)
SELECT snapshot_ts, NULL::int AS wallet_id, NULL::text AS asset, found
  FROM compared
 WHERE found <> ''
 ORDER BY snapshot_ts
