-- Stands in for TimescaleDB where there is none: what sql/engines calls of it and reads from it, by the names of 2.28. The
-- hypertable stays a plain table; its chunks are the days that it has cells of.

CREATE SCHEMA timescaledb_information;
CREATE TABLE stand_in (relation oid NOT NULL);

CREATE FUNCTION stand_in_chunks() RETURNS TABLE (day timestamptz)
LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
  IF EXISTS (SELECT FROM public.stand_in JOIN pg_class c ON c.oid = relation AND c.relname = 'wallet_snapshots') THEN
    RETURN QUERY EXECUTE 'SELECT DISTINCT date_trunc(''day'', snapshot_ts, ''UTC'') FROM public.wallet_snapshots';
  END IF;
END
$$;

CREATE VIEW timescaledb_information.hypertables AS
SELECT 'public'::name AS hypertable_schema, c.relname AS hypertable_name, (SELECT count(*) FROM stand_in_chunks()) AS num_chunks
  FROM stand_in
  JOIN pg_class c ON c.oid = relation;

CREATE VIEW timescaledb_information.chunks AS
SELECT 'public'::name AS hypertable_schema, 'wallet_snapshots'::name AS hypertable_name, 'public'::name AS chunk_schema,
       'wallet_snapshots'::name AS chunk_name, day AS range_start, day + interval '24 hours' AS range_end
  FROM stand_in_chunks();

GRANT USAGE ON SCHEMA timescaledb_information TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA timescaledb_information TO PUBLIC;

CREATE FUNCTION by_range(column_name name, partition_interval interval) RETURNS text
LANGUAGE sql
AS 'SELECT column_name::text';

CREATE FUNCTION create_hypertable(relation regclass, dimension text, create_default_indexes boolean) RETURNS text
LANGUAGE plpgsql
AS $$
BEGIN
  IF (SELECT relkind FROM pg_class WHERE oid = relation) <> 'r' THEN
    RAISE EXCEPTION 'table "%" is already partitioned', relation USING ERRCODE = 'wrong_object_type';
  END IF;
  INSERT INTO public.stand_in VALUES (relation);
  RETURN 'public';
END
$$;

CREATE FUNCTION drop_chunks(relation regclass, older_than timestamptz, newer_than timestamptz) RETURNS SETOF text
LANGUAGE plpgsql
AS $$
BEGIN
  EXECUTE format('DELETE FROM %s WHERE snapshot_ts >= %L AND snapshot_ts < %L', relation, newer_than, older_than);
  RETURN NEXT relation::text;
END
$$;

SET LOCAL allow_system_table_mods = on;
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
SELECT 2147483600, 'timescaledb', oid, 'public'::regnamespace, false, '2.28.3' FROM pg_roles WHERE rolname = current_user;
