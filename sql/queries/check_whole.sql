-- A wallet's cells are of one answer: all known or none.
-- One attempt wrote them, with one time or one reason.
SELECT snapshot_ts, wallet_id, NULL::text AS asset,
       concat_ws('; ',
         CASE WHEN count(position_szi) NOT IN (0, count(*)) THEN concat(count(position_szi), ' of ', count(*), ' cells known') END,
         CASE WHEN min(attempt) <> max(attempt) THEN concat('attempts ', min(attempt), ' and ', max(attempt)) END,
         CASE WHEN count(observed_at) NOT IN (0, count(*)) THEN concat(count(observed_at), ' of ', count(*), ' cells have a time')
              WHEN min(observed_at) <> max(observed_at)
              THEN concat('seen at ', min(observed_at)::time, ' and at ', max(observed_at)::time) END,
         CASE WHEN count(missing_reason) NOT IN (0, count(*))
              THEN concat(count(missing_reason), ' of ', count(*), ' cells have a reason')
              WHEN min(missing_reason) <> max(missing_reason)
              THEN concat('missing for ', min(missing_reason), ' and ', max(missing_reason)) END) AS found
  FROM wallet_snapshots
 WHERE snapshot_ts >= %(since)s AND snapshot_ts < %(until)s
 GROUP BY snapshot_ts, wallet_id
HAVING count(position_szi) NOT IN (0, count(*))
    OR min(attempt) <> max(attempt)
    OR count(observed_at) NOT IN (0, count(*)) OR min(observed_at) <> max(observed_at)
    OR count(missing_reason) NOT IN (0, count(*)) OR min(missing_reason) <> max(missing_reason)
 ORDER BY snapshot_ts, wallet_id
