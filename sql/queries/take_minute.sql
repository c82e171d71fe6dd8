-- Names the minute by the database clock and tries its lock. A start within `lead` of the next minute belongs to that one.
-- The look at the minute is the NEXT statement: this one's snapshot is older than the lock.
SELECT m.minute, m.at,
       pg_try_advisory_xact_lock(%(lock_class)s::int, (extract(epoch FROM m.minute) / 60)::int) AS mine
  FROM (SELECT c.at, date_bin(interval '1 minute', c.at + %(lead)s::interval, timestamptz 'epoch') AS minute
          FROM (SELECT hlctl_clock() AS at OFFSET 0) AS c) AS m
