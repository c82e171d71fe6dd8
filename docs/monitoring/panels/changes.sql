-- Who holds how much more or less in the last usable minute shown than in the first one of the hour before it, ten for each
-- asset. Only wallets that are known in both are compared, dirty cells aside: one that is missing or left did not close.
WITH newest AS MATERIALIZED (
  SELECT max(snapshot_ts) AS minute
    FROM ingest_runs
   WHERE $__timeFilter(snapshot_ts)
     AND status <> 'failed'
     AND suspect = '{}'
     AND pruned_at IS NULL),
oldest AS MATERIALIZED (
  SELECT min(r.snapshot_ts) AS minute
    FROM newest n
    JOIN ingest_runs r ON r.snapshot_ts >= n.minute - interval '1 hour' AND r.snapshot_ts < n.minute
   WHERE r.status <> 'failed'
     AND r.suspect = '{}'
     AND r.pruned_at IS NULL),
change AS (
  SELECT b.wallet_id, b.asset, a.position_szi AS before, b.position_szi AS now,
         row_number() OVER (PARTITION BY b.asset ORDER BY abs(b.position_szi - a.position_szi) DESC, b.wallet_id) AS place
    FROM wallet_snapshots b
    JOIN wallet_snapshots a USING (wallet_id, asset)
   WHERE b.snapshot_ts = (SELECT minute FROM newest)
     AND $__timeFilter(b.snapshot_ts)
     AND a.snapshot_ts = (SELECT minute FROM oldest)
     AND b.asset IN (${asset:sqlstring})
     AND a.position_szi <> b.position_szi
     AND NOT a.is_dirty
     AND NOT b.is_dirty)
SELECT c.asset::text AS asset, w.address, c.before, c.now, c.now - c.before AS change,
       CASE WHEN c.before = 0                   THEN 'opened'
            WHEN c.now = 0                      THEN 'closed'
            WHEN sign(c.before) <> sign(c.now)  THEN 'turned'
            WHEN abs(c.now) > abs(c.before)     THEN 'grown'
            ELSE 'shrunk' END AS what
  FROM change c
  JOIN wallets w USING (wallet_id)
 WHERE c.place <= 10
 ORDER BY c.asset, c.place
