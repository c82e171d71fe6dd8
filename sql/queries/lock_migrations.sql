-- Waits until no other process migrates; held to the end of the transaction.
SELECT pg_advisory_xact_lock(%(lock_class)s, %(lock_key)s)
