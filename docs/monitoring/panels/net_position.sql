-- Coins held by all wallets, longs minus shorts, in the last usable minute of each point: success or partial, and not
-- suspect. Missing and dirty cells are in no sum. The band is what the net would be if each wallet that is not known holds
-- something it was seen to hold in the hour before: an assumption, no fact. Where one was not seen in that hour there is no
-- band. A break: no usable minute. A step at a refresh is no trade: the wallets are others.
WITH point AS MATERIALIZED (
  SELECT $__timeGroup(snapshot_ts, $__interval, NULL) AS bucket, max(snapshot_ts) AS minute
    FROM ingest_runs
   WHERE $__timeFilter(snapshot_ts)
     AND status <> 'failed'
     AND suspect = '{}'
     AND pruned_at IS NULL
   GROUP BY 1),
doubted AS MATERIALIZED (
  SELECT snapshot_ts
    FROM ingest_runs
   WHERE snapshot_ts BETWEEN $__timeFrom()::timestamptz - interval '1 hour' AND $__timeTo()
     AND suspect <> '{}')
SELECT p.bucket AS "time", e.known, e.lowest, e.highest
  FROM point p
 CROSS JOIN LATERAL (
       SELECT sum(c.szi) AS known,
              CASE WHEN bool_and(coalesce(c.szi, h.lowest) IS NOT NULL) THEN sum(coalesce(c.szi, h.lowest)) END  AS lowest,
              CASE WHEN bool_and(coalesce(c.szi, h.highest) IS NOT NULL) THEN sum(coalesce(c.szi, h.highest)) END AS highest
         FROM (SELECT wallet_id, asset, CASE WHEN NOT is_dirty THEN position_szi END AS szi
                 FROM wallet_snapshots
                WHERE snapshot_ts = p.minute
                  AND $__timeFilter(snapshot_ts)
                  AND asset IN (${asset:sqlstring})) AS c
         LEFT JOIN LATERAL (
              SELECT min(b.position_szi) AS lowest, max(b.position_szi) AS highest
                FROM wallet_snapshots b
               WHERE c.szi IS NULL
                 AND b.wallet_id = c.wallet_id
                 AND b.asset = c.asset
                 AND b.snapshot_ts >= p.minute - interval '1 hour'
                 AND b.snapshot_ts < p.minute
                 -- says nothing new, but keeps the other days' partitions out of the plan
                 AND b.snapshot_ts BETWEEN $__timeFrom()::timestamptz - interval '1 hour' AND $__timeTo()
                 AND NOT b.is_dirty
                 AND b.snapshot_ts NOT IN (SELECT snapshot_ts FROM doubted)) AS h ON true) AS e
 ORDER BY 1
