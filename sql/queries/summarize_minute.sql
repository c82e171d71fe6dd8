-- What a minute says per asset. Columns are facts.Holders'.
SELECT asset::text AS asset,
       (count(*) FILTER (WHERE position_szi > 0))::int     AS long,
       (count(*) FILTER (WHERE position_szi < 0))::int     AS short,
       (count(*) FILTER (WHERE position_szi = 0))::int     AS flat,
       (count(*) FILTER (WHERE position_szi IS NULL))::int AS missing,
       sum(position_szi)                                   AS net_szi
  FROM wallet_snapshots
 WHERE snapshot_ts = %(minute)s
 GROUP BY wallet_snapshots.asset
 ORDER BY wallet_snapshots.asset
