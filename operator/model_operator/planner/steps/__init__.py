"""The steps of the plan. Each takes the decision so far and gives it on."""
