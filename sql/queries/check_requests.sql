-- A run's requests add up, and suffice for what it knows.
SELECT snapshot_ts, NULL::int AS wallet_id, NULL::text AS asset,
       concat_ws('; ',
         CASE WHEN requests_sent IS DISTINCT FROM sent
              THEN concat('requests_sent ', requests_sent, ', ', sent, ' by the second') END,
         CASE WHEN (retries <= requests_sent) IS NOT TRUE
              THEN concat(retries, ' retries of ', requests_sent, ' requests') END,
         CASE WHEN (rate_limited <= requests_sent) IS NOT TRUE
              THEN concat(rate_limited, ' answers 429 to ', requests_sent, ' requests') END,
         CASE WHEN wallets_succeeded > requests_sent
              THEN concat(wallets_succeeded, ' wallets known by ', requests_sent, ' requests') END,
         CASE WHEN (last_sent_at IS NULL) <> (requests_sent = 0)
              THEN concat(requests_sent, ' requests, last_sent_at ', coalesce(last_sent_at::time::text, 'NULL')) END) AS found
  FROM ingest_runs
 CROSS JOIN LATERAL (SELECT coalesce(sum(s.requests), 0) AS sent FROM unnest(sent_per_second) AS s (requests)) AS by_second
 WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s
   AND (   requests_sent IS DISTINCT FROM sent
        OR (retries <= requests_sent) IS NOT TRUE
        OR (rate_limited <= requests_sent) IS NOT TRUE
        OR wallets_succeeded > requests_sent
        OR (last_sent_at IS NULL) <> (requests_sent = 0))
 ORDER BY snapshot_ts
