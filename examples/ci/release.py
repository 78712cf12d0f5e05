"""Train, register, evaluate, and move the alias. The cluster then rolls the version out.

    python release.py --model churn --alias champion --minimum 0.9

You need mlflow and scikit-learn, and MLFLOW_TRACKING_URI with MLFLOW_TRACKING_USERNAME and _PASSWORD. The last line of
output is version=N. Exit codes: 0 if the alias names the new version, 1 if the version is registered but its metric is
too low. Then the alias stays.
"""

from __future__ import annotations

import argparse
import sys

import mlflow
import sklearn
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

METRIC = "auc"
# the key for spec.gates.tags of the ModelDeployment
TAG = "validation_status"


def train(model: str) -> tuple[str, float]:
    """Trains on your data (here: scikit-learn's), registers the model, and returns its version and its metric."""
    data, target = load_breast_cancer(return_X_y=True, as_frame=True)
    train_data, holdout, train_target, holdout_target = train_test_split(data, target, random_state=7)
    with mlflow.start_run():
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        classifier.fit(train_data, train_target)
        auc = float(roc_auc_score(holdout_target, classifier.predict_proba(holdout)[:, 1]))
        logged = mlflow.sklearn.log_model(
            classifier,
            name="model",
            # the pods use it for their self-test before they get requests
            input_example=holdout.head(2),
            signature=infer_signature(holdout, classifier.predict(holdout)),
            # saves MLflow from loading the model to find them. The gate `requirements` reads them
            pip_requirements=[f"mlflow=={mlflow.__version__}", f"scikit-learn=={sklearn.__version__}"],
            registered_model_name=model,
        )
        mlflow.log_metric(METRIC, auc, model_id=logged.model_id)
    return str(logged.registered_model_version), auc


def serving_metric(client: mlflow.MlflowClient, model: str, alias: str) -> float | None:
    """The metric of the version behind the alias, or None for the first version."""
    try:
        current = client.get_model_version_by_alias(model, alias)
    except MlflowException:
        return None
    return client.get_run(current.run_id).data.metrics.get(METRIC)


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="name of the registered model")
    parser.add_argument("--alias", default="champion", help="the alias that the ModelDeployment follows")
    parser.add_argument("--minimum", type=float, default=0.9, help=f"the lowest {METRIC} that passes")
    parser.add_argument(
        "--tolerance", type=float, default=0.01, help="how much worse than the present version it may be"
    )
    given = parser.parse_args()
    client = mlflow.MlflowClient()
    version, auc = train(given.model)
    before = serving_metric(client, given.model, given.alias)
    least = given.minimum if before is None else max(given.minimum, before - given.tolerance)
    passed = auc >= least
    client.set_model_version_tag(given.model, version, TAG, "approved" if passed else "rejected")
    if not passed:
        print(
            f"version {version} has {METRIC} {auc:.4f}, below the minimum of {least:.4f}: the alias stays",
            file=sys.stderr,
        )
        return 1
    client.set_registered_model_alias(given.model, given.alias, version)
    print(f"version={version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
