"""The types that all packages share: frozen values, and the readers of Kubernetes JSON. All pure."""
