-- What is recorded of a range. Columns are facts.Tally's.
SELECT count(*)::int                                                              AS recorded,
       (count(*) FILTER (WHERE status = 'success'))::int                          AS success,
       (count(*) FILTER (WHERE status = 'partial'))::int                          AS partial,
       (count(*) FILTER (WHERE status = 'failed'))::int                           AS failed,
       count(pruned_at)::int                                                      AS pruned,
       (count(*) FILTER (WHERE fingerprint IS NULL AND pruned_at IS NULL))::int   AS without_fingerprint
  FROM ingest_runs
 WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s
