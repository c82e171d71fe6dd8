-- The days that prune drops: wholly older than `keep` days, and never the newest one that has cells, nor a later one.
SELECT s.day, s.bytes
  FROM stored_days((date_trunc('day', hlctl_clock()) - make_interval(days => %(keep)s::int))::date) AS s
 WHERE s.day < date_trunc('day', %(newest)s::timestamptz)
 ORDER BY s.day
