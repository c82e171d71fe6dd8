-- The days after today that have a partition already; each snapshot makes two. Below 0 today has none.
SELECT newest_day - (hlctl_clock() AT TIME ZONE 'UTC')::date AS days FROM cell_storage()
