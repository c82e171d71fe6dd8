-- What runs before this one sent within the last 60 s, for the rate limit: all of it is taken to have gone out at the last moment.
SELECT requests_sent, last_sent_at
  FROM ingest_runs
 WHERE snapshot_ts > hlctl_clock() - interval '3 min'
   AND last_sent_at > hlctl_clock() - interval '60 s'
