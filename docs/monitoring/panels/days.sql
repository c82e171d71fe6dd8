-- What the cells of each day take on disk, with their indexes. A day of 200 wallets is about 150 MB.
SELECT day::timestamp AT TIME ZONE 'UTC' AS "time", bytes
  FROM stored_days((hlctl_clock() AT TIME ZONE 'UTC')::date + 1)
 WHERE day::timestamp AT TIME ZONE 'UTC' BETWEEN $__timeFrom()::timestamptz - interval '1 day' AND $__timeTo()
 ORDER BY 1
