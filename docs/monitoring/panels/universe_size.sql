-- The wallets in force.
SELECT count(*) AS wallets FROM wallet_universe_current
