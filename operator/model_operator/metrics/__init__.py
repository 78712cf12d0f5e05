"""The metrics of the operator and of every ModelDeployment, and the server of /metrics, /healthz and /readyz."""

from model_operator.metrics.deployments import ModelDeployments
from model_operator.metrics.figures import Metrics
from model_operator.metrics.server import Check, Probes, serve

__all__ = ["Check", "Metrics", "ModelDeployments", "Probes", "serve"]
