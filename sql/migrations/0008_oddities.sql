-- Which cells and which minutes look odd: the rules, once, for the run that marks and for the check that looks after it.
-- Each function is one SELECT with its caller's rights and no settings, so that the planner sees through it.

ALTER TABLE ingest_runs ADD COLUMN anomaly_rules smallint CHECK (anomaly_rules >= 1);

COMMENT ON COLUMN ingest_runs.anomaly_rules IS 'Which rules looked for oddities in this minute and for dirty cells in the one before it; 1 = those of odd_cells and suspect_cells. NULL: none did, as before there were any.';
COMMENT ON COLUMN ingest_runs.suspect IS 'What is odd about the minute as a whole, sorted: mass_zero, same_answer; empty if nothing. See suspect_cells.';
COMMENT ON COLUMN wallet_snapshots.is_dirty IS 'True if the minutes around it, or the answer itself, showed that the cell is not to be believed; its values stay as they came. See odd_cells.';
COMMENT ON COLUMN wallet_snapshots.dirty_reason IS 'Why the cell is dirty: transient_collapse, szi_jump, null_szi or stale_time; NULL if it is not.';
COMMENT ON COLUMN snapshot_anomalies.details IS 'A dirty cell: reason, and the sizes before, at and after it in coins, null if not known. A cell of a suspect minute: kind, and the size before (mass_zero) or who said the same (same_answer).';

-- timestamptz + interval asks the session's time zone, so the planner takes it for no constant and opens the partitions of
-- all days. In UTC it is one.
CREATE FUNCTION minutes_after(moment timestamptz, minutes int) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (moment AT TIME ZONE 'UTC' + minutes * interval '1 minute') AT TIME ZONE 'UTC';

COMMENT ON FUNCTION minutes_after(timestamptz, int) IS 'So many minutes later, or earlier if negative: a constant where its arguments are.';

-- "seen" reads a minute more on either side. A neighbour counts only if it is exactly a minute away: a wallet that was not in
-- the universe then, or a minute that nobody recorded, leaves the value beside it unknown.
-- Neighbours within a tenth of each other are one position that hardly moved. To be less than half or more than twice of it
-- in between, it takes two trades of half the position or more within two minutes that cancel out to a tenth: an answer that
-- is wrong is likelier. Who scales in steps, doubles and stays, or is flat on a side, is nowhere near.
CREATE FUNCTION odd_cells(since timestamptz, until timestamptz)
RETURNS TABLE (snapshot_ts timestamptz, wallet_id int, asset asset, position_szi numeric, anomaly_type text, reason text,
               details jsonb, marked_as text)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  WITH seen AS (
    SELECT c.snapshot_ts, c.wallet_id, c.asset, c.position_szi, c.missing_reason, c.dirty_reason,
           lag(c.position_szi)  OVER series AS szi_before, lag(c.snapshot_ts)  OVER series AS ts_before,
           lead(c.position_szi) OVER series AS szi_after,  lead(c.snapshot_ts) OVER series AS ts_after
      FROM wallet_snapshots c
     WHERE c.snapshot_ts >= minutes_after(since, -1)
       AND c.snapshot_ts <  minutes_after(until, 1)
    WINDOW series AS (PARTITION BY c.wallet_id, c.asset ORDER BY c.snapshot_ts)),
  cell AS (
    SELECT s.snapshot_ts, s.wallet_id, s.asset, s.position_szi, s.missing_reason, s.dirty_reason,
           CASE WHEN s.snapshot_ts - s.ts_before = interval '1 minute' THEN s.szi_before END AS before,
           CASE WHEN s.ts_after - s.snapshot_ts  = interval '1 minute' THEN s.szi_after  END AS after
      FROM seen s
     WHERE s.snapshot_ts >= since
       AND s.snapshot_ts <  until),
  odd AS MATERIALIZED (
    SELECT c.*,
           CASE WHEN c.missing_reason IN ('bad_shape', 'bad_number', 'duplicate_coin') THEN 'null_szi'
                WHEN c.missing_reason = 'stale'                                        THEN 'stale_time'
                WHEN c.before > 0 AND c.after > 0 OR c.before < 0 AND c.after < 0 THEN CASE
                  WHEN c.position_szi = 0
                   AND abs(c.after) > 0.5 * abs(c.before)                              THEN 'transient_collapse'
                  WHEN c.position_szi <> 0
                   AND least(abs(c.before), abs(c.after)) >= 0.9 * greatest(abs(c.before), abs(c.after))
                   AND (sign(c.position_szi) <> sign(c.before)
                        OR abs(c.position_szi) > 2   * greatest(abs(c.before), abs(c.after))
                        OR abs(c.position_szi) < 0.5 * least(abs(c.before), abs(c.after)))
                                                                                       THEN 'szi_jump' END
           END AS reason
      FROM cell c)
  SELECT o.snapshot_ts, o.wallet_id, o.asset, o.position_szi,
         CASE o.reason WHEN 'stale_time' THEN 'other' ELSE o.reason END,
         o.reason,
         jsonb_build_object('reason', o.reason, 'before', o.before, 'at', o.position_szi, 'after', o.after),
         o.dirty_reason
    FROM odd o
    JOIN ingest_runs r ON r.snapshot_ts = minutes_after(o.snapshot_ts, 1)
   WHERE o.reason IS NOT NULL;
