-- First write of a publication: pins the universe (the first publisher wins), counts the attempt, and makes publishers
-- queue on the row. Status and counts are provisional until publish_minute, in the same transaction.
-- An attempt that meets its own row, whose COMMIT landed after it was given up, is counted once.
-- The requests of all attempts are counted together, so of two rate limits the looser one is what they were sent under.
-- No row back: too late to speak about this minute.
INSERT INTO ingest_runs AS r (
  run_id, snapshot_ts, status, wallets_expected, wallets_succeeded, wallets_failed, rows_expected, rows_written,
  coverage_pct, missing, universe_run_id, attempts, attempt_id, coverage_success, coverage_failed, stale_after,
  universe_stale_after, rate_limit, requests_sent, retries, rate_limited, last_sent_at, sent_per_second, clock_offset_ms,
  duration_ms, error, host, version, published_at)
SELECT (extract(epoch FROM %(minute)s::timestamptz) / 60)::int, %(minute)s, 'failed', 0, 0, 0, 0, 0,
       0, '{}', %(universe_run_id)s, 1, %(attempt_id)s, %(coverage_success)s, %(coverage_failed)s, %(stale_after)s,
       %(universe_stale_after)s, %(rate_limit)s, %(requests_sent)s, %(retries)s, %(rate_limited)s, %(last_sent_at)s,
       %(sent_per_second)s::smallint[], %(clock_offset_ms)s, %(duration_ms)s, %(error)s, %(host)s, %(version)s, hlctl_clock()
 WHERE hlctl_clock() < %(minute)s::timestamptz + interval '60 s'
ON CONFLICT (snapshot_ts) DO UPDATE
   SET attempts        = r.attempts + (r.attempt_id <> excluded.attempt_id)::int,
       attempt_id      = excluded.attempt_id,
       rate_limit      = CASE WHEN 0 IN (r.rate_limit, excluded.rate_limit) THEN 0
                              ELSE greatest(r.rate_limit, excluded.rate_limit) END,
       requests_sent   = r.requests_sent + (r.attempt_id <> excluded.attempt_id)::int * excluded.requests_sent,
       retries         = r.retries + (r.attempt_id <> excluded.attempt_id)::int * excluded.retries,
       rate_limited    = r.rate_limited + (r.attempt_id <> excluded.attempt_id)::int * excluded.rate_limited,
       last_sent_at    = greatest(r.last_sent_at, excluded.last_sent_at),
       sent_per_second = CASE WHEN r.attempt_id = excluded.attempt_id THEN r.sent_per_second
                              ELSE ARRAY(SELECT coalesce(u.before, 0) + coalesce(u.now, 0)
                                           FROM unnest(r.sent_per_second, excluded.sent_per_second)
                                                WITH ORDINALITY AS u (before, now, n)
                                          ORDER BY u.n) END,
       clock_offset_ms = coalesce(excluded.clock_offset_ms, r.clock_offset_ms),
       duration_ms     = excluded.duration_ms,
       error           = excluded.error,
       host            = excluded.host,
       version         = excluded.version
 WHERE hlctl_clock() < excluded.snapshot_ts + interval '60 s'
RETURNING universe_run_id, attempts
