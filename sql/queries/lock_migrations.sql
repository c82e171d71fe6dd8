-- Waits until no other process migrates; held to the end of the transaction.
SELECT set_config('lock_timeout', '60s', true), set_config('statement_timeout', '60s', true),
       pg_advisory_xact_lock(%(lock_class)s, %(lock_key)s)
