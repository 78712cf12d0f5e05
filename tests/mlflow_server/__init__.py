"""A real MLflow server for the tests and the demo, and really trained models in it.

``python -m tests.mlflow_server --help`` is the same by hand.
"""

from tests.mlflow_server.server import MlflowServer
from tests.mlflow_server.training import IRIS_STORY, TrainedVersion, Training, alias, train

__all__ = ["IRIS_STORY", "MlflowServer", "TrainedVersion", "Training", "alias", "train"]
