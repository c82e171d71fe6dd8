-- One setting more, until the transaction ends or the savepoint it was made in is rolled back.
SELECT pg_catalog.set_config(%(setting)s, %(value)s, true)
