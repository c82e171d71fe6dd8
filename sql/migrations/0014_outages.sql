-- An outage that lasts: one wallet that is never answered makes every minute of a month partial, and an exchange that is away
-- fails for days. What asks each minute for the newest good one, or for what was told since, must not read them all again.
CREATE INDEX ingest_runs_good ON ingest_runs (snapshot_ts) WHERE status <> 'failed';

-- Without the runs that told something else than their status (read_past has the same condition): a bug of hlctl, or a timer
-- that ends it each minute, makes a month of them, and none is read.
CREATE INDEX ingest_runs_told ON ingest_runs (status, snapshot_ts)
 WHERE status = 'success' OR NOT missing ?| '{internal,cancelled}';
