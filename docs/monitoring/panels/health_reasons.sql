-- Why it is not healthy, worst first.
SELECT coalesce(nullif(array_to_string(reasons || suspect, ', '), ''), 'none') AS reasons FROM v_latest_health
