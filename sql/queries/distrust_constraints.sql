-- Makes the planner look at rows that a CHECK says cannot exist: whoever audits a record asks the rows, not the rules.
SELECT set_config('constraint_exclusion', 'off', true)
