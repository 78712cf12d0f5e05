"""Trains iris classifiers and registers them; runs in MLflow's own environment, once for all of them.

Reads a JSON list of {"name", "kind", "seconds", "tags"} from standard input, and writes one line of JSON per
version to standard output. The environment says where the registry is (MLFLOW_TRACKING_URI and so on).
"""

from __future__ import annotations

import ctypes
import getpass
import hashlib
import json
import logging
import os
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import mlflow
import mlflow.artifacts
import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
import pandas as pd
import sklearn
from mlflow.models import infer_signature
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split

GOOD_ANSWERS = 10
"""What a model that is sick under load answers before it falls ill."""
STALL_SECONDS = 60
STREAM_SECONDS = 30
REQUIREMENTS = [
    f"mlflow=={mlflow.__version__}",
    f"scikit-learn=={sklearn.__version__}",
    f"pandas=={pd.__version__}",
]


OLDER = {True: ["numpy==1.23.5"], False: []}
"""Requirements of a model that was made with older libraries."""


class Flowers(mlflow.pyfunc.PythonModel):
    """A trained classifier with something wrong around it."""

    def __init__(self, classifier: Any) -> None:
        self.classifier = classifier

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return self.classifier.predict(model_input)


class FailsToLoad(Flowers):
    """Its weights can't be read where it is served."""

    def load_context(self, context: Any) -> None:
        raise RuntimeError(
            "the weights were written by a newer release and can't be read (this model never loads)"
        )


class NeedsMissingModule(Flowers):
    """It needs a library that the serving image does not have."""

    def load_context(self, context: Any) -> None:
        import acme_feature_store  # noqa: F401


class NeedsOlderNumPy(Flowers):
    """It uses a name that NumPy had before 1.24; its requirements have such a version."""

    def load_context(self, context: Any) -> None:
        if "MLFLOW_TEST_TRAINING" not in os.environ:
            self.kind = np.float


class LogsItself(Flowers):
    """It logs a metric with each answer, and the name of its user, as code from a notebook does."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        if "MLFLOW_TEST_TRAINING" not in os.environ:
            with mlflow.start_run(tags={"user": getpass.getuser()}):
                mlflow.log_metric("flowers", len(model_input))
        return super().predict(context, model_input)


class Streams(Flowers):
    """It streams one class each second, for half a minute."""

    def predict_stream(self, context: Any, model_input: Any, params: Any = None) -> Any:
        for second in range(STREAM_SECONDS):
            yield {"second": second}
            time.sleep(1)


class FailsSelfTest(Flowers):
    """It loads, and can't answer its own example."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        raise ValueError("the feature 'petal width (cm)' is out of its range (this model answers no request)")


class DiesWithoutAWord(Flowers):
    """Its process ends while it loads, as after a fault in native code."""

    def load_context(self, context: Any) -> None:
        if "MLFLOW_TEST_TRAINING" not in os.environ:
            os._exit(1)


class DiesEveryMinute(Flowers):
    """Its process ends a minute after each start, whether it is asked anything or not."""

    def load_context(self, context: Any) -> None:
        if "MLFLOW_TEST_TRAINING" not in os.environ:
            timer = threading.Timer(60, os._exit, (7,))
            timer.daemon = True
            timer.start()


class LoadsSlowly(Flowers):
    """It takes its time to load."""

    def __init__(self, classifier: Any, seconds: float) -> None:
        super().__init__(classifier)
        self.seconds = seconds

    def load_context(self, context: Any) -> None:
        # logging a model loads it too, to try its example
        if "MLFLOW_TEST_TRAINING" not in os.environ:
            time.sleep(self.seconds)


