"""The model registry: clients, one poller per entry, and an answer for every ModelDeployment."""
