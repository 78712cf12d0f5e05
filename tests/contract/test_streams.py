"""pod/serve_stream.py with real models of both MLflow versions: each event byte for byte, and each error's side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from tests.contract.container import run_with_mlflow
from tests.mlflow_env import OLDEST, REQUIREMENTS

Json = dict[str, Any]

DONE = "data: [DONE]\n\n"
NO_STREAM = (
    "the model has no predict_stream method, so it can't stream its answer: send the request without"
    ' "stream": true, or log a version of the model whose class has predict_stream'
)


class Case(NamedTuple):
    sentence: str
    model: str
    body: Json | str
    events: tuple[str, ...] = ()
    status: int = 200
    text: str = ""
    """In the message of the error, whether it is an answer or the last event."""
    code: str = ""
    options: Mapping[str, Any] = MappingProxyType({})
    tokens: int = 0
    printed: str = ""


def data(chunk: object, name: str = "") -> str:
    return (f"event: {name}\n" if name else "") + f"data: {json.dumps(chunk)}\n\n"


def chat(word: str) -> str:
    choice = {"delta": {"role": "assistant", "content": word}, "index": 0}
    return data(
        {"choices": [choice], "id": "1", "model": "echo", "object": "chat.completion.chunk", "created": 1}
    )


def agent(word: str, **more: Any) -> str:
    return data({"delta": {"role": "assistant", "content": word, "id": "1"}, **more})


def delta(word: str) -> str:
    name = "response.output_text.delta"
    return data({"type": name, "item_id": "m1", "delta": word}, name)


def error(text: str, code: str = "INTERNAL_ERROR") -> str:
    inner = {"message": text, "type": "server_error", "code": code}
    return data({"error_code": code, "message": text, "error": inner}, "error")


def says(text: str) -> list[Json]:
    return [{"role": "user", "content": text}]


def behaves(sentence: str, prompt: str, *events: str, **more: Any) -> Case:
    """A case of the model that does as its prompt says."""
    return Case(sentence, "behaves", {"prompt": prompt}, events, **more)


def late(sentence: str, prompt: str, text: str, code: str = "INTERNAL_ERROR", **options: Any) -> Case:
    """A stream that fails after its first event, whose model's generator has ended afterwards."""
    return Case(
        sentence,
        "behaves",
        {"prompt": prompt},
        (data("first"), error(text, code)),
        text=text,
        code=code,
        options=options,
        printed=f"closed {prompt}\n",
    )


def refused(sentence: str, model: str, body: Json | str, text: str, **options: Any) -> Case:
    """The caller's fault."""
    return Case(sentence, model, body, status=400, text=text, code="BAD_REQUEST", options=options)


RAISED = "the model raised {} while streaming (see the server's log)"
NO_JSON = (
    "the model's answer has a chunk of the type {} that can't be converted to JSON (see the server's log)"
)
MESSAGE = {
    "type": "message",
    "id": "m1",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "a b"}],
}
USAGE = {
    "input_tokens": 2,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 9,
}
RESPONSE = {"id": "r1", "object": "response", "output": [], "usage": USAGE}
CHAT_USAGE = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
AGENT_USAGE = {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}

