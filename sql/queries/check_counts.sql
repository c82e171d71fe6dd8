-- A run's expected wallets and rows are its universe's.
WITH run AS (
  SELECT snapshot_ts, universe_run_id, wallets_expected, rows_expected, rows_written
    FROM ingest_runs
   WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s),
universe AS (
  SELECT run_id, count(*) AS members
    FROM wallet_universe_members
   WHERE run_id = ANY (ARRAY(SELECT DISTINCT universe_run_id FROM run))
   GROUP BY run_id),
counted AS (
  SELECT r.*, coalesce(u.members, 0) AS members
    FROM run r
    LEFT JOIN universe u ON u.run_id = r.universe_run_id)
SELECT snapshot_ts, NULL::int AS wallet_id, NULL::text AS asset,
       concat_ws('; ',
         CASE WHEN wallets_expected IS DISTINCT FROM members
              THEN concat('wallets_expected ', wallets_expected, ', ', members, ' members') END,
         CASE WHEN rows_expected IS DISTINCT FROM 3 * members
              THEN concat('rows_expected ', rows_expected, ', 3 x ', members, ' members') END,
         CASE WHEN rows_written IS DISTINCT FROM 3 * members
              THEN concat('rows_written ', rows_written, ', 3 x ', members, ' members') END)
         AS found
  FROM counted
 WHERE (wallets_expected, rows_expected, rows_written) IS DISTINCT FROM (members, 3 * members, 3 * members)
 ORDER BY snapshot_ts
