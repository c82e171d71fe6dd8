-- Enters an applied migration into the book.
INSERT INTO schema_migrations (version, name, checksum, tool_version)
VALUES (%(version)s, %(name)s, %(checksum)s, %(tool_version)s)
