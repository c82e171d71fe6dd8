-- The addresses of these wallets.
SELECT wallet_id, address
  FROM wallets
 WHERE wallet_id = ANY (%(wallet_ids)s)
