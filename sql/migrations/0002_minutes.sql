-- The record itself: cells, the runs that wrote them, what is odd about them, and what was known of health.
-- Ready for a distributed engine: no foreign key, trigger or identity on cells; time and wallet in every unique key.

CREATE TYPE asset          AS ENUM ('HYPE', 'BTC', 'ETH');
CREATE TYPE leverage_type  AS ENUM ('cross', 'isolated');
CREATE TYPE missing_reason AS ENUM (
  'late', 'dns', 'connect', 'tls', 'timeout', 'reset', 'http_4xx', 'http_5xx', 'rate_limited', 'redirect', 'too_big',
  'truncated', 'bad_shape', 'bad_number', 'duplicate_coin', 'stale', 'breaker', 'cancelled', 'internal');

COMMENT ON TYPE asset          IS 'The recorded perpetuals of the main dex, matched exactly.';
COMMENT ON TYPE leverage_type  IS 'How a position is margined.';
COMMENT ON TYPE missing_reason IS 'Why a cell is NULL.';

-- Fixed-width columns first: no padding between them. Bare numeric, because a precision rounds silently.
-- "abs(x) < 1e15" also refuses NaN and Infinity, which sort above every number.
CREATE TABLE wallet_snapshots (
  snapshot_ts    timestamptz NOT NULL,
  observed_at    timestamptz,
  wallet_id      int         NOT NULL,
  asset          asset       NOT NULL,
  ingest_run_id  int         NOT NULL,
  missing_reason missing_reason,
  leverage_type  leverage_type,
  attempt        smallint    NOT NULL,
  is_dirty       boolean     NOT NULL DEFAULT false,
  position_szi   numeric,
  entry_px       numeric,
  liq_px         numeric,
  leverage       numeric,
  margin_used    numeric,
  dirty_reason   text,
  PRIMARY KEY (snapshot_ts, wallet_id, asset),
  CONSTRAINT on_the_minute        CHECK (extract(epoch FROM snapshot_ts) % 60 = 0),
  CONSTRAINT run_of_this_minute   CHECK (ingest_run_id = extract(epoch FROM snapshot_ts) / 60),
  CONSTRAINT seen_in_its_minute   CHECK (observed_at >= snapshot_ts AND observed_at < snapshot_ts + interval '60 s'),
  CONSTRAINT seen_iff_known       CHECK ((position_szi IS NULL) = (observed_at IS NULL)),
  CONSTRAINT missing_is_not_zero  CHECK ((position_szi IS NULL) = (missing_reason IS NOT NULL)),
  CONSTRAINT missing_has_no_terms CHECK (position_szi IS NOT NULL OR (entry_px, liq_px, leverage, leverage_type, margin_used) IS NULL),
  CONSTRAINT flat_has_no_terms    CHECK (position_szi <> 0 OR (entry_px, liq_px, leverage, leverage_type, margin_used) IS NULL),
  CONSTRAINT held_has_its_terms   CHECK (position_szi = 0 OR position_szi IS NULL OR (leverage, leverage_type, margin_used) IS NOT NULL),
  CONSTRAINT dirty_has_a_reason   CHECK (is_dirty = (dirty_reason IS NOT NULL)),
  CONSTRAINT attempt_is_counted   CHECK (attempt >= 1),
  CONSTRAINT finite_szi           CHECK (abs(position_szi) < 1e15),
  CONSTRAINT finite_entry_px      CHECK (entry_px >= 0 AND entry_px < 1e15),
  CONSTRAINT finite_liq_px        CHECK (liq_px >= 0 AND liq_px < 1e15),
  CONSTRAINT finite_leverage      CHECK (leverage > 0 AND leverage <= 1000),
  CONSTRAINT finite_margin_used   CHECK (abs(margin_used) < 1e15)
) PARTITION BY RANGE (snapshot_ts);

CREATE TABLE wallet_snapshots_default PARTITION OF wallet_snapshots DEFAULT;
CREATE INDEX wallet_snapshots_series ON wallet_snapshots (wallet_id, asset, snapshot_ts);

