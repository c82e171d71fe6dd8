-- Takes wallet_snapshots back from a Citus cluster into daily partitions of this server, in one transaction.
-- psql runs it on the coordinator, as the owner of the tables; the disk must hold all cells. Stop the timers first.
--
-- Tried outside of this repository, with Citus 13.2.2 on PostgreSQL 15.18 and an earlier schema: undistribute_table, which keeps
-- data and partitions and loses the grants and comments of v_positions. Never run on Citus: the rest of this file.
--
-- Afterwards: `hlctl init-db`, which finds nothing to grant, `hlctl doctor`, `hlctl snapshot`, `hlctl verify`. Then the
-- extension may go.

\set ON_ERROR_STOP on
\set QUIET on
SET search_path = public, pg_temp;
SET statement_timeout = 0;
SET lock_timeout = '10s';

BEGIN;
\ir keep.sql

-- It makes a new table and drops the old one with all that depends on it. Views it makes again, without their grants and
-- comments. Of functions it knows nothing (github.com/citusdata/citus/issues/5903): those of hlctl are citus.sql's here, which
-- depend on no table; one of your own with a body in standard SQL is made again, without its grants, and one that takes a row
-- of the table as an argument is lost.
SELECT undistribute_table('wallet_snapshots');

SELECT statement FROM kept WHERE what = 'definition' \gexec
SELECT statement FROM kept WHERE what = 'right' \gexec
SELECT statement FROM kept WHERE what = 'comment' \gexec

SELECT format(E'CREATE OR REPLACE FUNCTION %I(%s) RETURNS %s\nLANGUAGE sql STABLE PARALLEL SAFE\nBEGIN ATOMIC %s',
              p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
              substring(p.prosrc FROM 'RETURN QUERY(.*)')) AS statement
  FROM pg_proc p
 WHERE p.oid IN ('odd_cells(timestamptz, timestamptz)'::regprocedure, 'suspect_cells(timestamptz, timestamptz)'::regprocedure)
   AND p.prosqlbody IS NULL
\gexec
\ir plain.sql
COMMIT;

ANALYZE wallet_snapshots;
