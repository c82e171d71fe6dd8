-- The members of a refresh, in rank order.
INSERT INTO wallet_universe_members (run_id, wallet_id, rank, month_pnl, month_roi, account_value, month_volume,
                                     is_vault)
SELECT %(run_id)s, w.wallet_id, v.rank, v.month_pnl, v.month_roi, v.account_value, v.month_volume, v.is_vault
  FROM unnest(%(addresses)s::text[], %(month_pnl)s::numeric[], %(month_roi)s::numeric[], %(account_value)s::numeric[],
              %(month_volume)s::numeric[], %(is_vault)s::boolean[])
       WITH ORDINALITY AS v (address, month_pnl, month_roi, account_value, month_volume, is_vault, rank)
  JOIN wallets w USING (address)
