-- Later work: made now so that readers can rely on the shape. Nothing writes these yet but alert_state's seven rows.

CREATE TABLE signals (
  signal_ts          timestamptz NOT NULL CHECK (extract(epoch FROM signal_ts) % 60 = 0),
  asset              text        NOT NULL CHECK (asset IN ('HYPE', 'BTC', 'ETH')),
  alignment_score    numeric     NOT NULL CHECK (alignment_score BETWEEN 0 AND 100),
  dispersion_index   numeric     NOT NULL CHECK (dispersion_index BETWEEN 0 AND 100),
  exit_cluster_score numeric     NOT NULL CHECK (exit_cluster_score BETWEEN 0 AND 100),
  alignment_trend    text        NOT NULL CHECK (alignment_trend IN ('rising', 'flat', 'falling')),
  allowed_playbook   text        NOT NULL CHECK (allowed_playbook IN ('Long-only', 'Short-only', 'No-trade')),
  risk_mode          text        NOT NULL CHECK (risk_mode IN ('Normal', 'Reduced', 'Defensive')),
  add_exposure       boolean     NOT NULL,
  tighten_stops      boolean     NOT NULL,
  wallet_count       int         NOT NULL CHECK (wallet_count >= 0),
  missing_count      int         NOT NULL CHECK (missing_count >= 0),
  dirty_count        int         NOT NULL CHECK (dirty_count >= 0),
  is_degraded        boolean     NOT NULL,
  degraded_reason    text,
  computation_ms     int         NOT NULL CHECK (computation_ms >= 0),
  PRIMARY KEY (signal_ts, asset),
  CONSTRAINT degraded_has_a_reason CHECK (is_degraded = (degraded_reason IS NOT NULL))
);

COMMENT ON TABLE  signals                    IS 'One judgement per asset and period; written by later work.';
COMMENT ON COLUMN signals.signal_ts          IS 'The minute judged, UTC.';
COMMENT ON COLUMN signals.asset              IS 'HYPE, BTC or ETH.';
COMMENT ON COLUMN signals.alignment_score    IS 'How much the wallets agree, 0 to 100.';
COMMENT ON COLUMN signals.dispersion_index   IS 'How much they differ, 0 to 100.';
COMMENT ON COLUMN signals.exit_cluster_score IS 'How many leave together, 0 to 100.';
COMMENT ON COLUMN signals.alignment_trend    IS 'rising, flat or falling.';
COMMENT ON COLUMN signals.allowed_playbook   IS 'Long-only, Short-only or No-trade.';
COMMENT ON COLUMN signals.risk_mode          IS 'Normal, Reduced or Defensive.';
COMMENT ON COLUMN signals.add_exposure       IS 'Whether exposure may be added.';
COMMENT ON COLUMN signals.tighten_stops      IS 'Whether stops should be tightened.';
COMMENT ON COLUMN signals.wallet_count       IS 'Wallets that entered the judgement.';
COMMENT ON COLUMN signals.missing_count      IS 'Wallets that were missing.';
COMMENT ON COLUMN signals.dirty_count        IS 'Wallets with a dirty cell.';
COMMENT ON COLUMN signals.is_degraded        IS 'Whether the judgement rests on degraded data.';
COMMENT ON COLUMN signals.degraded_reason    IS 'Why; NULL if it does not.';
COMMENT ON COLUMN signals.computation_ms     IS 'Time of the computation, in milliseconds.';

CREATE TABLE signal_contributors (
  signal_ts       timestamptz NOT NULL,
  asset           text        NOT NULL CHECK (asset IN ('HYPE', 'BTC', 'ETH')),
  pct_add_long    numeric     NOT NULL CHECK (pct_add_long BETWEEN 0 AND 100),
  pct_add_short   numeric     NOT NULL CHECK (pct_add_short BETWEEN 0 AND 100),
  pct_reducers    numeric     NOT NULL CHECK (pct_reducers BETWEEN 0 AND 100),
  pct_flat        numeric     NOT NULL CHECK (pct_flat BETWEEN 0 AND 100),
  count_add_long  int         NOT NULL CHECK (count_add_long >= 0),
  count_add_short int         NOT NULL CHECK (count_add_short >= 0),
  count_reducers  int         NOT NULL CHECK (count_reducers >= 0),
  count_flat      int         NOT NULL CHECK (count_flat >= 0),
  total_wallets   int         NOT NULL CHECK (total_wallets >= 0),
  PRIMARY KEY (signal_ts, asset),
  CONSTRAINT percentages_make_a_whole CHECK (pct_add_long + pct_add_short + pct_reducers + pct_flat BETWEEN 99 AND 101)
);

COMMENT ON TABLE  signal_contributors                 IS 'What the wallets behind a signal did; written by later work.';
COMMENT ON COLUMN signal_contributors.signal_ts       IS 'The minute judged, UTC.';
COMMENT ON COLUMN signal_contributors.asset           IS 'HYPE, BTC or ETH.';
COMMENT ON COLUMN signal_contributors.pct_add_long    IS 'Percent of wallets that added to a long.';
COMMENT ON COLUMN signal_contributors.pct_add_short   IS 'Percent of wallets that added to a short.';
COMMENT ON COLUMN signal_contributors.pct_reducers    IS 'Percent of wallets that reduced.';
COMMENT ON COLUMN signal_contributors.pct_flat        IS 'Percent of wallets that stayed flat or unchanged.';
COMMENT ON COLUMN signal_contributors.count_add_long  IS 'Number of wallets that added to a long.';
COMMENT ON COLUMN signal_contributors.count_add_short IS 'Number of wallets that added to a short.';
COMMENT ON COLUMN signal_contributors.count_reducers  IS 'Number of wallets that reduced.';
COMMENT ON COLUMN signal_contributors.count_flat      IS 'Number of wallets that stayed flat or unchanged.';
COMMENT ON COLUMN signal_contributors.total_wallets   IS 'Number of wallets counted.';

