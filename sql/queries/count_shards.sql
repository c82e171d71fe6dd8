-- How many shards Citus spreads the cells over; no row: none. For databases that have the extension.
SELECT count(*)::int AS parts
  FROM pg_dist_partition p
  JOIN pg_dist_shard s USING (logicalrelid)
 WHERE p.logicalrelid = 'wallet_snapshots'::regclass
   AND p.partmethod = 'h'
HAVING count(*) > 0
