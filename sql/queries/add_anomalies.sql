-- What is odd about these cells, once.
INSERT INTO snapshot_anomalies (snapshot_ts, wallet_id, asset, anomaly_type, details)
SELECT *
  FROM unnest(%(snapshot_ts)s::timestamptz[], %(wallet_id)s::int[], %(asset)s::asset[], %(anomaly_type)s::text[],
              %(details)s::jsonb[]) AS v (snapshot_ts, wallet_id, asset, anomaly_type, details)
 ORDER BY snapshot_ts, wallet_id, asset
ON CONFLICT DO NOTHING
