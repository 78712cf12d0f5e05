"""Run with MLflow's interpreter: streams the answers to requests, and prints each event.

Reads a JSON list of cases from a file, each with the directory of a ``model`` and a ``body``, and prints the outcomes.
With ``take`` the stream is closed after so many events. With ``whole`` the answer is not streamed.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import serve_stream
from serve_request import Answer, Request
from serve_scoring import load
from serve_stream import StreamFailedError, is_responses_agent, stream, wants_stream

serve_stream.CLOSE_SECONDS = 0.5
loaded = functools.cache(load)


def outcome(case: dict[str, Any]) -> dict[str, Any]:
    body = case["body"]
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    model = loaded(Path(case["model"]))
    headers = {"content-type": case.get("content_type", "application/json")}
    request = Request("POST", case.get("path", "/invocations"), data, headers)
    if case.get("whole"):
        try:
            model.predict(json.loads(data))
        except Exception as error:
            return {"raised": type(error).__name__}
        return {"raised": ""}
    begun = time.monotonic()
    result: dict[str, Any] = {
        "wants": wants_stream(data),
        "responses": is_responses_agent(model.metadata),
        "status": 200,
        "events": [],
    }
    answer = stream(model, request, case.get("most_bytes", 10**6), case.get("most_seconds", 60))
    if isinstance(answer, Answer):
        return result | {"status": answer.status, "error": json.loads(answer.body)}
    try:
        for event in answer:
            result["events"].append(event.decode())
            if len(result["events"]) == case.get("take"):
                answer.close()
    except StreamFailedError as failure:
        result |= {"failed": failure.error_code, "message": failure.message}
    answer.close()
    return result | {"tokens": answer.tokens, "seconds": time.monotonic() - begun}


def main() -> None:
    outcomes = []
    for case in json.loads(Path(sys.argv[1]).read_bytes()):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            result = outcome(case)
        outcomes.append(result | {"printed": printed.getvalue()})
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