COMMENT ON TABLE  wallet_snapshots                IS 'One row per minute, wallet of that minute''s universe, and asset. A value once written never changes; NULL with a reason may become a value within the minute.';
COMMENT ON COLUMN wallet_snapshots.snapshot_ts    IS 'The minute, UTC: the cell holds for [snapshot_ts, snapshot_ts + 60 s).';
COMMENT ON COLUMN wallet_snapshots.observed_at    IS 'When the answer was received, by the database clock, UTC; NULL if the cell is missing.';
COMMENT ON COLUMN wallet_snapshots.wallet_id      IS 'The wallet.';
COMMENT ON COLUMN wallet_snapshots.asset          IS 'HYPE, BTC or ETH on the main perp dex.';
COMMENT ON COLUMN wallet_snapshots.ingest_run_id  IS 'The run that recorded the minute: minutes since the epoch.';
COMMENT ON COLUMN wallet_snapshots.missing_reason IS 'Why the size is not known; NULL if it is known.';
COMMENT ON COLUMN wallet_snapshots.leverage_type  IS 'cross or isolated; NULL if flat or missing.';
COMMENT ON COLUMN wallet_snapshots.attempt        IS 'Which attempt at the minute wrote this cell, from 1.';
COMMENT ON COLUMN wallet_snapshots.is_dirty       IS 'True if a later minute showed that the exchange''s answer is not to be believed.';
COMMENT ON COLUMN wallet_snapshots.position_szi   IS 'Signed size in coins, negative = short, 0 = flat; NULL = not known, never zero.';
COMMENT ON COLUMN wallet_snapshots.entry_px       IS 'Average entry price, USD; NULL if flat, missing, or not given by the exchange.';
COMMENT ON COLUMN wallet_snapshots.liq_px         IS 'Liquidation price, USD; NULL if flat, missing, or the exchange gave none (normal for cross longs).';
COMMENT ON COLUMN wallet_snapshots.leverage       IS 'The user''s leverage setting, a factor; NULL if flat or missing.';
COMMENT ON COLUMN wallet_snapshots.margin_used    IS 'Margin in use by the position, USD; NULL if flat or missing.';
COMMENT ON COLUMN wallet_snapshots.dirty_reason   IS 'Why the cell is dirty; NULL if it is not.';

CREATE TABLE snapshot_anomalies (
  snapshot_ts  timestamptz NOT NULL CHECK (extract(epoch FROM snapshot_ts) % 60 = 0),
  wallet_id    int         NOT NULL,
  asset        asset       NOT NULL,
  anomaly_type text        NOT NULL CHECK (anomaly_type IN ('transient_collapse', 'szi_jump', 'null_szi', 'other')),
  details      jsonb       NOT NULL DEFAULT '{}',
  PRIMARY KEY (snapshot_ts, wallet_id, asset, anomaly_type)
);

COMMENT ON TABLE  snapshot_anomalies              IS 'What is odd about a cell.';
COMMENT ON COLUMN snapshot_anomalies.snapshot_ts  IS 'The minute of the cell, UTC.';
COMMENT ON COLUMN snapshot_anomalies.wallet_id    IS 'The wallet of the cell.';
COMMENT ON COLUMN snapshot_anomalies.asset        IS 'The asset of the cell.';
COMMENT ON COLUMN snapshot_anomalies.anomaly_type IS 'transient_collapse, szi_jump, null_szi or other.';
COMMENT ON COLUMN snapshot_anomalies.details      IS 'The values before, at and after the cell.';

