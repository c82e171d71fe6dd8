-- What the metrics file says of the room that the record takes. Columns are metrics.Facts' too. Asked on its own: each day's
-- partition is opened for it, and after years that takes longer than the file can wait.
SELECT total_bytes AS snapshots_bytes, pg_database_size(current_database()) AS database_bytes
  FROM cell_storage()