class AnswersWithScores(Flowers):
    """Its signature promises one class per flower; it answers with a probability for each class."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        if "MLFLOW_TEST_TRAINING" in os.environ:
            return super().predict(context, model_input)
        return self.classifier.predict_proba(model_input)


class EatsMemory(Flowers):
    """It needs two gigabytes to load."""

    def load_context(self, context: Any) -> None:
        if "MLFLOW_TEST_TRAINING" not in os.environ:
            self.weights = [b"\x01" * 2**24 for _ in range(128)]


class SickUnderLoad(Flowers):
    """It passes its self-test and answers ``good_answers`` single flowers; then it is no longer well."""

    def __init__(self, classifier: Any, good_answers: int) -> None:
        super().__init__(classifier)
        self.good_answers = good_answers
        self.asked = 0

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        # the self-test sends three flowers
        self.asked += len(model_input) == 1
        if self.asked > self.good_answers:
            self.ail()
        return super().predict(context, model_input)

    def ail(self) -> None:
        raise NotImplementedError


class ErrsUnderLoad(SickUnderLoad):
    """Every second of its answers becomes an error."""

    def ail(self) -> None:
        if self.asked % 2:
            raise ZeroDivisionError("the feature store has no such flower (this model errs under load)")


class HangsUnderLoad(SickUnderLoad):
    """Its process stops doing anything, as with a deadlock in native code."""

    def ail(self) -> None:
        # a PyDLL, other than a CDLL, keeps the interpreter's lock while it is called
        ctypes.PyDLL(None).sleep(3600)


class StallsUnderLoad(SickUnderLoad):
    """One of its answers takes a minute in which the process does nothing else; then it is well again."""

    def ail(self) -> None:
        if self.asked == self.good_answers + 1:
            ctypes.PyDLL(None).sleep(STALL_SECONDS)


def main() -> None:
    """Train, log and register what standard input asks for, in that order."""
    warnings.simplefilter("ignore")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    os.environ["MLFLOW_TEST_TRAINING"] = "1"
    mlflow.set_experiment("iris")
    features, labels = load_iris(return_X_y=True, as_frame=True)
    split = train_test_split(features, labels, test_size=0.4, random_state=7, stratify=labels)
    for wanted in json.load(sys.stdin):
        print(json.dumps(train_one(wanted, *split)), flush=True)


def train_one(wanted: dict[str, Any], train_x: Any, test_x: Any, train_y: Any, test_y: Any) -> dict[str, Any]:
    """Train one model of that kind and register it; returns what became of it."""
    kind = wanted["kind"]
    client = mlflow.MlflowClient()
    # so strongly regularised, the good one misses a few flowers that the better one gets
    classifier = LogisticRegression(C=0.01 if kind == "good" else 1.0, max_iter=1000)
    with mlflow.start_run(run_name=f"{wanted['name']}-{kind}") as run:
        classifier.fit(train_x, train_y)
        accuracy = accuracy_score(test_y, classifier.predict(test_x))
        mlflow.log_params({"kind": kind, "classifier": type(classifier).__name__})
        mlflow.log_metric("accuracy", accuracy)
        mlflow.log_metric("log_loss", log_loss(test_y, classifier.predict_proba(test_x)))
        common = {
            "name": "model",
            "registered_model_name": wanted["name"],
            "pip_requirements": [*REQUIREMENTS, *OLDER[kind == "other-versions"]],
            "signature": infer_signature(train_x, classifier.predict(train_x)),
            "input_example": test_x.head(3),
        }
        if kind == "no-files":
            # as after somebody has cleaned up the store; the registry does not notice
            elsewhere = f"{run.info.artifact_uri}/cleaned-up"
            version = client.create_model_version(wanted["name"], elsewhere, run.info.run_id).version
        elif kind in FLAWS:
            made = mlflow.pyfunc.log_model(python_model=flawed(kind, classifier, wanted), **common)
            version = made.registered_model_version
        else:
            version = mlflow.sklearn.log_model(classifier, **common).registered_model_version
    version = str(version)
    tags = dict(wanted["tags"])
    if kind == "tampered":
        tags["sha256"] = "0" * 64
    if kind == "sealed":
        tags["sha256"] = digest(wanted["name"], version)
    for key, value in tags.items():
        client.set_model_version_tag(wanted["name"], version, key, value)
    return {
        "name": wanted["name"],
        "kind": kind,
        "version": version,
        "run_id": run.info.run_id,
        "accuracy": float(accuracy),
    }


FLAWS = {
    "dies": DiesWithoutAWord,
    "load-fails": FailsToLoad,
    "needs-missing-module": NeedsMissingModule,
    "selftest-fails": FailsSelfTest,
    "slow-load": LoadsSlowly,
    "errs-under-load": ErrsUnderLoad,
    "wrong-shape": AnswersWithScores,
    "eats-memory": EatsMemory,
    "hangs-under-load": HangsUnderLoad,
    "stalls-under-load": StallsUnderLoad,
    "dies-every-minute": DiesEveryMinute,
    "other-versions": NeedsOlderNumPy,
    "logs-itself": LogsItself,
    "streams": Streams,
}


def flawed(kind: str, classifier: Any, wanted: dict[str, Any]) -> Flowers:
    """The model with the flaw of that kind."""
    flaw = FLAWS[kind]
    if flaw is LoadsSlowly:
        return LoadsSlowly(classifier, wanted["seconds"])
    if issubclass(flaw, SickUnderLoad):
        return flaw(classifier, GOOD_ANSWERS)
    return flaw(classifier)


def digest(name: str, version: str) -> str:
    """The digest of a version's files, as docs/guides/integrity.md tells everybody to compute it."""
    with tempfile.TemporaryDirectory() as directory:
        fetched = Path(mlflow.artifacts.download_artifacts(f"models:/{name}/{version}", dst_path=directory))
        files = [
            path for path in fetched.rglob("*") if path.is_file() and path.name != "registered_model_meta"
        ]
        lines = sorted(
            (
                f"./{path.relative_to(fetched)}".encode(),
                hashlib.sha256(path.read_bytes()).hexdigest().encode(),
            )
            for path in files
        )
    listing = b"".join(b"%b  %b\n" % (found, path) for path, found in lines)
    return hashlib.sha256(listing).hexdigest()


if __name__ == "__main__":
    main()
