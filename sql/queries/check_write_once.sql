-- No cell has changed since it was published.
-- The fingerprint of the cells is the run's. A run from before there were fingerprints has none, and no rate limit either: both
-- were first written down at once.
WITH minute AS MATERIALIZED (
  SELECT snapshot_ts,
         sum(cell_fingerprint(wallet_id, asset, position_szi, entry_px, liq_px, leverage, leverage_type, margin_used,
                              observed_at, missing_reason, attempt)) AS fingerprint
    FROM wallet_snapshots
   WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s
   GROUP BY snapshot_ts)
SELECT r.snapshot_ts, NULL::int AS wallet_id, NULL::text AS asset,
       CASE WHEN r.fingerprint IS NULL THEN 'the fingerprint is gone'
            ELSE concat('fingerprint ', r.fingerprint, ', ', coalesce(m.fingerprint::text, 'none'), ' by the cells') END AS found
  FROM ingest_runs r
  LEFT JOIN minute m USING (snapshot_ts)
 WHERE r.snapshot_ts >= %(since)s AND r.snapshot_ts < %(until)s
   AND CASE WHEN r.fingerprint IS NULL THEN r.rate_limit IS NOT NULL
            ELSE r.pruned_at IS NULL AND r.fingerprint IS DISTINCT FROM m.fingerprint END
 ORDER BY r.snapshot_ts
