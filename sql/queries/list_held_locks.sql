-- Who holds an advisory lock of hlctl's in this database. Of other users' sessions a role without pg_read_all_stats sees
-- little: NULL is "not to be seen". Numbers below zero are those of db.py, -3 is ensure_partitions' own. Columns are
-- facts.HeldLock's.
SELECT CASE k.number WHEN -1 THEN 'migrate' WHEN -2 THEN 'refresh' WHEN -3 THEN 'partitions' ELSE 'minute' END AS lock,
       CASE WHEN k.number >= 0 THEN to_timestamp(k.number * 60.0) END                          AS minute,
       l.pid, a.usename::text AS "user",
       coalesce(host(a.client_addr), nullif(a.application_name, ''))                           AS client,
       a.xact_start                                                                            AS since
  FROM pg_locks l
  JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
 CROSS JOIN LATERAL (SELECT CASE WHEN l.objid::bigint < 2147483648 THEN l.objid::bigint
                                 ELSE l.objid::bigint - 4294967296 END AS number) AS k
  LEFT JOIN pg_stat_activity a ON a.pid = l.pid
 WHERE l.locktype = 'advisory'
   AND l.classid = %(lock_class)s::bigint::oid
   AND l.objsubid = 2
   AND l.granted
 ORDER BY k.number, l.pid
