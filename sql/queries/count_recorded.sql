-- How many minutes from %(since)s to before %(minute)s have a row.
SELECT count(*)::int
  FROM ingest_runs
 WHERE snapshot_ts >= %(since)s
   AND snapshot_ts <  %(minute)s
