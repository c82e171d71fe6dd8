-- Is there an hlctl schema at all?
SELECT to_regclass('public.schema_migrations') IS NOT NULL AS found
