-- The time since the newest good minute, up to %(minute)s: its first minute, how many minutes there are before this one, and
-- the statuses that were told. Runs that a signal or a bug ended told something else.
-- Runs before at the minute itself told theirs too, and one that was good leaves nothing to tell.
-- The newest run of a status is the last of its in the index of both, ingest_runs_told, which has just the runs that told it:
-- compared so, no index of minutes alone can serve, by which PostgreSQL would read the whole outage where its statistics are
-- older than that.
WITH newest AS (
  SELECT last.*
    FROM unnest('{success,partial,failed}'::text[]) AS known (status)
   CROSS JOIN LATERAL (
         SELECT r.status, r.snapshot_ts
           FROM ingest_runs r
          WHERE (r.status, r.snapshot_ts) BETWEEN (known.status, '-infinity') AND (known.status, %(minute)s)
            AND (r.status = 'success' OR NOT r.missing ?| '{internal,cancelled}')
          ORDER BY r.status DESC, r.snapshot_ts DESC
          LIMIT 1) AS last),
past AS (
  SELECT coalesce((SELECT snapshot_ts + interval '1 min' FROM newest WHERE status = 'success'),
                  (SELECT min(snapshot_ts) FROM ingest_runs WHERE snapshot_ts <= %(minute)s)) AS since)
SELECT past.since,
       greatest(0, extract(epoch FROM %(minute)s - past.since) / 60)::int AS minutes,
       ARRAY(SELECT status FROM newest WHERE status <> 'success' AND snapshot_ts >= past.since) AS told
  FROM past