END;

COMMENT ON FUNCTION odd_cells(timestamptz, timestamptz) IS
  'The dirty cells of the minutes from since to before until, by rules 1; marked_as is the mark they have now. A cell is judged once the next minute is recorded; sizes in coins.
transient_collapse: flat between two open minutes of the same sign, the second more than 0.5 times the first.
szi_jump: open, between two open minutes of the same sign of which the smaller is at least 0.9 times the larger, but of the other sign, or more than 2 times the larger, or less than 0.5 times the smaller. Who is flat before or after is a trader who came and went, and is not odd; nor is a change that lasts.
null_szi: the wallet answered and its answer could not be used (bad_shape, bad_number, duplicate_coin).
stale_time: the exchange dated its answer outside the minute.';

-- The size that a position had is looked up in the baseline, the newest good minute that was itself not emptied. There, the
-- positions of a shared answer do not count: after a minute in which everybody was said to hold the same, all would be gone.
CREATE FUNCTION suspect_cells(since timestamptz, until timestamptz)
RETURNS TABLE (snapshot_ts timestamptz, wallet_id int, asset asset, word text, details jsonb)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  WITH pair AS MATERIALIZED (
    SELECT r.snapshot_ts AS minute, good.snapshot_ts AS baseline
      FROM ingest_runs r
     CROSS JOIN LATERAL (
           SELECT g.snapshot_ts
             FROM ingest_runs g
            WHERE g.snapshot_ts >= minutes_after(r.snapshot_ts, -60)
              AND g.snapshot_ts < r.snapshot_ts
              AND g.status <> 'failed'
              AND NOT 'mass_zero' = ANY (g.suspect)
            ORDER BY g.snapshot_ts DESC
            LIMIT 1) AS good
     WHERE r.snapshot_ts >= since
       AND r.snapshot_ts <  until),
  cell AS MATERIALIZED (
    SELECT c.snapshot_ts, c.wallet_id, c.asset, c.position_szi
      FROM wallet_snapshots c
     WHERE c.snapshot_ts >= minutes_after(since, -60)
       AND c.snapshot_ts >= (SELECT min(p.baseline) FROM pair p)
       AND c.snapshot_ts <  until),
  held AS (
    SELECT p.minute, now.wallet_id, now.asset, was.position_szi AS before, now.position_szi AS szi,
           count(*)                                     OVER (PARTITION BY p.minute) AS positions,
           count(*) FILTER (WHERE now.position_szi = 0) OVER (PARTITION BY p.minute) AS gone
      FROM pair p
      JOIN cell was ON was.snapshot_ts = p.baseline AND was.position_szi <> 0
      JOIN cell now ON now.snapshot_ts = p.minute AND now.wallet_id = was.wallet_id AND now.asset = was.asset
      LEFT JOIN snapshot_anomalies a
        ON a.snapshot_ts = was.snapshot_ts AND a.wallet_id = was.wallet_id AND a.asset = was.asset
       AND a.details ->> 'kind' = 'same_answer'
     WHERE a.snapshot_ts IS NULL),
  position AS MATERIALIZED (
    SELECT c.snapshot_ts, c.wallet_id, c.asset,
           jsonb_build_array(c.position_szi, c.entry_px, c.liq_px, c.leverage, c.leverage_type, c.margin_used) AS terms
      FROM wallet_snapshots c
     WHERE c.snapshot_ts >= since
       AND c.snapshot_ts <  until
       AND c.position_szi <> 0),
  answer AS (
    SELECT p.snapshot_ts, p.wallet_id, jsonb_object_agg(p.asset, p.terms) AS terms
      FROM position p
     GROUP BY p.snapshot_ts, p.wallet_id),
  shared AS (
    SELECT a.snapshot_ts, array_agg(a.wallet_id ORDER BY a.wallet_id) AS wallets
      FROM answer a
     GROUP BY a.snapshot_ts, a.terms
    HAVING count(*) > 1)
  SELECT h.minute, h.wallet_id, h.asset, 'mass_zero', jsonb_build_object('kind', 'mass_zero', 'before', h.before)
    FROM held h
   WHERE h.positions >= 10
     AND 2 * h.gone >= h.positions
     AND h.szi = 0
   UNION ALL
  SELECT p.snapshot_ts, p.wallet_id, p.asset, 'same_answer',
         jsonb_build_object('kind', 'same_answer', 'wallets', cardinality(s.wallets),
                            'same_as', (array_remove(s.wallets, p.wallet_id))[:10])
    FROM shared s
   CROSS JOIN LATERAL unnest(s.wallets) AS w (wallet_id)
    JOIN position p ON p.snapshot_ts = s.snapshot_ts AND p.wallet_id = w.wallet_id;
