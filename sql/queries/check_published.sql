-- A run sent and published within its minute, cells first.
-- The answers are timed by the database clock carried on: a second is left for how far the two drift apart.
WITH seen AS MATERIALIZED (
  SELECT snapshot_ts, max(observed_at) AS last
    FROM wallet_snapshots
   WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s
   GROUP BY snapshot_ts)
SELECT r.snapshot_ts, NULL::int AS wallet_id, NULL::text AS asset,
       concat_ws('; ',
         CASE WHEN (r.published_at >= r.snapshot_ts AND r.published_at < r.snapshot_ts + interval '60 s') IS NOT TRUE
              THEN concat('published at ', to_char(r.published_at, 'YYYY-MM-DD HH24:MI:SS.US')) END,
         CASE WHEN r.last_sent_at < r.snapshot_ts OR r.last_sent_at >= r.snapshot_ts + interval '60 s'
              THEN concat('last sent at ', to_char(r.last_sent_at, 'YYYY-MM-DD HH24:MI:SS.US')) END,
         CASE WHEN s.last > r.published_at + interval '1 s'
              THEN concat('published at ', r.published_at::time, ', a cell was seen at ', s.last::time) END) AS found
  FROM ingest_runs r
  LEFT JOIN seen s USING (snapshot_ts)
 WHERE r.snapshot_ts >= %(since)s AND r.snapshot_ts < %(until)s
   AND (   (r.published_at >= r.snapshot_ts AND r.published_at < r.snapshot_ts + interval '60 s') IS NOT TRUE
        OR r.last_sent_at < r.snapshot_ts OR r.last_sent_at >= r.snapshot_ts + interval '60 s'
        OR s.last > r.published_at + interval '1 s')
 ORDER BY r.snapshot_ts