-- Statuses are text, not enums: a distributed engine ships them to its workers.
-- run_id is unique through its CHECK; a second unique index would break ON CONFLICT (snapshot_ts).
CREATE TABLE ingest_runs (
  run_id               int           NOT NULL,
  snapshot_ts          timestamptz   PRIMARY KEY,
  status               text          NOT NULL CHECK (status IN ('success', 'partial', 'failed')),
  wallets_expected     int           NOT NULL CHECK (wallets_expected >= 0),
  wallets_succeeded    int           NOT NULL CHECK (wallets_succeeded BETWEEN 0 AND wallets_expected),
  wallets_failed       int           NOT NULL CHECK (wallets_failed = wallets_expected - wallets_succeeded),
  rows_expected        int           NOT NULL CHECK (rows_expected = 3 * wallets_expected),
  rows_written         int           NOT NULL CHECK (rows_written >= 0),
  coverage_pct         numeric(5, 2) NOT NULL CHECK (coverage_pct BETWEEN 0 AND 100),
  missing              jsonb         NOT NULL,
  universe_run_id      int           NOT NULL REFERENCES wallet_universe_runs,
  attempts             smallint      NOT NULL CHECK (attempts >= 1),
  attempt_id           uuid          NOT NULL,
  coverage_success     numeric(5, 2) NOT NULL CHECK (coverage_success BETWEEN 0 AND 100),
  coverage_failed      numeric(5, 2) NOT NULL CHECK (coverage_failed BETWEEN 0 AND coverage_success),
  stale_after          interval      NOT NULL CHECK (stale_after > interval '0'),
  universe_stale_after interval      NOT NULL CHECK (universe_stale_after > interval '0'),
  requests_sent        int           NOT NULL CHECK (requests_sent >= 0),
  retries              int           NOT NULL CHECK (retries >= 0),
  rate_limited         int           NOT NULL CHECK (rate_limited >= 0),
  last_sent_at         timestamptz,
  sent_per_second      smallint[]    NOT NULL CHECK (cardinality(sent_per_second) <= 60),
  skew_ms              int           CHECK (skew_ms >= 0),
  clock_offset_ms      bigint,
  suspect              text[]        NOT NULL DEFAULT '{}',
  duration_ms          int           NOT NULL CHECK (duration_ms >= 0),
  error                text,
  host                 text          NOT NULL,
  version              text          NOT NULL,
  published_at         timestamptz   NOT NULL,
  CONSTRAINT run_of_its_minute CHECK (run_id = extract(epoch FROM snapshot_ts) / 60)
);

COMMENT ON TABLE  ingest_runs                      IS 'One row per recorded minute; a minute without one means that the database was not reached. Never deleted.';
COMMENT ON COLUMN ingest_runs.run_id               IS 'Minutes since the epoch.';
COMMENT ON COLUMN ingest_runs.snapshot_ts          IS 'The minute, UTC.';
COMMENT ON COLUMN ingest_runs.status               IS 'success, partial or failed, by the share of wallets that answered and the thresholds of this row.';
COMMENT ON COLUMN ingest_runs.wallets_expected     IS 'Wallets of the pinned universe.';
COMMENT ON COLUMN ingest_runs.wallets_succeeded    IS 'Wallets whose three cells are known.';
COMMENT ON COLUMN ingest_runs.wallets_failed       IS 'Wallets whose cells are NULL.';
COMMENT ON COLUMN ingest_runs.rows_expected        IS 'Wallets times assets.';
COMMENT ON COLUMN ingest_runs.rows_written         IS 'Cells stored, NULL cells included.';
COMMENT ON COLUMN ingest_runs.coverage_pct         IS 'Percent of wallets that succeeded, cut off after two digits.';
COMMENT ON COLUMN ingest_runs.missing              IS 'Reason to number of wallets, an object.';
COMMENT ON COLUMN ingest_runs.universe_run_id      IS 'The refresh whose members this minute records, pinned by its first publisher.';
COMMENT ON COLUMN ingest_runs.attempts             IS 'How many runs published this minute.';
COMMENT ON COLUMN ingest_runs.attempt_id           IS 'The newest of these runs: tells a lost COMMIT from a failed one.';
COMMENT ON COLUMN ingest_runs.coverage_success     IS 'Percent from which the minute is a success, in force then.';
COMMENT ON COLUMN ingest_runs.coverage_failed      IS 'Percent below which the minute is failed, in force then.';
COMMENT ON COLUMN ingest_runs.stale_after          IS 'Age of the newest good minute from which the data is stale, in force then.';
COMMENT ON COLUMN ingest_runs.universe_stale_after IS 'Age of the universe from which the data is degraded, in force then.';
COMMENT ON COLUMN ingest_runs.requests_sent        IS 'Requests sent to the exchange, retries included, all attempts together.';
COMMENT ON COLUMN ingest_runs.retries              IS 'Requests of these that asked again.';
COMMENT ON COLUMN ingest_runs.rate_limited         IS 'Answers with status 429.';
COMMENT ON COLUMN ingest_runs.last_sent_at         IS 'When the last request was sent, UTC; NULL if none was.';
COMMENT ON COLUMN ingest_runs.sent_per_second      IS 'Requests sent in each second of the minute, from the first, all attempts together: what the next run''s rate limit is reckoned from.';
COMMENT ON COLUMN ingest_runs.skew_ms              IS 'From the first to the last answer of the newest attempt, in milliseconds; NULL if there was none.';
COMMENT ON COLUMN ingest_runs.clock_offset_ms      IS 'Exchange clock minus database clock, median over the answers, in milliseconds; NULL if no answer told the time.';
COMMENT ON COLUMN ingest_runs.suspect              IS 'What is odd about the minute as a whole; empty if nothing.';
COMMENT ON COLUMN ingest_runs.duration_ms          IS 'From the start of the newest attempt to its publication, in milliseconds.';
COMMENT ON COLUMN ingest_runs.error                IS 'What went wrong as a whole; NULL if nothing did.';
COMMENT ON COLUMN ingest_runs.host                 IS 'The machine of the newest attempt.';
COMMENT ON COLUMN ingest_runs.version              IS 'The hlctl version of the newest attempt.';
COMMENT ON COLUMN ingest_runs.published_at         IS 'When the newest attempt published, by the database clock, UTC.';

