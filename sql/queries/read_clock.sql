-- The time, by the one clock that counts.
SELECT hlctl_clock() AS at
