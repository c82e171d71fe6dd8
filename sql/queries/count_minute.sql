-- What is stored of this minute: reads cells and nothing else.
WITH wallet AS (
  SELECT wallet_id, count(*) AS n, bool_and(missing_reason IS NULL) AS known, min(missing_reason) AS reason
    FROM wallet_snapshots
   WHERE snapshot_ts = %(minute)s
   GROUP BY wallet_id),
total AS (
  SELECT count(*)::int AS expected, (count(*) FILTER (WHERE known))::int AS succeeded, coalesce(sum(n), 0)::int AS rows_written
    FROM wallet),
why AS (
  SELECT coalesce(jsonb_object_agg(reason, n), '{}') AS missing
    FROM (SELECT reason, count(*) AS n FROM wallet WHERE NOT known GROUP BY reason) AS g)
SELECT expected, succeeded, rows_written, missing
  FROM total, why
