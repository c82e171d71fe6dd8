-- The last 60 minutes, oldest first, from the first recorded one on; status is NULL where nothing was recorded.
-- The current minute is listed once it is recorded: until then it is not a gap.
SELECT m.minute, r.status
  FROM (SELECT date_bin(interval '1 minute', at, timestamptz 'epoch') AS current FROM (SELECT hlctl_clock() AS at OFFSET 0) AS c) AS now
 CROSS JOIN (SELECT min(snapshot_ts) AS first FROM ingest_runs) AS record
 CROSS JOIN generate_series(now.current - interval '59 min', now.current, interval '1 min') AS m (minute)
  LEFT JOIN LATERAL (SELECT status FROM ingest_runs WHERE snapshot_ts = m.minute OFFSET 0) AS r ON true  -- 60 rows, not all
 WHERE m.minute >= record.first
   AND (m.minute < now.current OR r.status IS NOT NULL)
 ORDER BY m.minute
