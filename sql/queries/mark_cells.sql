-- Marks cells as dirty if they still hold the size that was judged; a row back for each. Two minutes' bounds beside the keys,
-- so that no other day's partition is opened.
UPDATE wallet_snapshots AS c
   SET is_dirty = true, dirty_reason = v.reason
  FROM (SELECT *
          FROM unnest(%(snapshot_ts)s::timestamptz[], %(wallet_id)s::int[], %(asset)s::asset[], %(reason)s::text[],
                      %(position_szi)s::numeric[]) AS u (snapshot_ts, wallet_id, asset, reason, position_szi)
         ORDER BY snapshot_ts, wallet_id, asset) AS v
 WHERE c.snapshot_ts >= minutes_after(%(minute)s::timestamptz, -2)
   AND c.snapshot_ts < %(minute)s
   AND (c.snapshot_ts, c.wallet_id, c.asset) = (v.snapshot_ts, v.wallet_id, v.asset)
   AND c.position_szi IS NOT DISTINCT FROM v.position_szi
   AND NOT c.is_dirty
RETURNING c.snapshot_ts, c.wallet_id, c.asset::text
