-- Who the session is and what its server is, for `doctor`. Columns are checks.database.Session's.
-- It asks nothing of hlctl's schema.
SELECT current_user::text AS role, current_setting('server_encoding') AS encoding,
       pg_is_in_recovery() AS is_in_recovery,
       (SELECT reset_val = 'on' FROM pg_settings WHERE name = 'default_transaction_read_only') AS is_read_only,
       pg_backend_pid() AS pid
