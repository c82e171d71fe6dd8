-- Tries a lock that is held to the end of the transaction; never waits.
SELECT pg_try_advisory_xact_lock(%(lock_class)s::int, %(lock_key)s::int) AS mine
