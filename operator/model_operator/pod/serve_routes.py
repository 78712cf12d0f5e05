"""Which part of the server answers a request, by its path: a part of serve.py."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_operator.pod.serve_openapi import document, explain_columns
    from model_operator.pod.serve_request import PREDICTION_PATH, Answer, Request
    from model_operator.pod.serve_scoring import Scoring
    from model_operator.pod.serve_stream import (
        Stream,
        as_invocation,
        is_responses_agent,
        stream,
        wants_stream,
    )
    from model_operator.pod.serve_v2 import InferenceProtocol
else:
    from serve_openapi import document, explain_columns
    from serve_request import PREDICTION_PATH, Answer, Request
    from serve_stream import as_invocation, is_responses_agent, stream, wants_stream
    from serve_v2 import InferenceProtocol

OPENAPI_PATH = "/openapi.json"
RESPONSES_PATH = "/responses"
# of all events of a stream
STREAM_BYTES = 64 * 2**20
STREAM_SECONDS = 600.0

log = logging.getLogger("serve")


@dataclass(frozen=True)
class Served:
    """The name and version of a model, its directory, and how many rows are predicted together."""

    name: str
    version: str
    directory: Path
    batch_rows: int = 1


class Routes:
    """Answers every request that reaches a worker."""

    def __init__(self, served: Served, scoring: Scoring) -> None:
        self._served = served
        self._scoring = scoring
        self._metadata = scoring.model.metadata
        self._has_responses = is_responses_agent(self._metadata)
        self.predicting = [PREDICTION_PATH, *([RESPONSES_PATH] if self._has_responses else [])]
        """The paths of predictions beside those of V2."""
        self._v2 = InferenceProtocol(served.name, served.version, scoring.model)

    def answer(self, request: Request) -> Answer | Stream:
        """The answer to a request. Raises nothing."""
        try:
            return self._answer(request)
        except BaseException:  # a model may raise SystemExit
            log.exception("a request raised an exception")
            return Answer(500, "text/plain; charset=utf-8", b"Internal Server Error")

    def answer_together(self, requests: Sequence[Request]) -> list[Answer]:
        """The answers to a batch of predictions. Raises nothing."""
        answers = self._scoring.answer_together(requests, self._served.batch_rows)
        return [self._with_columns(answer) for answer in answers]

    def _answer(self, request: Request) -> Answer | Stream:
        if request.path == RESPONSES_PATH and self._has_responses and request.method == "POST":
            request = as_invocation(request)
        if request.path == PREDICTION_PATH and request.method == "POST":
            if wants_stream(request.body):
                return stream(self._scoring.model, request, STREAM_BYTES, STREAM_SECONDS)
            return self._with_columns(self._scoring.answer(request))
        if request.path == OPENAPI_PATH and request.method == "GET":
            return Answer(200, "application/json", self._openapi())
        return self._v2.answer(request) or self._scoring.answer(request)

    def _openapi(self) -> bytes:
        served = self._served
        described = document(served.name, served.version, self._metadata, served.directory)
        return json.dumps(described).encode()

    def _with_columns(self, answer: Answer) -> Answer:
        """An error about the columns with the expected ones: MLflow's own message may be cut before it has them."""
        if answer.status != 400:
            return answer
        try:
            error = json.loads(answer.body)
            expected = explain_columns(str(error["message"]), self._metadata)
        except (ValueError, TypeError, KeyError):
            return answer
        return (
            replace(answer, body=json.dumps({**error, "expected": expected}).encode()) if expected else answer
        )
