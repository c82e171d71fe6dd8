-- A minute is suspect if its cells make it so.
-- And only then; each of these cells has its anomaly, and no other cell has one, unless an earlier attempt of the minute left
-- it. Only where the minute's run looked with these rules, and where no cell that it may have looked at was dropped since.
WITH rule AS MATERIALIZED (
  SELECT snapshot_ts, wallet_id, asset, word FROM suspect_cells(%(since)s::timestamptz, %(until)s::timestamptz)),
anomaly AS (  -- the others are check_dirty's
  SELECT snapshot_ts, wallet_id, asset, details ->> 'kind' AS word, anomaly_type
    FROM snapshot_anomalies
   WHERE snapshot_ts >= %(since)s
     AND snapshot_ts <  %(until)s
     AND details ->> 'kind' IS NOT NULL),
said AS (
  SELECT snapshot_ts, array_agg(DISTINCT word ORDER BY word) AS words FROM rule GROUP BY snapshot_ts),
judged AS (
  SELECT r.snapshot_ts, r.suspect, r.attempts
    FROM ingest_runs r
   WHERE r.snapshot_ts >= %(since)s
     AND r.snapshot_ts <  %(until)s
     AND r.anomaly_rules = 1
     AND NOT EXISTS (SELECT
                       FROM ingest_runs p
                      WHERE p.snapshot_ts >= minutes_after(r.snapshot_ts, -60)
                        AND p.snapshot_ts <= r.snapshot_ts
                        AND p.pruned_at IS NOT NULL))
SELECT j.snapshot_ts, NULL::int AS wallet_id, NULL::text AS asset,
       'suspect is ' || j.suspect::text || ', should be ' || coalesce(s.words, '{}')::text AS found
  FROM judged j
  LEFT JOIN said s USING (snapshot_ts)
 WHERE j.suspect <> coalesce(s.words, '{}')
 UNION ALL
SELECT snapshot_ts, wallet_id, asset::text,
       CASE WHEN a.word IS NULL THEN 'suspect without an anomaly: ' || r.word ELSE 'anomaly for nothing: ' || a.word END
  FROM (SELECT *, 'other' AS anomaly_type FROM rule) AS r
  FULL JOIN anomaly a USING (snapshot_ts, wallet_id, asset, word, anomaly_type)
  JOIN judged j USING (snapshot_ts)
 WHERE a.word IS NULL
    OR r.word IS NULL AND j.attempts = 1
 ORDER BY snapshot_ts, wallet_id NULLS FIRST, asset
