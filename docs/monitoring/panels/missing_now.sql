-- The wallets that are not known in the newest minute, by reason; docs/semantics.md has the reasons.
SELECT reason, wallets::int AS wallets
  FROM (SELECT missing FROM ingest_runs WHERE snapshot_ts <= hlctl_clock() ORDER BY snapshot_ts DESC LIMIT 1) AS newest
 CROSS JOIN LATERAL jsonb_each_text(missing) AS m (reason, wallets)
 ORDER BY 2 DESC, 1
