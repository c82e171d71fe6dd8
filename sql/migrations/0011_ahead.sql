-- A clock that ran ahead and was set back leaves minutes that have not begun. The judge leaves them out until they have:
-- they say nothing of now, and would outshine all that is recorded meanwhile.

CREATE OR REPLACE VIEW v_latest_health AS
WITH clock AS MATERIALIZED (
  SELECT hlctl_clock() AS at),
last AS (
  SELECT * FROM ingest_runs WHERE snapshot_ts <= (SELECT at FROM clock) ORDER BY snapshot_ts DESC LIMIT 1),
good AS (
  SELECT snapshot_ts FROM ingest_runs WHERE snapshot_ts <= (SELECT at FROM clock) AND status <> 'failed' ORDER BY snapshot_ts DESC LIMIT 1),
universe AS (
  SELECT as_of_ts FROM wallet_universe_runs WHERE status = 'success' ORDER BY run_id DESC LIMIT 1),
fact AS (
  SELECT clock.at, last.snapshot_ts, last.status, last.coverage_pct, last.suspect,
         good.snapshot_ts AS good_ts, universe.as_of_ts AS universe_ts,
         array_remove(ARRAY[
           CASE WHEN good.snapshot_ts IS NULL                           THEN 'no_good_minute' END,
           CASE WHEN clock.at - good.snapshot_ts > last.stale_after     THEN 'no_good_minute_lately' END,
           CASE WHEN last.status = 'failed'                             THEN 'last_minute_failed' END], NULL) AS stale_because,
         array_remove(ARRAY[
           CASE WHEN last.status = 'partial'                            THEN 'last_minute_partial' END,
           CASE WHEN clock.at - last.snapshot_ts > interval '120 s'     THEN 'last_minute_old' END,
           CASE WHEN clock.at - universe.as_of_ts > last.universe_stale_after THEN 'universe_old' END,
           CASE WHEN cardinality(last.suspect) > 0                      THEN 'suspect' END], NULL) AS degraded_because
    FROM clock
    LEFT JOIN last ON true
    LEFT JOIN good ON true
    LEFT JOIN universe ON true)
SELECT CASE WHEN cardinality(stale_because) > 0    THEN 'stale'
            WHEN cardinality(degraded_because) > 0 THEN 'degraded'
            ELSE 'healthy' END         AS health_state,
       stale_because || degraded_because AS reasons,
       at                              AS judged_at,
       snapshot_ts                     AS last_snapshot_ts,
       status                          AS last_status,
       coverage_pct,
       at - snapshot_ts                AS last_snapshot_age,
       good_ts                         AS last_good_snapshot_ts,
       at - good_ts                    AS last_good_age,
       universe_ts                     AS universe_as_of_ts,
       at - universe_ts                AS universe_age,
       coalesce(suspect, '{}')         AS suspect
  FROM fact;
