-- The days that have a place for cells, from the oldest to today.
SELECT (hlctl_clock() AT TIME ZONE 'UTC')::date - oldest_day + 1 AS days FROM cell_storage()
