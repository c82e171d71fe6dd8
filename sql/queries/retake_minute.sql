-- Tries the lock of a minute that was taken before and lost with its connection. Answers that are there by now are
-- published with or without it.
SELECT pg_try_advisory_xact_lock(%(lock_class)s::int, (extract(epoch FROM %(minute)s::timestamptz) / 60)::int) AS mine
