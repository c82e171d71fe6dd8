-- What is stored of this minute, how far apart its wallets were seen, and its fingerprint: reads cells and nothing else.
WITH wallet AS (
  SELECT wallet_id, count(*) AS n, bool_and(missing_reason IS NULL) AS known, min(missing_reason) AS reason,
         min(observed_at) AS seen,
         sum(cell_fingerprint(wallet_id, asset, position_szi, entry_px, liq_px, leverage, leverage_type, margin_used,
                              observed_at, missing_reason, attempt)) AS fingerprint
    FROM wallet_snapshots
   WHERE snapshot_ts = %(minute)s
   GROUP BY wallet_id),
total AS (
  SELECT count(*)::int AS expected, (count(*) FILTER (WHERE known))::int AS succeeded, coalesce(sum(n), 0)::int AS rows_written,
         (1000 * extract(epoch FROM max(seen) - min(seen)))::int AS skew_ms, sum(fingerprint) AS fingerprint
    FROM wallet),
why AS (
  SELECT coalesce(jsonb_object_agg(reason, n), '{}') AS missing
    FROM (SELECT reason, count(*) AS n FROM wallet WHERE NOT known GROUP BY reason) AS g)
SELECT expected, succeeded, rows_written, missing, skew_ms, fingerprint
  FROM total, why
