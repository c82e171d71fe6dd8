-- What can be verified: the database's time, the newest final minute, and the first one of which a run or its health is there.
SELECT c.at, date_bin(interval '1 minute', c.at - interval '120 s', timestamptz 'epoch') AS final,
       least((SELECT min(snapshot_ts) FROM ingest_runs), (SELECT min(health_ts) FROM ingest_health)) AS first
  FROM (SELECT hlctl_clock() AS at OFFSET 0) AS c
