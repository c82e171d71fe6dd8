-- A minute is suspect if its cells make it so.
-- And only then; each of these cells has its anomaly. Only where the minute's run looked with these rules, and where no cell
-- that it may have looked at was dropped since.
WITH rule AS MATERIALIZED (
  SELECT snapshot_ts, wallet_id, asset, word FROM suspect_cells(%(since)s, %(until)s)),
said AS (
  SELECT snapshot_ts, array_agg(DISTINCT word ORDER BY word) AS words FROM rule GROUP BY snapshot_ts),
judged AS (
  SELECT r.snapshot_ts, r.suspect
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
SELECT r.snapshot_ts, r.wallet_id, r.asset::text, 'suspect without an anomaly: ' || r.word
  FROM rule r
  JOIN judged j USING (snapshot_ts)
  LEFT JOIN snapshot_anomalies a
         ON (a.snapshot_ts, a.wallet_id, a.asset, a.details ->> 'kind') = (r.snapshot_ts, r.wallet_id, r.asset, r.word)
 WHERE a.snapshot_ts IS NULL
 ORDER BY snapshot_ts, wallet_id NULLS FIRST, asset
