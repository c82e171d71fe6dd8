-- How many chunks TimescaleDB keeps the cells in; no row: it does not keep them. For databases that have the extension.
SELECT num_chunks::int AS parts
  FROM timescaledb_information.hypertables
 WHERE hypertable_schema = 'public'
   AND hypertable_name = 'wallet_snapshots'
