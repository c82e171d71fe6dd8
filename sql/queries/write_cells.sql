-- Every (wallet, asset) of the pinned universe gets its row; a value fills a hole, nothing else ever changes.
-- Answers come one a wallet and positions one each: who answered is flat in every asset without a position.
INSERT INTO wallet_snapshots AS c (
  snapshot_ts, wallet_id, asset, position_szi, entry_px, liq_px, leverage, leverage_type, margin_used,
  observed_at, missing_reason, ingest_run_id, attempt)
SELECT r.snapshot_ts, m.wallet_id, a.asset, CASE WHEN v.observed_at IS NOT NULL THEN coalesce(p.szi, 0) END,
       p.entry_px, p.liq_px, p.leverage, p.leverage_type, p.margin_used,
       v.observed_at, CASE WHEN v.observed_at IS NULL THEN coalesce(v.reason, 'internal') END, r.run_id, r.attempts
  FROM ingest_runs r
  JOIN wallet_universe_members m ON m.run_id = r.universe_run_id
 CROSS JOIN unnest(enum_range(NULL::asset)) AS a (asset)
  LEFT JOIN unnest(%(wallet_id)s::int[], %(observed_at)s::timestamptz[], %(reason)s::missing_reason[])
         AS v (wallet_id, observed_at, reason)
         USING (wallet_id)
  LEFT JOIN unnest(%(holder_id)s::int[], %(asset)s::asset[], %(szi)s::numeric[], %(entry_px)s::numeric[],
                   %(liq_px)s::numeric[], %(leverage)s::numeric[], %(leverage_type)s::leverage_type[],
                   %(margin_used)s::numeric[])
         AS p (wallet_id, asset, szi, entry_px, liq_px, leverage, leverage_type, margin_used)
         USING (wallet_id, asset)
 WHERE r.snapshot_ts = %(minute)s
 ORDER BY m.wallet_id, a.asset
ON CONFLICT (snapshot_ts, wallet_id, asset) DO UPDATE
   SET position_szi = excluded.position_szi, entry_px = excluded.entry_px, liq_px = excluded.liq_px,
       leverage = excluded.leverage, leverage_type = excluded.leverage_type, margin_used = excluded.margin_used,
       observed_at = excluded.observed_at, missing_reason = NULL, attempt = excluded.attempt
 WHERE c.missing_reason IS NOT NULL
   AND excluded.missing_reason IS NULL