CREATE TABLE alerts (
  id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  alert_ts        timestamptz NOT NULL,
  asset           text        CHECK (asset IN ('HYPE', 'BTC', 'ETH')),
  alert_type      text        NOT NULL CHECK (alert_type IN ('regime_change', 'exit_cluster', 'system_stale')),
  severity        text        NOT NULL CHECK (severity IN ('medium', 'high', 'critical')),
  message         text        NOT NULL,
  signal_snapshot jsonb,
  cooldown_until  timestamptz,
  suppressed      boolean     NOT NULL DEFAULT false
);

CREATE INDEX alerts_recent ON alerts (alert_ts);   -- v_recent_alerts reads the last day

COMMENT ON TABLE  alerts                 IS 'What was worth telling; written by later work.';
COMMENT ON COLUMN alerts.id              IS 'Number of the alert, rising.';
COMMENT ON COLUMN alerts.alert_ts        IS 'When it was raised, UTC.';
COMMENT ON COLUMN alerts.asset           IS 'HYPE, BTC or ETH; NULL if it concerns the system.';
COMMENT ON COLUMN alerts.alert_type      IS 'regime_change, exit_cluster or system_stale.';
COMMENT ON COLUMN alerts.severity        IS 'medium, high or critical.';
COMMENT ON COLUMN alerts.message         IS 'The words.';
COMMENT ON COLUMN alerts.signal_snapshot IS 'The signal that led to it.';
COMMENT ON COLUMN alerts.cooldown_until  IS 'Until when the same alert is held back, UTC.';
COMMENT ON COLUMN alerts.suppressed      IS 'True if it was recorded but not told.';

CREATE TABLE alert_state (
  asset              text    NOT NULL CHECK (asset IN ('HYPE', 'BTC', 'ETH', 'SYSTEM')),
  alert_type         text    NOT NULL CHECK (alert_type IN ('regime_change', 'exit_cluster', 'system_stale')),
  is_active          boolean NOT NULL DEFAULT false,
  last_triggered_ts  timestamptz,
  cooldown_until     timestamptz,
  daily_count        int     NOT NULL DEFAULT 0 CHECK (daily_count >= 0),
  daily_window_start timestamptz,
  pending_playbook   text    CHECK (pending_playbook IN ('Long-only', 'Short-only', 'No-trade')),
  pending_periods    int     NOT NULL DEFAULT 0 CHECK (pending_periods >= 0),
  PRIMARY KEY (asset, alert_type),
  CONSTRAINT stale_is_the_systems CHECK ((asset = 'SYSTEM') = (alert_type = 'system_stale'))
);

COMMENT ON TABLE  alert_state                    IS 'What each kind of alert remembers between runs: seven rows, updated by later work.';
COMMENT ON COLUMN alert_state.asset              IS 'HYPE, BTC, ETH or SYSTEM.';
COMMENT ON COLUMN alert_state.alert_type         IS 'regime_change, exit_cluster or system_stale.';
COMMENT ON COLUMN alert_state.is_active          IS 'Whether the condition holds.';
COMMENT ON COLUMN alert_state.last_triggered_ts  IS 'When it was last told, UTC; NULL if never.';
COMMENT ON COLUMN alert_state.cooldown_until     IS 'Until when it is held back, UTC.';
COMMENT ON COLUMN alert_state.daily_count        IS 'How often it was told in the current day window.';
COMMENT ON COLUMN alert_state.daily_window_start IS 'When that window began, UTC.';
COMMENT ON COLUMN alert_state.pending_playbook   IS 'A playbook that waits for confirmation.';
COMMENT ON COLUMN alert_state.pending_periods    IS 'For how many periods it has been waiting.';

INSERT INTO alert_state (asset, alert_type)
VALUES ('HYPE', 'regime_change'), ('HYPE', 'exit_cluster'),
       ('BTC', 'regime_change'),  ('BTC', 'exit_cluster'),
       ('ETH', 'regime_change'),  ('ETH', 'exit_cluster'),
       ('SYSTEM', 'system_stale');

CREATE VIEW v_latest_signals AS
SELECT DISTINCT ON (asset) *
  FROM signals
 ORDER BY asset, signal_ts DESC;

CREATE VIEW v_recent_alerts AS
SELECT *
  FROM alerts
 WHERE NOT suppressed
   AND alert_ts > hlctl_clock() - interval '24 hours'
 ORDER BY (alert_type = 'system_stale') DESC, alert_ts DESC
 LIMIT 5;

COMMENT ON VIEW v_latest_signals IS 'The newest signal of each asset.';
COMMENT ON VIEW v_recent_alerts  IS 'The alerts of the last 24 hours that were told: system_stale first, newest first, at most 5.';

-- Both views show their table's columns as they are, and so take their comments too.
DO $$
DECLARE
  c record;
BEGIN
  FOR c IN
    SELECT v.view_name, a.attname, col_description(a.attrelid, a.attnum) AS words
      FROM (VALUES ('v_latest_signals', 'signals'), ('v_recent_alerts', 'alerts')) AS v (view_name, table_name)
      JOIN pg_attribute a ON a.attrelid = v.table_name::regclass AND a.attnum > 0
  LOOP
    EXECUTE format('COMMENT ON COLUMN %I.%I IS %L', c.view_name, c.attname, c.words);
  END LOOP;
END
$$;
