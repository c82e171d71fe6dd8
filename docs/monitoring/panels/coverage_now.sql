-- The share of the wallets that are known in the newest minute.
SELECT coverage_pct FROM v_latest_health
