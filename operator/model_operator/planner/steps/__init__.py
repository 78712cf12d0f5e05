"""The steps of the plan. Each takes the decision so far and returns the next one."""
