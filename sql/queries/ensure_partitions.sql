-- Makes the daily partitions that are missing; cheap when none is.
SELECT ensure_partitions(%(days)s::int) AS made
