-- What the database judges at this moment: healthy, degraded or stale. It turns by itself when nobody records.
SELECT health_state FROM v_latest_health
