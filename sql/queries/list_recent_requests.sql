-- What runs before this one sent within the last 60 s, for the rate limit: each second's requests are taken to have gone
-- out at its end, or with the run's last one; the plan counts each for half a second more, until it has surely arrived.
-- A minute that has not begun is of a clock that was set back: nobody knows when its requests were sent.
SELECT s.requests, least(r.snapshot_ts + s.second * interval '1 s', r.last_sent_at) AS at
  FROM (SELECT *  -- no more of them lie within 61 s and a minute: found without a look at the others, however many there are
          FROM ingest_runs
         WHERE snapshot_ts <= hlctl_clock()
         ORDER BY snapshot_ts DESC
         LIMIT 3) AS r
 CROSS JOIN unnest(r.sent_per_second) WITH ORDINALITY AS s (requests, second)
 WHERE s.requests > 0
   AND least(r.snapshot_ts + s.second * interval '1 s', r.last_sent_at) > hlctl_clock() - interval '61 s'
 ORDER BY at
