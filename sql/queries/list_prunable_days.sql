-- The days that prune drops: wholly older than `keep` days, and never the newest one that has cells, nor a later one.
-- A database clock that the exchange contradicts by more than a believed answer can be old is ahead: days are counted from the
-- exchange's then, or a clock a year ahead for a night would drop the whole record.
WITH newest AS (
  SELECT clock_offset_ms
    FROM ingest_runs
   WHERE snapshot_ts <= hlctl_clock()
     AND clock_offset_ms IS NOT NULL
   ORDER BY snapshot_ts DESC
   LIMIT 1),
clock AS (
  SELECT hlctl_clock() + coalesce((SELECT clock_offset_ms FROM newest WHERE clock_offset_ms < -65000), 0) * interval '1 ms' AS at)
SELECT s.day, s.bytes
  FROM clock
 CROSS JOIN stored_days((date_trunc('day', clock.at) - make_interval(days => %(keep)s::int))::date) AS s
 WHERE s.day < date_trunc('day', %(newest)s::timestamptz)
 ORDER BY s.day
