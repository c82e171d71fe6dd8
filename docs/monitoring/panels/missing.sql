-- The wallets that were not known, by reason: the sum over the minutes of each point. A minute that was not recorded has
-- none, see the gaps.
SELECT $__timeGroup(r.snapshot_ts, $__interval) AS "time", m.reason AS metric, sum(m.wallets::int)::int AS wallets
  FROM ingest_runs r
 CROSS JOIN LATERAL jsonb_each_text(r.missing) AS m (reason, wallets)
 WHERE $__timeFilter(r.snapshot_ts)
 GROUP BY 1, 2
 ORDER BY 1, 2
