-- The cells of [begins, ends) as an archive keeps them, for COPY. Columns and their order are cellfile.COLUMNS; runs of one
-- wallet and asset lie together, for they are alike. A type that holds numbers alone forgets the zeros that the exchange
-- printed at their end: trailing_zeros counts them, two digits for each of the five numbers, so that every cell can be told
-- digit for digit and fingerprinted again.
WITH cell AS MATERIALIZED (
  SELECT *
    FROM wallet_snapshots
   WHERE snapshot_ts >= %(begins)s
     AND snapshot_ts < %(ends)s)
SELECT c.snapshot_ts, w.address, c.wallet_id, c.asset, c.position_szi, c.entry_px, c.liq_px, c.leverage, c.leverage_type,
       c.margin_used, c.missing_reason, c.observed_at, c.is_dirty::text AS is_dirty, c.dirty_reason, c.attempt,
       CASE WHEN c.position_szi IS NOT NULL
            THEN concat(to_char(coalesce(scale(c.position_szi) - min_scale(c.position_szi), 0), 'FM00'),
                        to_char(coalesce(scale(c.entry_px) - min_scale(c.entry_px), 0), 'FM00'),
                        to_char(coalesce(scale(c.liq_px) - min_scale(c.liq_px), 0), 'FM00'),
                        to_char(coalesce(scale(c.leverage) - min_scale(c.leverage), 0), 'FM00'),
                        to_char(coalesce(scale(c.margin_used) - min_scale(c.margin_used), 0), 'FM00'))
            END AS trailing_zeros
  FROM cell c
  JOIN wallets w USING (wallet_id)
 ORDER BY c.wallet_id, c.asset, c.snapshot_ts
