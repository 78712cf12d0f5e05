"""The process: it starts all parts, takes part in the leader election, and exits if a part is lost."""