CREATE TABLE ingest_health (
  health_ts                timestamptz   PRIMARY KEY,
  last_success_snapshot_ts timestamptz,
  snapshot_status          text          NOT NULL CHECK (snapshot_status IN ('success', 'partial', 'failed')),
  coverage_pct             numeric(5, 2) NOT NULL CHECK (coverage_pct BETWEEN 0 AND 100),
  health_state             text          NOT NULL CHECK (health_state IN ('healthy', 'degraded', 'stale')),
  error                    text
);

COMMENT ON TABLE  ingest_health                          IS 'What was known of health when a minute was published: history, not judgement. v_latest_health judges.';
COMMENT ON COLUMN ingest_health.health_ts                IS 'The minute, UTC.';
COMMENT ON COLUMN ingest_health.last_success_snapshot_ts IS 'The newest good minute then, this one included, UTC; NULL if there was none.';
COMMENT ON COLUMN ingest_health.snapshot_status          IS 'Status of the minute.';
COMMENT ON COLUMN ingest_health.coverage_pct             IS 'Percent of wallets that succeeded.';
COMMENT ON COLUMN ingest_health.health_state             IS 'What v_latest_health said when the minute was published.';
COMMENT ON COLUMN ingest_health.error                    IS 'What went wrong as a whole; NULL if nothing did.';

-- Partitions for today and the days after it. Built as a table and attached, because CREATE TABLE ... PARTITION OF would
-- queue every reader behind a run that is still fetching. Rows that fell into DEFAULT move to their day.
-- It runs with the owner's rights, so the writer needs no DDL.
CREATE FUNCTION ensure_partitions(days int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '2s'
AS $$
DECLARE
  wanted date[];
  d      date;
  day    text;
  made   int := 0;
BEGIN
  SELECT array_agg(g::date ORDER BY g)
    INTO wanted
    FROM generate_series(date_trunc('day', public.hlctl_clock()),
                         date_trunc('day', public.hlctl_clock()) + make_interval(days => days), interval '1 day') AS g
   WHERE to_regclass(format('public.wallet_snapshots_%s', to_char(g, 'YYYYMMDD'))) IS NULL;
  IF wanted IS NULL THEN
    RETURN 0;
  END IF;
  -- Two callers at once: the second waits here and finds the work done.
  PERFORM pg_advisory_xact_lock(1751908352, -3);
  FOREACH d IN ARRAY wanted LOOP
    day := format('wallet_snapshots_%s', to_char(d, 'YYYYMMDD'));
    CONTINUE WHEN to_regclass(format('public.%I', day)) IS NOT NULL;
    EXECUTE format('CREATE TABLE public.%I (LIKE public.wallet_snapshots INCLUDING ALL)', day);
    EXECUTE format('WITH strayed AS (DELETE FROM public.wallet_snapshots_default
                                      WHERE snapshot_ts >= %1$L AND snapshot_ts < %2$L RETURNING *)
                    INSERT INTO public.%3$I SELECT * FROM strayed', d::timestamptz, (d + 1)::timestamptz, day);
    EXECUTE format('ALTER TABLE public.wallet_snapshots ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
                   day, d::timestamptz, (d + 1)::timestamptz);
    made := made + 1;
  END LOOP;
  RETURN made;
END
$$;

COMMENT ON FUNCTION ensure_partitions(int) IS
  'Makes the daily partitions of wallet_snapshots for today and this many days after it; returns how many it made.';
REVOKE ALL ON FUNCTION ensure_partitions(int) FROM PUBLIC;

SELECT ensure_partitions(7);
