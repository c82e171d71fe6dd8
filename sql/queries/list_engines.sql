-- The extensions of this database that can keep cells. It asks nothing of hlctl's schema.
SELECT extname::text AS extension, extversion AS version
  FROM pg_extension
 WHERE extname IN ('citus', 'timescaledb')
 ORDER BY extname
