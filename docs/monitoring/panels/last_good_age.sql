-- How long ago the newest minute began that is success or partial. 60 to 120 s is normal; from 180 s on the data is stale.
SELECT extract(epoch FROM last_good_age)::float8 AS age FROM v_latest_health
