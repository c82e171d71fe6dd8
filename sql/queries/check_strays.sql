-- No cell lies outside the partition of its day.
-- Only the function knows how cells are kept.
SELECT snapshot_ts, NULL::int AS wallet_id, NULL::text AS asset, concat(count(*), ' rows outside their day') AS found
  FROM stray_cells(%(since)s::timestamptz, %(until)s::timestamptz)
 GROUP BY snapshot_ts
 ORDER BY snapshot_ts
