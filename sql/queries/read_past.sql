-- The time since the newest good minute, up to %(minute)s: its first minute, how many minutes there are before this one, how
-- many of them have no row, and the statuses that were told. Runs that a signal or a bug ended told something else.
-- Runs before at the minute itself told theirs too, and one that was good leaves nothing to tell.
SELECT past.since, past.minutes, past.minutes - past.recorded AS gaps, past.told
  FROM (SELECT max(snapshot_ts) + interval '1 min' AS after_good
          FROM (SELECT snapshot_ts
                  FROM ingest_runs
                 WHERE status = 'success' AND snapshot_ts <= %(minute)s
                 ORDER BY snapshot_ts DESC
                 LIMIT 1) AS newest) AS good
 CROSS JOIN LATERAL (
       SELECT coalesce(good.after_good, min(r.snapshot_ts)) AS since,
              greatest(0, extract(epoch FROM %(minute)s - coalesce(good.after_good, min(r.snapshot_ts))) / 60)::int AS minutes,
              count(*) FILTER (WHERE r.snapshot_ts < %(minute)s)::int AS recorded,
              array_agg(DISTINCT r.status) FILTER (WHERE NOT r.missing ?| '{internal,cancelled}') AS told
         FROM ingest_runs r
        WHERE r.snapshot_ts <= %(minute)s AND r.snapshot_ts >= coalesce(good.after_good, '-infinity')) AS past
