-- How the cells are kept. Columns are facts.Storage's.
SELECT s.total_bytes, s.days, s.oldest_day::timestamptz AS oldest_day, s.newest_day::timestamptz AS newest_day,
       s.newest_day - (hlctl_clock() AT TIME ZONE 'UTC')::date          AS days_ahead,
       (SELECT count(*)::int FROM stray_cells(timestamptz '-infinity', timestamptz 'infinity')) AS strayed
  FROM cell_storage() AS s
