-- Drops a day of cells and anomalies for good, with the owner's rights; what may not go is refused there.
SELECT drop_day(%(day)s::date)
