"""The model and MLflow's scoring application around it: a part of serve.py, and the only one that imports MLflow."""

from __future__ import annotations

import json
import logging
import os
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_operator.pod.serve_failure import DefiniteError, describe
    from model_operator.pod.serve_image import blame_image, list_differences
else:
    from serve_failure import DefiniteError, describe
    from serve_image import blame_image, list_differences

# the contract tests run with these
TESTED_MLFLOW = ("2.22.", "3.17.")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

log = logging.getLogger("serve")


@dataclass(frozen=True)
class Prediction:
    """One call of the model: its rows, or None if they can't be counted, and its answer."""

    rows: int | None
    answer: Any


class ModelUnderWatch:
    """A loaded model with separate errors for its own faults and the caller's.

    MLflow answers 400 both to bad input and to an exception in the model. Here, exceptions that MLflow's own code
    raises (about the input) stay 400, and any other exception becomes an error 500 without a stack trace.
    """

    def __init__(self, model: Any, failure: Callable[[str], Exception]) -> None:
        self._model = model
        self._failure = failure
        self.last_error = ""
        self.last_exception: Exception | None = None
        self.remembers = False
        self.last_prediction: Prediction | None = None

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._model, attribute)

    def predict(self, data: Any, params: Any = None) -> Any:
        from mlflow.exceptions import MlflowException  # type: ignore[import-not-found,unused-ignore]

        # before the model gets hold of it
        rows = _rows(data) if self.remembers else None
        try:
            answer = self._model.predict(data, params=params)
        except MlflowException as error:
            self.last_error = describe(error)
            raise
        except Exception as error:
            self.last_error = describe(error)
            self.last_exception = error if self.remembers else None
            if _is_of_mlflow(error):
                raise
            log.exception("the model raised an exception while predicting")
            raise self._failure(
                f"the model raised {type(error).__name__} while predicting (see the server's log)"
            ) from error
        if self.remembers:
            self.last_prediction = Prediction(rows, answer)
        return answer


def _is_of_mlflow(error: BaseException) -> bool:
    """Whether only MLflow's own code took part: it converts the input, such as chat messages, for the model."""
    # the first frame is the caller of this function. A method that dataclasses generates has no file of its own
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][1:]
    modules = {str(frame.f_globals.get("__name__")).partition(".")[0] for frame in frames}
    return modules == {"mlflow"}


def _rows(data: Any) -> int | None:
    """How many rows a table or an array has."""
    shape = getattr(data, "shape", ())
    return int(shape[0]) if shape else None


def load(model_dir: Path) -> ModelUnderWatch:
    """The model in `model_dir`. Raises DefiniteError if it, or a library that it needs, can't be loaded."""
    try:
        import mlflow  # type: ignore[import-not-found,unused-ignore]
        from mlflow.exceptions import MlflowException
        from mlflow.pyfunc import scoring_server  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise DefiniteError(
            "RequirementMissing",
            f"the server's image can't serve MLflow models ({describe(error)}): use an image with MLflow, or"
            " spec.server.runtime: Custom",
        ) from error
    if not mlflow.__version__.startswith(TESTED_MLFLOW):
        tested = ", ".join(f"{version}x" for version in TESTED_MLFLOW)
        log.warning("MLflow %s was not tested with this server (%s were)", mlflow.__version__, tested)

    class PredictionFailed(MlflowException):  # type: ignore[misc,unused-ignore]
        # MLflow adds the caller's data and the stack trace to the text, and the caller needs neither
        def __init__(self, text: str) -> None:
            super().__init__(text)
            self.text = text

        def serialize_as_json(self) -> str:
            return json.dumps({"error_code": "INTERNAL_ERROR", "message": self.text})

    try:
        model = scoring_server.load_model_with_mlflow_config(str(model_dir))
    except (Exception, SystemExit) as error:
        log.exception("the model can't be loaded")
        if failure := blame_image(error, model_dir, loading=True):
            raise failure from error
        text = f"the model can't be loaded: {describe(error)}"
        if differences := list_differences(model_dir):
            text += f". Nothing points to the image, but the model was made with {differences}"
        raise DefiniteError("LoadFailed", text) from error
    return ModelUnderWatch(model, PredictionFailed)


def scoring_app(model: ModelUnderWatch, request_seconds: float | None = None) -> App:
    """MLflow's own scoring application around the model. A request may take `request_seconds`.

    Only this function uses MLflow's private interface. Without `request_seconds`, the limit is
    MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT (60 s). Raises DefiniteError if the image's libraries do not match.
    """
    from mlflow.pyfunc import scoring_server

    variable = "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT"
    before = os.environ.get(variable)
    if request_seconds is not None:
        os.environ[variable] = str(int(request_seconds) + 1)
    try:
        app: App = scoring_server.init(model)
    except Exception as error:
        log.exception("MLflow's scoring server can't be made")
        raise DefiniteError(
            "RequirementMissing",
            f"the scoring server of the image's MLflow {mlflow_version()} does not go together with its other"
            f" libraries ({describe(error)}): set spec.server.image to an image in which it does",
        ) from error
    finally:
        if before is not None:
            os.environ[variable] = before
        elif request_seconds is not None:
            del os.environ[variable]
    return app


def mlflow_version() -> str:
    """The version of the image's MLflow."""
    import mlflow

    return str(mlflow.__version__)
