-- How many cells the largest run of a range says to have: the more, the fewer minutes a check looks at in one statement.
SELECT coalesce(max(rows_expected), 0) AS cells
  FROM ingest_runs
 WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s
