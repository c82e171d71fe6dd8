-- Who was let in, and as what: whoever was granted a column of the migrations' book by name, which only hlctl does. A right
-- on a whole table or a function may be a default privilege, of which its role knows nothing.
SELECT r.rolname AS role, CASE WHEN bool_or(a.attname = 'tool_version') THEN 'writer' ELSE 'reader' END AS access
  FROM pg_attribute a
 CROSS JOIN aclexplode(a.attacl) AS entry
  JOIN pg_roles r ON r.oid = entry.grantee
 WHERE a.attrelid = to_regclass('public.schema_migrations')
   AND a.attname IN ('version', 'tool_version')
   AND entry.privilege_type = 'SELECT'
 GROUP BY r.rolname
 ORDER BY r.rolname
