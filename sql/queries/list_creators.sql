-- Who else may make things in the schema, where hlctl looks up what it calls. Its owner may, who owns the tables, and a
-- superuser; the others are named. It asks the catalogs only.
SELECT coalesce(r.rolname::text, 'PUBLIC') AS role
  FROM pg_namespace n
 CROSS JOIN aclexplode(coalesce(n.nspacl, acldefault('n'::"char", n.nspowner))) AS entry
  LEFT JOIN pg_roles r ON r.oid = entry.grantee
 WHERE n.nspname = 'public'
   AND entry.privilege_type = 'CREATE'
   AND entry.grantee <> n.nspowner
   AND r.rolsuper IS NOT TRUE
   AND entry.grantee <> ALL (SELECT c.relowner FROM pg_class c WHERE c.relname = 'schema_migrations' AND c.relnamespace = n.oid)
 ORDER BY 1
