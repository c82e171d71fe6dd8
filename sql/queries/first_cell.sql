-- The first minute before %(before)s that has cells; NULL if none has. Later days are not opened.
SELECT date_bin(interval '1 minute', min(snapshot_ts), timestamptz 'epoch') AS minute
  FROM wallet_snapshots
 WHERE snapshot_ts < %(before)s::timestamptz
