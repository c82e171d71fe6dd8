-- How much room the cells take, and which days have a place.

-- Whoever keeps the cells in another way than in daily partitions replaces this function, stray_cells and ensure_partitions.
-- It needs no rights on the partitions: sizes and bounds are in the catalogs.
CREATE FUNCTION cell_storage()
RETURNS TABLE (total_bytes bigint, days int, oldest_day date, newest_day date)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
  SELECT coalesce(sum(pg_total_relation_size(part.oid)), 0)::bigint, count(part.day)::int, min(part.day), max(part.day)
    FROM (SELECT c.oid, substring(pg_get_expr(c.relpartbound, c.oid) FROM $re$FROM \('(\d{4}-\d\d-\d\d) $re$)::date AS day
            FROM pg_inherits i
            JOIN pg_class c ON c.oid = i.inhrelid
           WHERE i.inhparent = 'public.wallet_snapshots'::regclass) AS part
$$;

COMMENT ON FUNCTION cell_storage() IS
  'What the cells take with their indexes, in bytes, how many days have a partition, and the oldest and the newest of these days, UTC.';
REVOKE ALL ON FUNCTION cell_storage() FROM PUBLIC;
