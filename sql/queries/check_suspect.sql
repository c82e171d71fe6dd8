-- Minutes whose `suspect` is not what the rules say, and cells of suspect minutes that have no anomaly. Only where the
-- minute's run looked with these rules.
WITH rule AS MATERIALIZED (
  SELECT snapshot_ts, wallet_id, asset, word FROM suspect_cells(%(since)s, %(until)s)),
said AS (
  SELECT snapshot_ts, array_agg(DISTINCT word ORDER BY word) AS words FROM rule GROUP BY snapshot_ts),
judged AS (
  SELECT snapshot_ts, suspect
    FROM ingest_runs
   WHERE snapshot_ts >= %(since)s
     AND snapshot_ts <  %(until)s
     AND anomaly_rules = 1)
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
