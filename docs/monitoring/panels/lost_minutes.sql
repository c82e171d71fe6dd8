-- The minutes of each point that are partial, failed, or gaps. A gap is a minute without a row, from the first recorded one
-- to the last that is over.
SELECT $__timeGroup(m.minute, $__interval) AS "time",
       count(*) FILTER (WHERE r.status = 'partial')     AS "partial",
       count(*) FILTER (WHERE r.status = 'failed')      AS "failed",
       count(*) FILTER (WHERE r.snapshot_ts IS NULL)    AS "gap"
  FROM (SELECT min(snapshot_ts) AS first FROM ingest_runs) AS record
 CROSS JOIN LATERAL generate_series(
         greatest(record.first, date_bin('1 minute', $__timeFrom()::timestamptz + interval '59.999999 s', 'epoch')),
         least($__timeTo()::timestamptz, date_bin('1 minute', hlctl_clock(), 'epoch') - interval '1 minute'),
         interval '1 minute') AS m (minute)
  LEFT JOIN ingest_runs r ON r.snapshot_ts = m.minute AND $__timeFilter(r.snapshot_ts)
 WHERE record.first IS NOT NULL
 GROUP BY 1
 ORDER BY 1
