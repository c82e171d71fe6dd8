-- Waits until no other process migrates; held to the end of the transaction.
SELECT pg_advisory_xact_lock(%(lock_class)s::int, %(lock_key)s::int)