END;

COMMENT ON FUNCTION suspect_cells(timestamptz, timestamptz) IS
  'The cells for which the minutes from since to before until are suspect, by rules 1; word is what ingest_runs.suspect says of the minute. No cell is named for both words.
mass_zero: of the open positions of the baseline whose wallet is still recorded, those of a shared answer aside, 10 at least, half or more are flat. The baseline is the newest good minute of the 60 before that is not itself mass_zero, so what lasts is suspect for an hour and then believed. A position that is not known now has not turned flat.
same_answer: two wallets or more with the same size, prices, leverage and margin in all three assets, and at least one position; same_as names the first ten others, wallets counts all.';

REVOKE ALL ON FUNCTION minutes_after(timestamptz, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION odd_cells(timestamptz, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION suspect_cells(timestamptz, timestamptz) FROM PUBLIC;

-- As before, and `suspect` at its end.
CREATE OR REPLACE VIEW v_latest_health AS
WITH clock AS MATERIALIZED (
  SELECT hlctl_clock() AS at),
last AS (
  SELECT * FROM ingest_runs ORDER BY snapshot_ts DESC LIMIT 1),
good AS (
  SELECT snapshot_ts FROM ingest_runs WHERE status <> 'failed' ORDER BY snapshot_ts DESC LIMIT 1),
universe AS (
  SELECT as_of_ts FROM wallet_universe_runs WHERE status = 'success' ORDER BY run_id DESC LIMIT 1),
fact AS (
  SELECT clock.at, last.snapshot_ts, last.status, last.coverage_pct, last.suspect,
         good.snapshot_ts AS good_ts, universe.as_of_ts AS universe_ts,
         array_remove(ARRAY[
           CASE WHEN good.snapshot_ts IS NULL                           THEN 'no_good_minute' END,
           CASE WHEN clock.at - good.snapshot_ts > last.stale_after     THEN 'no_good_minute_lately' END,
           CASE WHEN last.status = 'failed'                             THEN 'last_minute_failed' END], NULL) AS stale_because,
         array_remove(ARRAY[
           CASE WHEN last.status = 'partial'                            THEN 'last_minute_partial' END,
           CASE WHEN clock.at - last.snapshot_ts > interval '120 s'     THEN 'last_minute_old' END,
           CASE WHEN clock.at - universe.as_of_ts > last.universe_stale_after THEN 'universe_old' END,
           CASE WHEN cardinality(last.suspect) > 0                      THEN 'suspect' END], NULL) AS degraded_because
    FROM clock
    LEFT JOIN last ON true
    LEFT JOIN good ON true
    LEFT JOIN universe ON true)
SELECT CASE WHEN cardinality(stale_because) > 0    THEN 'stale'
            WHEN cardinality(degraded_because) > 0 THEN 'degraded'
            ELSE 'healthy' END         AS health_state,
       stale_because || degraded_because AS reasons,
       at                              AS judged_at,
       snapshot_ts                     AS last_snapshot_ts,
       status                          AS last_status,
       coverage_pct,
       at - snapshot_ts                AS last_snapshot_age,
       good_ts                         AS last_good_snapshot_ts,
       at - good_ts                    AS last_good_age,
       universe_ts                     AS universe_as_of_ts,
       at - universe_ts                AS universe_age,
       coalesce(suspect, '{}')         AS suspect
  FROM fact;

COMMENT ON COLUMN v_latest_health.suspect IS 'What is odd about that minute as a whole: mass_zero, same_answer; empty if nothing.';