CASES = [
    Case(
        "a table of one row, with parameters",
        "words",
        {
            "dataframe_split": {"columns": ["count", "word"], "data": [[2, "hi"]]},
            "params": {"suffix": "!"},
        },
        (data({"word": "hi!", "number": 0}), data({"word": "hi!", "number": 1}), DONE),
    ),
    Case(
        "inputs by name",
        "words",
        {"inputs": {"count": [1], "word": ["a"]}},
        (data({"word": "a.", "number": 0}), DONE),
    ),
    Case("a row of numbers", "echo", {"inputs": [[1.5, 2]]}, (data("[1.5, 2.0]"), data("None"), DONE)),
    Case(
        "a prompt without a signature",
        "echo",
        {"prompt": "hi"},
        (data("{'prompt': 'hi', 'stream': True}"), data("{}"), DONE),
    ),
    Case(
        "a prompt with a signature, which has no stream",
        "prompt",
        {"prompt": "hi", "suffix": "?", "other": 1},
        (data("{'prompt': 'hi'}"), data("{'suffix': '?'}"), DONE),
    ),
    Case(
        "a chat model",
        "chat",
        {"messages": says("a b")},
        (
            chat("a"),
            chat("b"),
            chat("True"),
            data(
                {
                    "choices": [],
                    "usage": CHAT_USAGE,
                    "id": "1",
                    "model": "echo",
                    "object": "chat.completion.chunk",
                    "created": 1,
                }
            ),
            DONE,
        ),
        tokens=3,
    ),
    Case(
        "a chat agent",
        "agent",
        {"messages": says("a b"), "custom_inputs": {"stream": False}},
        (agent("a"), agent("b"), agent(".", finish_reason="stop", usage=AGENT_USAGE), DONE),
        tokens=4,
    ),
    Case(
        "a responses agent, as OpenAI's client calls it",
        "responses",
        {"input": says("a b"), "model": "any"},
        (
            delta("a"),
            delta("b"),
            delta("True"),
            data({"type": "response.output_item.done", "item": MESSAGE}, "response.output_item.done"),
            data({"type": "response.completed", "response": RESPONSE}, "response.completed"),
            DONE,
        ),
        options={"path": "/responses"},
        tokens=7,
    ),
    behaves("an empty answer", "empty", DONE),
    behaves("a list in place of a generator", "list", data("a"), data("b"), DONE),
    behaves(
        "values that JSON does not know, and text that looks like an event",
        "values",
        data("first"),
        data({"nan": None, "all": [None, None], "text": "NaN \u2028\n\n"}),
        data({"array": [0.5, None], "one": 0.5, "count": 2}),
        data([{"at": "2026-12-01T00:00:00", "b": 1}]),
        data(None),
        data({"type": "response.\nevent: forged", "half": "\ud800"}),
        data("last"),
        DONE,
        printed="closed values\n",
    ),
    # the caller's fault
    refused("two rows", "words", {"inputs": {"count": [1, 1], "word": ["a", "b"]}}, "requires single input"),
    refused("a wrong type", "words", {"dataframe_records": [{"count": "x", "word": "a"}]}, "column count"),
    refused("a missing column", "words", {"dataframe_records": [{"word": "a"}]}, "missing inputs ['count']"),
    refused("no input", "words", {}, "The input must be a JSON dictionary"),
    refused("a prompt that is a number", "prompt", {"prompt": 5}, "Failed to enforce schema"),
    refused(
        "parameters that are a list",
        "words",
        {"inputs": {"count": [1], "word": ["a"]}, "params": [1]},
        "Parameters must be a dictionary",
    ),
    refused("no JSON", "echo", '{"prompt": "a", "stream": true', "valid JSON"),
    refused("a list", "echo", "[1]", "Received a list"),
    refused(
        "ten thousand brackets",
        "echo",
        '{"stream": true, "a": ' + "[" * 100_000 + "]" * 100_000 + "}",
        "depth",
    ),
    refused("a chat without messages", "chat", {"messages": "text"}, "Failed to enforce schema"),
    refused("an agent's message without content", "agent", {"messages": [{"role": "user"}]}, "content"),
    refused("an agent's context of a wrong type", "agent", {"messages": says("a"), "context": 5}, "context"),
    refused("a response to a text", "responses", {"input": "hi"}, "Expected data to be list"),
    refused("a response to no message", "responses", {"input": [5]}, "valid dictionary"),
    refused("a model without predict_stream", "silent", {"prompt": "a"}, NO_STREAM),
    refused("a chat model without predict_stream", "silent-chat", {"messages": says("a")}, NO_STREAM),
    refused("a predict_stream that is not implemented", "behaves", {"prompt": "not implemented"}, NO_STREAM),
    behaves(
        "a model that refuses, in MLflow's way",
        "refuse",
        status=400,
        text="the prompt is not allowed",
        code="INVALID_PARAMETER_VALUE",
    ),
    Case(
        "another content type",
        "echo",
        {"prompt": "a"},
        status=415,
        text="application/json",
        code="BAD_REQUEST",
        options={"content_type": "text/csv"},
    ),
    # the model's fault
    *(
        behaves(sentence, prompt, status=500, text=text, code="INTERNAL_ERROR")
        for sentence, prompt, text in (
            ("an exception at once", "fail at once", RAISED.format("ValueError")),
            ("an exit at once", "exit at once", RAISED.format("SystemExit")),
            ("no generator", "none", RAISED.format("TypeError")),
            ("a number in place of a generator", "number", RAISED.format("TypeError")),
            ("an object at once", "object first", NO_JSON.format("object")),
        )
    ),
    Case(
        "a first chunk of a wrong type",
        "chat",
        {"messages": says("wrong")},
        status=500,
        text="Model returned an invalid response",
        code="INTERNAL_ERROR",
    ),
    Case(
        "a later chunk of a wrong type",
        "responses",
        {"input": says("a wrong")},
        (delta("a"), error(RAISED.format("MlflowException"))),
        text=RAISED.format("MlflowException"),
        code="INTERNAL_ERROR",
    ),
    late("an exception in mid-stream", "fail", RAISED.format("ValueError")),
    late("a refusal in mid-stream", "refuse late", RAISED.format("MlflowException")),
    late("an exit in mid-stream", "exit", RAISED.format("SystemExit")),
    late("an object in mid-stream", "object", NO_JSON.format("dict")),
    late("a circle in mid-stream", "circle", NO_JSON.format("list")),
    # the limits
    late("too long", "long", "the answer has more than 120 bytes", "RESPONSE_TOO_LARGE", most_bytes=120),
    late("too slow", "slow", "the answer took more than 0.3 s", "STREAM_TIMEOUT", most_seconds=0.3),
    behaves(
        "a first chunk that is too long",
        "plain",
        status=500,
        text="the answer has more than 3 bytes",
        code="RESPONSE_TOO_LARGE",
        options={"most_bytes": 3},
        printed="closed plain\n",
    ),
    # a caller that goes away
    behaves("closed", "plain", data("first"), options={"take": 1}, printed="closed plain\n"),
    *(
        Case(
            f"closed, and the model would {way}",
            "stubborn",
            {"prompt": way},
            (data("first"),),
            options={"take": 1},
        )
        for way in ("yield", "raise", "hang")
    ),
]


