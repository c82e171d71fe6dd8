-- Bounds anew, until the transaction ends, how long the server waits for its next statement.
SELECT pg_catalog.set_config('idle_in_transaction_session_timeout', %(timeout)s, true)
