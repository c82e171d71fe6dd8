-- Stands in for Citus where there is none: what sql/engines calls of it, by the signatures of 13.2, with the effects on the
-- catalogs of the coordinator that matter here. No cell goes anywhere.

CREATE TABLE pg_dist_partition (logicalrelid regclass NOT NULL, partmethod "char" NOT NULL);
CREATE TABLE pg_dist_shard (logicalrelid regclass NOT NULL, shardid bigint NOT NULL);
GRANT SELECT ON pg_dist_partition, pg_dist_shard TO PUBLIC;

CREATE FUNCTION create_distributed_table(table_name regclass, distribution_column text, shard_count int) RETURNS void
LANGUAGE sql
AS $$
  INSERT INTO pg_dist_partition VALUES (table_name, 'h');
  INSERT INTO pg_dist_shard SELECT table_name, 102007 + n FROM generate_series(1, shard_count) AS n;
$$;

CREATE FUNCTION truncate_local_data_after_distributing_table(function_name regclass) RETURNS void
LANGUAGE sql
AS '';

CREATE FUNCTION create_distributed_function(function_name regprocedure) RETURNS void
LANGUAGE sql
AS '';

CREATE FUNCTION pg_catalog.citus_total_relation_size(logicalrelid regclass, fail_on_error boolean DEFAULT true) RETURNS bigint
LANGUAGE sql
AS 'SELECT coalesce(sum(pg_total_relation_size(relid)), 0)::bigint FROM pg_partition_tree(logicalrelid)';

-- It drops the old table CASCADE and makes the views again, but neither their grants and comments nor a function that depended
-- on the table. Whether it carries grants on columns is not known, so here it does not.
CREATE FUNCTION undistribute_table(relation regclass) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  found      record;
  definition text;
BEGIN
  FOR found IN SELECT DISTINCT r.ev_class::regclass::text AS view
                 FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
                WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = relation LOOP
    definition := pg_get_viewdef(found.view::regclass);
    EXECUTE format('DROP VIEW %s', found.view);
    EXECUTE format('CREATE VIEW %s AS %s', found.view, definition);
  END LOOP;
  FOR found IN SELECT DISTINCT d.objid::regprocedure AS function
                 FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.refobjid = relation LOOP
    EXECUTE format('DROP FUNCTION %s CASCADE', found.function);
  END LOOP;
  FOR found IN SELECT r.rolname FROM pg_roles r JOIN pg_class c ON c.oid = relation AND c.relowner <> r.oid LOOP
    EXECUTE format('REVOKE ALL ON %s FROM %I', relation, found.rolname);
  END LOOP;
  DELETE FROM pg_dist_partition WHERE logicalrelid = relation;
  DELETE FROM pg_dist_shard WHERE logicalrelid = relation;
END
$$;

SET LOCAL allow_system_table_mods = on;
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
SELECT 2147483600, 'citus', oid, 'public'::regnamespace, false, '13.2-1' FROM pg_roles WHERE rolname = current_user;
