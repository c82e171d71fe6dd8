-- How many cells each minute of [begins, ends) has now, and their fingerprint: reads cells and nothing else.
SELECT snapshot_ts, count(*) AS cells,
       sum(cell_fingerprint(wallet_id, asset, position_szi, entry_px, liq_px, leverage, leverage_type, margin_used,
                            observed_at, missing_reason, attempt)) AS fingerprint
  FROM wallet_snapshots
 WHERE snapshot_ts >= %(begins)s
   AND snapshot_ts < %(ends)s
 GROUP BY snapshot_ts
