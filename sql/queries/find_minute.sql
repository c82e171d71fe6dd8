-- Was this minute published before? No row: no cell of it exists, and wallet_snapshots need not be touched before the fetch.
SELECT universe_run_id FROM ingest_runs WHERE snapshot_ts = %(minute)s
