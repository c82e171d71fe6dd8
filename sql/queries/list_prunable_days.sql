-- The days that prune drops: wholly older than `keep` days, and never the newest one that has cells, nor a later one.
WITH newest AS MATERIALIZED (
  SELECT max(snapshot_ts) AS minute FROM wallet_snapshots)
SELECT s.day, s.bytes
  FROM newest
 CROSS JOIN stored_days((date_trunc('day', hlctl_clock()) - make_interval(days => %(keep)s))::date) AS s
 WHERE s.day < date_trunc('day', newest.minute)
 ORDER BY s.day
