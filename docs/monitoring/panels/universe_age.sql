-- How long ago the wallets in force were chosen. More than two refresh periods, 12 h by default, is degraded.
SELECT extract(epoch FROM universe_age)::float8 AS age FROM v_latest_health
