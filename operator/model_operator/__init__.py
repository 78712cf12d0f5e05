"""Kubernetes follows your model registry: ModelDeployments resolved, rolled out, watched and reverted."""
