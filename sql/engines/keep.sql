-- Writes down what hangs on wallet_snapshots, as statements: what a copy of a table lacks, and what reads the table by its
-- number and not by its name. Part of the other files here, within their transaction. It asks the catalogs, so that a view, a
-- grant or a comment of your own is kept as well; a materialized view of your own stands in the way, and nothing is changed.

CREATE TEMP TABLE kept ON COMMIT DROP AS
WITH cells AS (
  SELECT 'wallet_snapshots'::regclass AS oid),
view AS (
  SELECT DISTINCT r.ev_class AS oid
    FROM pg_depend d
    JOIN pg_rewrite r ON r.oid = d.objid
    JOIN pg_class v ON v.oid = r.ev_class AND v.relkind = 'v'
   WHERE d.classid = 'pg_rewrite'::regclass
     AND d.refclassid = 'pg_class'::regclass
     AND d.refobjid = (SELECT oid FROM cells)),
function AS (  -- those with a body in standard SQL
  SELECT DISTINCT d.objid AS oid
    FROM pg_depend d
   WHERE d.classid = 'pg_proc'::regclass
     AND d.refclassid = 'pg_class'::regclass
     AND d.refobjid = (SELECT oid FROM cells)),
relation AS (
  SELECT c.oid, c.oid::regclass AS name, c.relowner, c.relacl, c.relkind
    FROM pg_class c
   WHERE c.oid IN (SELECT oid FROM cells UNION SELECT oid FROM view)),
granted AS (
  SELECT r.name, NULL AS column_name, a.privilege_type, a.grantee, a.is_grantable
    FROM relation r
   CROSS JOIN aclexplode(r.relacl) AS a
   WHERE a.grantee <> r.relowner
   UNION ALL
  SELECT r.name, c.attname, a.privilege_type, a.grantee, a.is_grantable
    FROM relation r
    JOIN pg_attribute c ON c.attrelid = r.oid AND c.attnum > 0 AND NOT c.attisdropped
   CROSS JOIN aclexplode(c.attacl) AS a
   WHERE a.grantee <> r.relowner)
SELECT 'definition' AS what,
       format('CREATE OR REPLACE VIEW %s%s AS %s', v.oid::regclass,
              ' WITH (' || array_to_string((SELECT reloptions FROM pg_class c WHERE c.oid = v.oid), ', ') || ')',
              pg_get_viewdef(v.oid)) AS statement
  FROM view v
 UNION ALL
SELECT 'definition', pg_get_functiondef(f.oid)
  FROM function f
 UNION ALL
SELECT 'right', format('ALTER TABLE %s OWNER TO %I', r.name, pg_get_userbyid(r.relowner))
  FROM relation r
 UNION ALL
SELECT 'right',
       format('GRANT %s%s ON %s TO %s%s', g.privilege_type, ' (' || quote_ident(g.column_name) || ')', g.name,
              CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
              CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' END)
  FROM granted g
 UNION ALL
SELECT 'comment',
       format('COMMENT ON %s %s IS %L', CASE r.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, r.name, d.description)
  FROM relation r
  JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = r.oid AND d.objsubid = 0
 UNION ALL
SELECT 'comment', format('COMMENT ON COLUMN %s.%I IS %L', r.name, c.attname, d.description)
  FROM relation r
  JOIN pg_attribute c ON c.attrelid = r.oid AND c.attnum > 0
  JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = r.oid AND d.objsubid = c.attnum;
