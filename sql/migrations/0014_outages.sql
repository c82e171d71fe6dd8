-- An outage that lasts: one wallet that is never answered makes every minute of a month partial, and an exchange that is away
-- fails for days. What asks each minute for the newest good one, or for what was told since, must not read them all again.
CREATE INDEX ingest_runs_good ON ingest_runs (snapshot_ts) WHERE status <> 'failed';
CREATE INDEX ingest_runs_status ON ingest_runs (status, snapshot_ts);
