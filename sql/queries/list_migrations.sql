-- Applied migrations, oldest first. Columns are migrate.Applied's.
SELECT version, name, checksum, tool_version FROM schema_migrations ORDER BY version
