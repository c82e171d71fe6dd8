-- The clock, the wallets and the universe: who is recorded.

CREATE FUNCTION hlctl_clock() RETURNS timestamptz
LANGUAGE sql VOLATILE PARALLEL SAFE
AS 'SELECT pg_catalog.clock_timestamp()';

COMMENT ON FUNCTION hlctl_clock() IS
  'The only source of time: minutes, guards, views and partitions ask it. Tests replace it in their own database.';

CREATE TABLE wallets (
  wallet_id int  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  address   text NOT NULL UNIQUE CHECK (address ~ '^0x[0-9a-f]{40}$')
);

COMMENT ON TABLE  wallets           IS 'Every wallet that was ever in the universe, once; never deleted.';
COMMENT ON COLUMN wallets.wallet_id IS 'Key of the wallet in every other table.';
COMMENT ON COLUMN wallets.address   IS 'The address: 0x and 40 lower-case hexadecimal digits.';

CREATE TABLE wallet_universe_runs (
  run_id              int         GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  as_of_ts            timestamptz NOT NULL,
  status              text        NOT NULL CHECK (status IN ('success', 'failed')),
  source              text        CHECK (source IN ('stats-data', 'info-api')),
  n_requested         int         NOT NULL CHECK (n_requested > 0),
  n_received          int         NOT NULL CHECK (n_received >= 0),
  entered_count       int         NOT NULL DEFAULT 0 CHECK (entered_count >= 0),
  exited_count        int         NOT NULL DEFAULT 0 CHECK (exited_count >= 0),
  churn_warning_count int         NOT NULL DEFAULT 0 CHECK (churn_warning_count >= 0),
  duration_ms         int         NOT NULL CHECK (duration_ms >= 0),
  rows_seen           int         NOT NULL CHECK (rows_seen >= 0),
  rows_rejected       int         NOT NULL CHECK (rows_rejected BETWEEN 0 AND rows_seen),
  error               text,
  CONSTRAINT success_has_a_source CHECK (status = 'failed' OR source IS NOT NULL),
  CONSTRAINT failed_has_an_error  CHECK ((status = 'failed') = (error IS NOT NULL))
);

COMMENT ON TABLE  wallet_universe_runs                     IS 'One row per refresh of the universe, failed ones included; never deleted.';
COMMENT ON COLUMN wallet_universe_runs.run_id              IS 'Number of the refresh, rising.';
COMMENT ON COLUMN wallet_universe_runs.as_of_ts            IS 'When the refresh was recorded, by the database clock, UTC.';
COMMENT ON COLUMN wallet_universe_runs.status              IS 'success: these members are the universe from now on; failed: the universe before stays.';
COMMENT ON COLUMN wallet_universe_runs.source              IS 'Who answered: stats-data (the leaderboard file) or info-api; NULL if nobody did.';
COMMENT ON COLUMN wallet_universe_runs.n_requested         IS 'Wallets asked for (HLCTL_UNIVERSE_SIZE).';
COMMENT ON COLUMN wallet_universe_runs.n_received          IS 'Wallets selected from the leaderboard.';
COMMENT ON COLUMN wallet_universe_runs.entered_count       IS 'Wallets in this universe and not in the one before.';
COMMENT ON COLUMN wallet_universe_runs.exited_count        IS 'Wallets in the universe before and not in this one.';
COMMENT ON COLUMN wallet_universe_runs.churn_warning_count IS 'How many refreshes in a row, this one included, changed more of the universe than is usual.';
COMMENT ON COLUMN wallet_universe_runs.duration_ms         IS 'From the first request to the decision, in milliseconds.';
COMMENT ON COLUMN wallet_universe_runs.rows_seen           IS 'Rows read from the leaderboard.';
COMMENT ON COLUMN wallet_universe_runs.rows_rejected       IS 'Rows of these that could not be read, or named a wallet again.';
COMMENT ON COLUMN wallet_universe_runs.error               IS 'The rule that failed and what was seen; NULL on success.';

CREATE TABLE wallet_universe_members (
  run_id        int     NOT NULL REFERENCES wallet_universe_runs,
  wallet_id     int     NOT NULL REFERENCES wallets,
  rank          int     NOT NULL CHECK (rank >= 1),
  month_pnl     numeric NOT NULL CHECK (abs(month_pnl) < 1e15),
  month_roi     numeric NOT NULL CHECK (abs(month_roi) < 1e15),
  account_value numeric NOT NULL CHECK (abs(account_value) < 1e15),
  month_volume  numeric NOT NULL CHECK (abs(month_volume) < 1e15),
  PRIMARY KEY (run_id, wallet_id),
  UNIQUE (run_id, rank)
);

