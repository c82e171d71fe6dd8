-- Who was given access, and as what: neither function is PUBLIC's, so a role with an entry of its own was let in.
SELECT r.rolname AS role, CASE WHEN bool_or(p.proname = 'ensure_partitions') THEN 'writer' ELSE 'reader' END AS access
  FROM pg_proc p
 CROSS JOIN aclexplode(p.proacl) AS entry
  JOIN pg_roles r ON r.oid = entry.grantee
 WHERE p.pronamespace = 'public'::regnamespace
   AND p.proname IN ('hlctl_clock', 'ensure_partitions')
   AND entry.grantee <> p.proowner
 GROUP BY r.rolname
 ORDER BY r.rolname
