"""The clients of each kind of model registry, and their shared parts."""
