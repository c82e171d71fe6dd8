-- A run's universe is whole, good, and then the newest.
-- Its ranks are the order of its members by month PnL, of equal ones by address; each has an address, which no other has, or
-- the views leave its cells out. The one vault that is known was marked by its address when the list was stored: where the two
-- disagree, wallets were given other addresses.
-- A refresh may be committed while a minute begins, so one that was recorded in the minute before need not be seen yet.
-- Of those before that, the last by the clock is the newest; where the clock was put back, it is among the last ten.
WITH run AS (
  SELECT snapshot_ts, universe_run_id
    FROM ingest_runs
   WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s),
universe AS MATERIALIZED (
  SELECT u.run_id, u.status, u.as_of_ts, u.n_received, m.members, m.addresses, m.first, m.last, m.misplaced, m.mistaken
    FROM wallet_universe_runs u
   CROSS JOIN LATERAL (
         SELECT count(*) AS members, count(DISTINCT p.address) AS addresses, min(p.rank) AS first, max(p.rank) AS last,
                count(*) FILTER (WHERE p.rank <> p.place) AS misplaced,
                count(*) FILTER (WHERE p.is_vault IS DISTINCT FROM
                                       nullif(p.address = '0xdfc24b077bc1425ad1dea75bcb6f8158e10df303', false)) AS mistaken
           FROM (SELECT x.rank, x.is_vault, w.address COLLATE "C" AS address,
                        row_number() OVER (ORDER BY x.month_pnl DESC, w.address COLLATE "C") AS place
                   FROM wallet_universe_members x
                   LEFT JOIN wallets w USING (wallet_id)
                  WHERE x.run_id = u.run_id) AS p) AS m
   WHERE u.run_id = ANY (ARRAY(SELECT DISTINCT universe_run_id FROM run))),
pinned AS (
  SELECT r.snapshot_ts, r.universe_run_id, u.*, newer.run_id AS newer_run_id, newer.as_of_ts AS newer_as_of_ts
    FROM run r
    LEFT JOIN universe u ON u.run_id = r.universe_run_id
    LEFT JOIN LATERAL (
         SELECT n.run_id, n.as_of_ts
           FROM (SELECT run_id, as_of_ts
                   FROM wallet_universe_runs
                  WHERE status = 'success'
                    AND as_of_ts < r.snapshot_ts - interval '60 s'
                  ORDER BY as_of_ts DESC
                  LIMIT 10) AS n
          WHERE n.run_id > r.universe_run_id
          ORDER BY n.run_id
          LIMIT 1) AS newer ON true)
SELECT snapshot_ts, NULL::int AS wallet_id, NULL::text AS asset,
       concat('refresh ', universe_run_id, ': ', concat_ws('; ',
         CASE WHEN status IS NULL                               THEN 'is not recorded' END,
         CASE WHEN status <> 'success'                          THEN status END,
         CASE WHEN members IS DISTINCT FROM n_received          THEN concat(members, ' members, ', n_received, ' received') END,
         CASE WHEN members <> addresses                         THEN concat(members, ' members, ', addresses, ' addresses') END,
         CASE WHEN members > 0 AND (first <> 1 OR last <> members) THEN concat('ranks ', first, ' to ', last, ' of ', members) END,
         CASE WHEN misplaced > 0                                THEN concat(misplaced, ' ranks are not the order of month_pnl') END,
         CASE WHEN mistaken > 0                                 THEN concat(mistaken, ' marks of a vault are not its address''s') END,
         CASE WHEN as_of_ts >= snapshot_ts + interval '60 s'    THEN 'recorded at ' || to_char(as_of_ts, 'YYYY-MM-DD HH24:MI:SS') END,
         CASE WHEN newer_run_id IS NOT NULL
              THEN concat('refresh ', newer_run_id, ' was in force at ', to_char(newer_as_of_ts, 'YYYY-MM-DD HH24:MI:SS')) END))
         AS found
  FROM pinned
 WHERE status IS DISTINCT FROM 'success'
    OR members IS DISTINCT FROM n_received
    OR members <> addresses
    OR (members > 0 AND (first <> 1 OR last <> members))
    OR misplaced > 0
    OR mistaken > 0
    OR as_of_ts >= snapshot_ts + interval '60 s'
    OR newer_run_id IS NOT NULL
 ORDER BY snapshot_ts
