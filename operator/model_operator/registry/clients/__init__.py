"""One client for each kind of model registry, and the parts that they share."""
