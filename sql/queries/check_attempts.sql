-- A cell is of an attempt of its run, and of no other run.
-- A cell that stayed missing is of the first. An attempt lasts no hour, so other minutes are looked at that far.
WITH minute AS MATERIALIZED (
  SELECT snapshot_ts, wallet_id, min(attempt) AS least, max(attempt) AS most,
         max(attempt) FILTER (WHERE position_szi IS NULL) AS missing
    FROM wallet_snapshots
   WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s
   GROUP BY snapshot_ts, wallet_id)
SELECT m.snapshot_ts, m.wallet_id, NULL::text AS asset,
       CASE WHEN m.least < 1 THEN concat('attempt ', m.least)
            WHEN (m.most <= r.attempts) IS NOT TRUE
            THEN concat('attempt ', m.most, ', the run counts ', coalesce(r.attempts::text, 'none'))
            ELSE concat('missing since attempt ', m.missing, ', not since the first') END AS found
  FROM minute m
  JOIN ingest_runs r ON r.snapshot_ts = m.snapshot_ts AND r.snapshot_ts >= %(since)s AND r.snapshot_ts < %(until)s
 WHERE m.least < 1 OR (m.most <= r.attempts) IS NOT TRUE OR m.missing > 1
 UNION ALL
SELECT r.snapshot_ts, NULL, NULL, concat('the attempt of ', to_char(o.snapshot_ts, 'YYYY-MM-DD HH24:MI'), ' too')
  FROM ingest_runs r
  JOIN ingest_runs o ON o.attempt_id = r.attempt_id AND o.snapshot_ts <> r.snapshot_ts
 WHERE r.snapshot_ts >= %(since)s AND r.snapshot_ts < %(until)s
   AND o.snapshot_ts >= %(since)s::timestamptz - interval '1 hour'
   AND o.snapshot_ts <  %(until)s::timestamptz + interval '1 hour'
 ORDER BY snapshot_ts, wallet_id
