-- Who was on the list at any minute, with what was known of each wallet then.

-- What a row of the leaderboard says is stored with the refresh that read it. No recorded row bears a mark of a vault: only
-- the protocol's own, HLP, is told by its address, as docs.bitquery.io and docs.rs/df-hyperliquid-core name it (a recorded
-- leaderboard shows it as a row like any other). Of every other wallet nothing is known, and that is not false.
ALTER TABLE wallet_universe_members
  ADD zero_volume boolean NOT NULL GENERATED ALWAYS AS (month_volume = 0) STORED,
  ADD is_vault    boolean;

UPDATE wallet_universe_members
   SET is_vault = true
 WHERE wallet_id = (SELECT wallet_id FROM wallets WHERE address = '0xdfc24b077bc1425ad1dea75bcb6f8158e10df303');

ALTER TABLE wallet_universe_current
  ADD month_volume numeric,
  ADD zero_volume  boolean GENERATED ALWAYS AS (month_volume = 0) STORED,
  ADD is_vault     boolean;

UPDATE wallet_universe_current u
   SET month_volume = m.month_volume, is_vault = m.is_vault
  FROM wallet_universe_members m
 WHERE m.run_id = u.run_id AND m.wallet_id = u.wallet_id;

ALTER TABLE wallet_universe_current
  ALTER month_volume SET NOT NULL,
  ALTER zero_volume SET NOT NULL;

COMMENT ON COLUMN wallet_universe_members.zero_volume  IS 'True if nothing was traded in 30 days: the profit is that of spot, staking or a vault''s parts.';
COMMENT ON COLUMN wallet_universe_members.is_vault     IS 'True for the protocol''s own vault (HLP); NULL = not known, for the leaderboard marks no vaults. Never false.';
COMMENT ON COLUMN wallet_universe_current.month_volume IS '30-day traded volume, USD.';
COMMENT ON COLUMN wallet_universe_current.zero_volume  IS 'True if nothing was traded in 30 days.';
COMMENT ON COLUMN wallet_universe_current.is_vault     IS 'True for the protocol''s own vault (HLP); NULL = not known.';

CREATE OR REPLACE VIEW v_universe AS
SELECT u.rank, w.address, u.month_pnl, u.month_roi, u.account_value, u.as_of_ts, u.wallet_id, u.run_id,
       u.month_volume, u.zero_volume, u.is_vault
  FROM wallet_universe_current u
  JOIN wallets w USING (wallet_id);

COMMENT ON COLUMN v_universe.month_volume IS '30-day traded volume, USD.';
COMMENT ON COLUMN v_universe.zero_volume  IS 'True if nothing was traded in 30 days.';
COMMENT ON COLUMN v_universe.is_vault     IS 'True for the protocol''s own vault (HLP); NULL = not known.';

-- The first and the last minute of a refresh; without it v_universe_history would read a year of runs to tell one minute.
CREATE INDEX ingest_runs_universe ON ingest_runs (universe_run_id, snapshot_ts);

-- A recorded minute's list is the one its run pinned. By the clock alone that is the newest good refresh recorded when the
-- minute began; but a run reads the list some seconds later, and a refresh becomes visible a moment after its as_of_ts. So a
-- list is in force from the first minute that pinned it or a newer one; where that is later than the clock says, because
-- nothing was recorded, from the clock's minute, and not before the last minute that pinned an older list.
-- Of the lists that have begun the newest is in force, so there is no hole and no overlap; one that a newer list preceded or
-- that began with it never was. The windows run the way in which each frame grows: time stays linear in the refreshes.
CREATE VIEW v_universe_history AS
WITH pinned AS (
  SELECT u.run_id, u.as_of_ts,
         (SELECT min(r.snapshot_ts) FROM ingest_runs r WHERE r.universe_run_id = u.run_id) AS first_minute,
         (SELECT max(r.snapshot_ts) FROM ingest_runs r WHERE r.universe_run_id = u.run_id) AS last_minute
    FROM wallet_universe_runs u
   WHERE u.status = 'success'),
begun AS (
  SELECT run_id, as_of_ts,
         least(min(first_minute) OVER (ORDER BY run_id DESC),
               greatest(date_bin('1 minute', as_of_ts + interval '59.999999 s', 'epoch'),
                        max(last_minute) OVER (ORDER BY run_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
                        + interval '1 minute')) AS from_minute
    FROM pinned),
ended AS (
  SELECT run_id, as_of_ts, from_minute,
         min(from_minute) OVER (ORDER BY run_id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS until_minute
    FROM begun),
in_force AS (
  SELECT run_id, as_of_ts, from_minute, until_minute, lead(run_id) OVER (ORDER BY run_id) AS next_run_id
    FROM ended
   WHERE until_minute IS NULL OR from_minute < until_minute)
SELECT f.from_minute, f.until_minute, w.address, m.rank, m.month_pnl, m.month_roi, m.account_value, m.month_volume,
       m.zero_volume, m.is_vault,
       CASE WHEN n.wallet_id IS NULL THEN f.until_minute END AS exited_minute,
       m.wallet_id, m.run_id, f.as_of_ts
  FROM in_force f
  JOIN wallet_universe_members m USING (run_id)
  JOIN wallets w USING (wallet_id)
  LEFT JOIN wallet_universe_members n ON n.run_id = f.next_run_id AND n.wallet_id = m.wallet_id;

COMMENT ON VIEW   v_universe_history               IS 'Who was on the list at any minute, one row per wallet and refresh that was in force. At minute M: WHERE from_minute <= M AND (until_minute > M OR until_minute IS NULL). Who left and when: WHERE exited_minute IS NOT NULL.';
COMMENT ON COLUMN v_universe_history.from_minute   IS 'The first minute of this list, UTC.';
COMMENT ON COLUMN v_universe_history.until_minute  IS 'The first minute of the next list, UTC; NULL if this one is in force.';
COMMENT ON COLUMN v_universe_history.address       IS 'The wallet''s address.';
COMMENT ON COLUMN v_universe_history.rank          IS 'Place by month_pnl, 1 = most.';
COMMENT ON COLUMN v_universe_history.month_pnl     IS '30-day profit and loss as the leaderboard said it, spot and staking included, USD.';
COMMENT ON COLUMN v_universe_history.month_roi     IS '30-day return as a fraction.';
COMMENT ON COLUMN v_universe_history.account_value IS 'Account value as the leaderboard said it, USD.';
COMMENT ON COLUMN v_universe_history.month_volume  IS '30-day traded volume, USD.';
COMMENT ON COLUMN v_universe_history.zero_volume   IS 'True if nothing was traded in 30 days.';
COMMENT ON COLUMN v_universe_history.is_vault      IS 'True for the protocol''s own vault (HLP); NULL = not known.';
COMMENT ON COLUMN v_universe_history.exited_minute IS 'The first minute at which the wallet is off the list, UTC; NULL if it is on the next list, or if this one is in force.';
COMMENT ON COLUMN v_universe_history.wallet_id     IS 'Key of the wallet.';
COMMENT ON COLUMN v_universe_history.run_id        IS 'The refresh that chose this list.';
COMMENT ON COLUMN v_universe_history.as_of_ts      IS 'When that refresh was recorded, UTC.';
