-- Keys that are not there: a publication fills holes by them, and without them a row can be there twice; and the partition for
-- the cells of a day that has none, where cells are kept in partitions.
SELECT concat('the key of ', k.relation, ' (', array_to_string(k.columns, ', '), ')') AS words
  FROM (VALUES
    ('wallets',                 '{wallet_id}'::name[]),
    ('wallets',                 '{address}'),
    ('wallet_universe_runs',    '{run_id}'),
    ('wallet_universe_members', '{run_id, wallet_id}'),
    ('wallet_universe_members', '{run_id, rank}'),
    ('wallet_universe_current', '{wallet_id}'),
    ('wallet_snapshots',        '{snapshot_ts, wallet_id, asset}'),
    ('snapshot_anomalies',      '{snapshot_ts, wallet_id, asset, anomaly_type}'),
    ('ingest_runs',             '{snapshot_ts}'),
    ('ingest_health',           '{health_ts}')) AS k (relation, columns)
  JOIN pg_class c ON c.relname = k.relation AND c.relnamespace = 'public'::regnamespace
 WHERE NOT EXISTS (SELECT
                     FROM pg_index i
                    CROSS JOIN LATERAL (
                          SELECT array_agg(a.attname ORDER BY a.attnum) AS columns
                            FROM pg_attribute a
                           WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)) AS indexed
                    WHERE i.indrelid = c.oid
                      AND i.indisunique
                      AND i.indisvalid
                      AND i.indpred IS NULL
                      AND indexed.columns <@ k.columns
                      AND indexed.columns @> k.columns)
 UNION ALL
SELECT 'the default partition of wallet_snapshots'
  FROM pg_partitioned_table
 WHERE partrelid = to_regclass('public.wallet_snapshots')
   AND partdefid = 0
 ORDER BY words
