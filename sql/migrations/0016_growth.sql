-- Years of refreshes, and what a cell's minute says.

-- Which refreshes a clock had seen at a moment; without it each minute that is verified would be compared with all that are
-- newer than its own, four a day.
CREATE INDEX wallet_universe_runs_as_of ON wallet_universe_runs (as_of_ts);

-- A cell is true at one moment: whoever takes it for the whole minute trades on what nobody knew yet when the minute began.
COMMENT ON COLUMN wallet_snapshots.snapshot_ts IS 'The minute of the answer, UTC: the name of the cell, not its time. It was true at observed_at, up to 60 s later; between two cells nothing is known.';
