-- First statement of every transaction: whatever the role, the database or a pooler left behind, this holds until the end.
-- Takes idle_timeout, statement_timeout, lock_timeout, transaction_timeout. pg_catalog is spelled out because search_path is not yet ours.
-- With row_security off the server refuses a read that a policy would filter: a part of the record is never taken for all of it.
-- transaction_timeout exists from PostgreSQL 17 on, and is armed anew only when it comes from 0.
SELECT pg_catalog.set_config('search_path', 'public, pg_temp', true),
       pg_catalog.set_config('timezone', 'UTC', true),
       pg_catalog.set_config('datestyle', 'ISO, MDY', true),
       pg_catalog.set_config('intervalstyle', 'postgres', true),
       pg_catalog.set_config('bytea_output', 'hex', true),
       pg_catalog.set_config('extra_float_digits', '1', true),
       pg_catalog.set_config('array_nulls', 'on', true),
       pg_catalog.set_config('standard_conforming_strings', 'on', true),
       pg_catalog.set_config('row_security', 'off', true),
       pg_catalog.set_config('synchronous_commit', 'on', true),
       pg_catalog.set_config('jit', 'off', true),
       pg_catalog.set_config('statement_timeout', %(statement_timeout)s, true),
       pg_catalog.set_config('lock_timeout', %(lock_timeout)s, true),
       pg_catalog.set_config('idle_in_transaction_session_timeout', %(idle_timeout)s, true),
       CASE WHEN pg_catalog.current_setting('transaction_timeout', true) IS NOT NULL
            THEN pg_catalog.set_config('transaction_timeout', '0', true)
            END,
       CASE WHEN pg_catalog.current_setting('transaction_timeout', true) IS NOT NULL
            THEN pg_catalog.set_config('transaction_timeout', %(transaction_timeout)s, true)
            END
