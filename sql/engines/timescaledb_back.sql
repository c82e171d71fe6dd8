-- Takes wallet_snapshots back from a hypertable of TimescaleDB into daily partitions, in one transaction.
-- psql runs it, as the owner of the tables. Nobody reads or writes cells meanwhile, and the disk must hold them twice. Stop the
-- timers first. Never run on TimescaleDB: it is timescaledb.sql the other way round, and calls nothing of the extension's.
--
-- Afterwards: `hlctl init-db`, which finds nothing to grant, `hlctl doctor`, `hlctl snapshot`, `hlctl verify`. Then the
-- extension may go.

\set ON_ERROR_STOP on
\set QUIET on
SET search_path = public, pg_temp;
SET timezone = 'UTC';
SET statement_timeout = 0;
SET lock_timeout = '10s';

BEGIN;
LOCK TABLE wallet_snapshots IN ACCESS EXCLUSIVE MODE;
\ir keep.sql

ALTER TABLE wallet_snapshots RENAME TO wallet_snapshots_hypertable;
ALTER INDEX wallet_snapshots_pkey RENAME TO wallet_snapshots_hypertable_pkey;
ALTER INDEX wallet_snapshots_series RENAME TO wallet_snapshots_hypertable_series;
CREATE TABLE wallet_snapshots (LIKE wallet_snapshots_hypertable INCLUDING ALL) PARTITION BY RANGE (snapshot_ts);
ALTER INDEX wallet_snapshots_wallet_id_asset_snapshot_ts_idx RENAME TO wallet_snapshots_series;
CREATE TABLE wallet_snapshots_default PARTITION OF wallet_snapshots DEFAULT;

-- The days are made before the cells come, so that each is written once and none has to be moved out of DEFAULT.
SELECT format('CREATE TABLE wallet_snapshots_%s PARTITION OF wallet_snapshots FOR VALUES FROM (%L) TO (%L)',
              to_char(day, 'YYYYMMDD'), day::timestamptz, (day + 1)::timestamptz) AS statement
  FROM (SELECT DISTINCT snapshot_ts::date AS day FROM wallet_snapshots_hypertable) AS stored
 ORDER BY day
\gexec
INSERT INTO wallet_snapshots SELECT * FROM wallet_snapshots_hypertable;

SELECT statement FROM kept WHERE what = 'definition' \gexec
DROP TABLE wallet_snapshots_hypertable;
SELECT statement FROM kept WHERE what = 'right' \gexec
SELECT statement FROM kept WHERE what = 'comment' \gexec

\ir plain.sql
SELECT ensure_partitions(7);
COMMIT;

ANALYZE wallet_snapshots;
