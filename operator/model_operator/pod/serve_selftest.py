"""Tests the model with one request before the port opens. A part of serve.py."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from model_operator.pod.serve_example import describe_absence, find_example
    from model_operator.pod.serve_failure import DefiniteError
    from model_operator.pod.serve_image import blame_image
    from model_operator.pod.serve_request import PREDICTION_PATH, Answer, Request
    from model_operator.pod.serve_scoring import Scoring, message_of
    from model_operator.pod.serve_shape import contradiction
    from model_operator.pod.serve_stream import StreamFailedError
else:
    from serve_example import describe_absence, find_example
    from serve_failure import DefiniteError
    from serve_image import blame_image
    from serve_request import PREDICTION_PATH, Answer, Request
    from serve_scoring import Scoring, message_of
    from serve_shape import contradiction
    from serve_stream import StreamFailedError

log = logging.getLogger("serve")


@dataclass(frozen=True)
class SelfTest:
    """The test's settings. ``mode`` is Auto, Required or LoadOnly, and ``payload`` replaces the model's own example."""

    mode: str
    seconds: float
    path: str
    payload: Path | None

    def run(self, scoring: Scoring, model_dir: Path, answer_other: Callable[[Request], Any]) -> str:
        """Returns Passed, LoadOnly or NoExample. Raises DefiniteError when the model fails the test.

        ``answer_other`` answers at any other path than MLflow's own, with an Answer or a stream of events.
        """
        if self.mode == "LoadOnly":
            return "LoadOnly"
        request = self._request(model_dir)
        if request is None:
            why = describe_absence(model_dir)
            if self.mode == "Required":
                raise DefiniteError(
                    "SelfTestMissing",
                    f"spec.selfTest.mode is Required, but {why} and spec.selfTest.payload is not set",
                    "NoExample",
                )
            log.warning("there is nothing to test the model with: %s", why)
            return "NoExample"
        started = time.monotonic()
        model = scoring.model
        model.remembers = True
        answer_at_path = scoring.answer_of_mlflow if self.path == PREDICTION_PATH else answer_other
        answer = self._answer(answer_at_path, *request)
        what = "the given payload" if self.payload else "the model's own input example"
        if model.last_exception and (
            failure := blame_image(model.last_exception, model_dir, loading=False, self_test="Failed")
        ):
            raise failure
        if problem := _problem(answer, what, model.last_error):
            raise DefiniteError("SelfTestFailed", f"self-test failed: {problem}", "Failed")
        prediction = model.last_prediction
        if prediction and (broken := contradiction(prediction, model.metadata)):
            raise DefiniteError(
                "SelfTestWrongShape",
                f"self-test failed: the prediction for {what} does not match the model's signature or input: {broken}",
                "Failed",
            )
        model.remembers, model.last_prediction, model.last_exception = False, None, None
        log.info("self-test passed in %.2f s", time.monotonic() - started)
        return "Passed"

    def _request(self, model_dir: Path) -> tuple[bytes, bytes] | None:
        """Returns content type and body of the request to test with, or None if there is none."""
        if self.payload:
            content_type = b"text/csv" if self.payload.suffix == ".csv" else b"application/json"
            return content_type, self.payload.read_bytes()
        example = find_example(model_dir)
        if example is None:
            return None
        try:
            return b"application/json", example.request()
        except ValueError as error:
            raise DefiniteError(
                "SelfTestFailed",
                f"self-test failed: the model's own input example, {example.path.name}, can't be made a request"
                f" of, as {example.form} ({error})",
                "Failed",
            ) from error

    def _answer(self, answer: Callable[[Request], Any], content_type: bytes, body: bytes) -> Answer:
        """The answer to one POST, made in a thread: one that hangs is left behind."""
        headers = {
            "host": "localhost",
            "content-type": content_type.decode(),
            "content-length": str(len(body)),
        }
        request = Request("POST", self.path, body, headers)
        answers: list[Answer] = []
        thread = threading.Thread(target=lambda: answers.append(_whole(answer(request))), daemon=True)
        thread.start()
        thread.join(self.seconds)
        if not answers:
            raise DefiniteError(
                "SelfTestFailed",
                f"self-test failed: no answer within {self.seconds:g} s (spec.selfTest.timeoutSeconds)",
                "Failed",
            )
        return answers[0]


def _whole(answer: Any) -> Answer:
    """The answer, or null for a stream that was read to its end."""
    if isinstance(answer, Answer):
        return answer
    try:
        for _ in answer:
            pass
    except StreamFailedError as failure:
        return failure.answer()
    return Answer(200, "application/json", b"null")


def _problem(answer: Answer, what: str, model_error: str) -> str:
    status, body = answer.status, answer.body
    if status != 200:
        text = model_error or message_of(body) or body.decode(errors="replace")
        return f"{what} was answered with status {status}: {text}"

    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)

    try:
        json.loads(body, parse_constant=refuse)
    except ValueError as error:
        if str(error) in ("NaN", "Infinity", "-Infinity"):
            return f"the prediction for {what} contains {error}, which is no number and not valid JSON"
        return f"the prediction for {what} is not valid JSON: {error}"
    return ""
