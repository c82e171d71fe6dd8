-- The migrations' own book, made before the first of them.
CREATE TABLE IF NOT EXISTS schema_migrations (
  version      int         PRIMARY KEY CHECK (version >= 1),
  name         text        NOT NULL,
  checksum     text        NOT NULL,
  applied_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  tool_version text        NOT NULL
)
