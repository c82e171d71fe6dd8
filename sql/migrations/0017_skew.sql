-- A minute that was asked for twice has answers that are as far apart as its attempts.

COMMENT ON COLUMN ingest_runs.skew_ms IS 'From the first to the last answer that the cells of the minute are of, in milliseconds; NULL if nobody answered. In records of earlier versions it is that of the newest attempt, if anybody answered that.';
