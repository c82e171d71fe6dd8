-- The minutes of a range that no run recorded, oldest first: how many gaps there are and minutes in them, the first hundred
-- gaps, and what the database knows of each. Reads no cell. A run that has not begun, which a clock that was set back may leave,
-- comes after none.
WITH step AS (
  SELECT snapshot_ts
    FROM ingest_runs
   WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s
   UNION ALL
  SELECT %(since)s::timestamptz - interval '1 min'
   UNION ALL
  SELECT %(until)s),
hole AS (
  SELECT lag(snapshot_ts) OVER (ORDER BY snapshot_ts) + interval '1 min' AS since, snapshot_ts AS until
    FROM step),
gap AS (
  SELECT since, until, (extract(epoch FROM until - since) / 60)::int AS minutes,
         count(*) OVER ()::int AS gaps, (sum(extract(epoch FROM until - since) / 60) OVER ())::int AS gap_minutes
    FROM hole
   WHERE until > since
   ORDER BY since
   LIMIT 100)
SELECT g.gaps, g.gap_minutes, g.since, g.minutes,
       array_remove(ARRAY[
         CASE WHEN pg_postmaster_start_time() >= g.since AND pg_postmaster_start_time() < g.until + interval '60 s'
              THEN 'the database server was started at ' || to_char(pg_postmaster_start_time(), 'YYYY-MM-DD HH24:MI:SS') END,
         CASE WHEN refresh.n > 0
              THEN concat('a refresh was recorded at ', to_char(refresh.last, 'YYYY-MM-DD HH24:MI:SS'),
                          ', so the database answered') END,
         CASE WHEN after.host <> before.host THEN concat('recorded by ', before.host, ' before and by ', after.host, ' after') END,
         CASE WHEN after.version <> before.version
              THEN concat('hlctl ', before.version, ' before and ', after.version, ' after') END,
         CASE WHEN after.error IS NOT NULL THEN 'the next run: ' || after.error END,
         CASE WHEN after.host IS NULL THEN 'no run was recorded after it' END,
         CASE WHEN after.host IS NULL AND pg_is_in_recovery()
              THEN 'this server is a standby, which may not have heard of it yet' END], NULL) AS known
  FROM gap g
  LEFT JOIN LATERAL (
       SELECT host, version FROM ingest_runs WHERE snapshot_ts < g.since ORDER BY snapshot_ts DESC LIMIT 1) AS before ON true
  LEFT JOIN LATERAL (
       SELECT host, version, error FROM ingest_runs WHERE snapshot_ts >= g.until AND snapshot_ts <= hlctl_clock()
        ORDER BY snapshot_ts LIMIT 1) AS after ON true
 CROSS JOIN LATERAL (
       SELECT count(*) AS n, max(as_of_ts) AS last
         FROM wallet_universe_runs
        WHERE as_of_ts >= g.since AND as_of_ts < g.until) AS refresh
 ORDER BY g.since