WHOLE_ANSWERS: list[tuple[str, str, Json, str]] = [
    ("whole: no message", "responses", {"input": [5]}, "ValidationError"),
    ("whole: a message without content", "agent", {"messages": [{"role": "user"}]}, "ValidationError"),
    ("whole: a message", "responses", {"input": says("a")}, ""),
]
"""And the exception that leaves ``ModelUnderWatch.predict``. A failure of the model would be a PredictionFailed."""


@pytest.fixture(scope="module", params=[REQUIREMENTS, OLDEST], ids=["MLflow 3", "the oldest MLflow"])
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The lock file of an image, and the models of save_streams.py saved in it."""
    directory = tmp_path_factory.mktemp("streams")
    run_with_mlflow("save_streams.py", str(directory), mlflow=request.param)
    return request.param, directory


@pytest.fixture(scope="module")
def outcomes(image: tuple[Path, Path]) -> dict[str, Json]:
    """What came of each case, and of the whole answers, by its sentence."""
    mlflow, directory = image
    cases: list[Json] = [
        {
            "model": str(directory / case.model),
            "body": case.body if isinstance(case.body, str) else {**case.body, "stream": True},
            **case.options,
        }
        for case in CASES
    ]
    whole = [
        {"model": str(directory / model), "body": body, "whole": True} for _, model, body, _ in WHOLE_ANSWERS
    ]
    (directory / "cases.json").write_text(json.dumps(cases + whole))
    printed = run_with_mlflow("run_streams.py", str(directory / "cases.json"), mlflow=mlflow)
    sentences = [case.sentence for case in CASES] + [sentence for sentence, *_ in WHOLE_ANSWERS]
    return dict(zip(sentences, json.loads(printed), strict=True))


@pytest.mark.parametrize("case", [pytest.param(case, id=case.sentence) for case in CASES])
def test_events(outcomes: dict[str, Json], case: Case) -> None:
    outcome = outcomes[case.sentence]
    assert outcome["wants"] is not isinstance(case.body, str)
    assert (outcome["status"], outcome["events"]) == (case.status, list(case.events)), outcome
    if case.status == 200:
        assert (outcome.get("failed", ""), outcome.get("message", "")) == (case.code, case.text)
        assert outcome["tokens"] == case.tokens
        assert outcome["seconds"] < 5
    else:
        assert outcome["error"]["error_code"] == case.code
        assert case.text in outcome["error"]["message"]
        assert set(outcome["error"]) == {"error_code", "message"}
    assert outcome["printed"] == case.printed
    assert "a secret of the house" not in json.dumps(outcome)


def test_responses_agents_are_known(outcomes: dict[str, Json]) -> None:
    known = {case.model for case in CASES if outcomes[case.sentence]["responses"]}
    assert known == {"responses"}


def test_a_wrong_message_is_the_callers_fault_without_streaming_too(outcomes: dict[str, Json]) -> None:
    raised = {sentence: outcomes[sentence]["raised"] for sentence, *_ in WHOLE_ANSWERS}
    assert raised == {sentence: expected for sentence, _, _, expected in WHOLE_ANSWERS}
