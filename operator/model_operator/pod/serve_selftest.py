"""Tests the model with one request before the port opens. A part of serve.py."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from model_operator.pod.serve_example import describe_absence, find_example
    from model_operator.pod.serve_failure import DefiniteError, describe
    from model_operator.pod.serve_image import blame_image
    from model_operator.pod.serve_scoring import App, ModelUnderWatch, scoring_app
    from model_operator.pod.serve_shape import contradiction
else:
    from serve_example import describe_absence, find_example
    from serve_failure import DefiniteError, describe
    from serve_image import blame_image
    from serve_scoring import App, ModelUnderWatch, scoring_app
    from serve_shape import contradiction

log = logging.getLogger("serve")


@dataclass(frozen=True)
class SelfTest:
    """The test's settings. ``mode`` is Auto, Required or LoadOnly, and ``payload`` replaces the model's own example."""

    mode: str
    seconds: float
    path: str
    payload: Path | None

    def run(self, model: ModelUnderWatch, model_dir: Path) -> str:
        """Returns Passed, LoadOnly or NoExample. Raises DefiniteError when the model fails the test."""
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
        model.remembers = True
        status, body = self._answer(scoring_app(model, self.seconds), *request)
        what = "the given payload" if self.payload else "the model's own input example"
        if model.last_exception and (
            failure := blame_image(model.last_exception, model_dir, loading=False, self_test="Failed")
        ):
            raise failure
        if problem := _problem(status, body, what, model.last_error):
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

    def _answer(self, app: App, content_type: bytes, body: bytes) -> tuple[int, bytes]:
        loop = asyncio.new_event_loop()
        answer = loop.run_until_complete(self._ask(app, content_type, body))
        # not after a request that hangs: this would wait for its thread, which can't be stopped
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        return answer

    async def _ask(self, app: App, content_type: bytes, body: bytes) -> tuple[int, bytes]:
        """The status and body of the answer to one POST, made without a socket."""
        status, chunks = 500, []

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                chunks.append(message.get("body", b""))

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [
                (b"host", b"localhost"),
                (b"content-type", content_type),
                (b"content-length", str(len(body)).encode()),
            ],
            "client": ("127.0.0.1", 0),
            "server": ("127.0.0.1", 0),
        }
        request = asyncio.ensure_future(app(scope, receive, send))
        done, _ = await asyncio.wait({request}, timeout=self.seconds)
        if not done:
            raise DefiniteError(
                "SelfTestFailed",
                f"self-test failed: no answer within {self.seconds:g} s (spec.selfTest.timeoutSeconds)",
                "Failed",
            )
        error = request.exception()
        if error is not None:
            return 500, describe(error).encode()
        return status, b"".join(chunks)


def message_of(body: bytes) -> str:
    """Returns the message in an error of MLflow's. Empty if the body is no such error."""
    try:
        error = json.loads(body)
        return str(error["message"]) if "error_code" in error else ""
    except (ValueError, TypeError, KeyError):
        return ""


def _problem(status: int, body: bytes, what: str, model_error: str) -> str:
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
