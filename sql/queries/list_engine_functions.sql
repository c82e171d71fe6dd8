-- Which engine each of these functions was made for: the files of sql/engines write it into the body. NULL: plain PostgreSQL.
SELECT proname::text AS name, substring(prosrc FROM '-- engine: ([a-z]+)') AS engine
  FROM pg_proc
 WHERE pronamespace = 'public'::regnamespace
   AND proname = ANY (%(functions)s)