COMMENT ON TABLE  wallet_universe_members               IS 'Who was in which refresh; never deleted, so the universe of any minute can be told for ever.';
COMMENT ON COLUMN wallet_universe_members.run_id        IS 'The refresh.';
COMMENT ON COLUMN wallet_universe_members.wallet_id     IS 'The wallet.';
COMMENT ON COLUMN wallet_universe_members.rank          IS 'Place by month_pnl, 1 = most; ties by address.';
COMMENT ON COLUMN wallet_universe_members.month_pnl     IS '30-day profit and loss as the leaderboard says it, spot and staking included, USD.';
COMMENT ON COLUMN wallet_universe_members.month_roi     IS '30-day return as a fraction: 0.03 is 3 %.';
COMMENT ON COLUMN wallet_universe_members.account_value IS 'Account value as the leaderboard says it, USD.';
COMMENT ON COLUMN wallet_universe_members.month_volume  IS '30-day traded volume, USD; 0 is common among the most profitable.';

CREATE TABLE wallet_universe_current (
  wallet_id     int         PRIMARY KEY REFERENCES wallets,
  run_id        int         NOT NULL REFERENCES wallet_universe_runs,
  rank          int         NOT NULL UNIQUE CHECK (rank >= 1),
  month_pnl     numeric     NOT NULL,
  month_roi     numeric     NOT NULL,
  account_value numeric     NOT NULL,
  as_of_ts      timestamptz NOT NULL
);

COMMENT ON TABLE  wallet_universe_current               IS 'The universe in force: the members of the newest successful refresh, replaced as a whole.';
COMMENT ON COLUMN wallet_universe_current.wallet_id     IS 'The wallet.';
COMMENT ON COLUMN wallet_universe_current.run_id        IS 'The refresh that chose it.';
COMMENT ON COLUMN wallet_universe_current.rank          IS 'Place by month_pnl, 1 = most.';
COMMENT ON COLUMN wallet_universe_current.month_pnl     IS '30-day profit and loss, USD.';
COMMENT ON COLUMN wallet_universe_current.month_roi     IS '30-day return as a fraction.';
COMMENT ON COLUMN wallet_universe_current.account_value IS 'Account value, USD.';
COMMENT ON COLUMN wallet_universe_current.as_of_ts      IS 'When that refresh was recorded, UTC.';

CREATE VIEW v_universe AS
SELECT u.rank, w.address, u.month_pnl, u.month_roi, u.account_value, u.as_of_ts, u.wallet_id, u.run_id
  FROM wallet_universe_current u
  JOIN wallets w USING (wallet_id);

COMMENT ON VIEW   v_universe               IS 'The universe in force, by address.';
COMMENT ON COLUMN v_universe.rank          IS 'Place by month_pnl, 1 = most.';
COMMENT ON COLUMN v_universe.address       IS 'The wallet''s address.';
COMMENT ON COLUMN v_universe.month_pnl     IS '30-day profit and loss, USD.';
COMMENT ON COLUMN v_universe.month_roi     IS '30-day return as a fraction.';
COMMENT ON COLUMN v_universe.account_value IS 'Account value, USD.';
COMMENT ON COLUMN v_universe.as_of_ts      IS 'When the refresh was recorded, UTC.';
COMMENT ON COLUMN v_universe.wallet_id     IS 'Key of the wallet: resolve an address to it before a query over many minutes.';
COMMENT ON COLUMN v_universe.run_id        IS 'The refresh that chose this universe.';

COMMENT ON TABLE  schema_migrations              IS 'The migrations applied to this database.';
COMMENT ON COLUMN schema_migrations.version      IS 'Number of the migration, the first four digits of its file name.';
COMMENT ON COLUMN schema_migrations.name         IS 'File name of the migration without its ending.';
COMMENT ON COLUMN schema_migrations.checksum     IS 'SHA-256 of the file as applied, hexadecimal.';
COMMENT ON COLUMN schema_migrations.applied_at   IS 'When it was applied, UTC.';
COMMENT ON COLUMN schema_migrations.tool_version IS 'The hlctl version that applied it.';
