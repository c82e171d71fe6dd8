-- Tries a lock that is held to the end of the transaction; never waits.
SELECT pg_try_advisory_xact_lock(%(lock_class)s, %(lock_key)s) AS mine
