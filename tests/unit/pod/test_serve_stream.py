"""serve_stream.py without MLflow: tests/contract/test_streams.py has it with real models."""

from __future__ import annotations

import importlib
import json
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_operator import pod

DONE = b"data: [DONE]\n\n"


@pytest.fixture(scope="module")
def serve_stream() -> Iterator[Any]:
    """The script as a module. In a pod all of them lie flat in one directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(str(pod.__file__)).parent))
        yield importlib.import_module("serve_stream")


def read(events: Iterator[bytes]) -> tuple[list[bytes], str]:
    """The events of a stream, and the message of the error that ended it."""
    seen = []
    try:
        for event in events:
            seen.append(event)
    except importlib.import_module("serve_stream").StreamFailedError as failure:
        return seen, str(failure)
    return seen, ""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"messages": [], "stream": true}', True),
        (b'{"stream" :\ntrue}', True),
        (b'{"stream": false}', False),
        (b'{"stream": 1}', False),
        (b'{"stream": "true"}', False),
        (b'{"stream": null}', False),
        (b'{"messages": [{"role": "user", "content": "\\"stream\\": true"}]}', False),
        (b'{"custom_inputs": {"stream": true}}', False),
        (b'{"params": {"stream": true}}', False),
        (b'{"dataframe_records": [{"stream": true}]}', False),
        (b'[{"stream": true}]', False),
        (b'"stream"', False),
        (b'{"stream": true', False),
        (b'{"stream": true} {}', False),
        (b'\xff"stream"', False),
        (b'{"stream": true, "a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", False),
        (b"", False),
    ],
)
def test_stream_is_a_key_at_the_top(serve_stream: Any, body: bytes, expected: bool) -> None:
    assert serve_stream.wants_stream(body) is expected


@given(st.binary())
def test_any_body_is_read_without_an_exception(serve_stream: Any, body: bytes) -> None:
    assert not serve_stream.wants_stream(b'"stream"' + body)


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        ({"choices": [], "usage": {"completion_tokens": 3, "prompt_tokens": 5}}, 3),
        ({"delta": {}, "usage": {"completion_tokens": 4}}, 4),
        ({"type": "response.completed", "response": {"usage": {"output_tokens": 7}}}, 7),
        ({"type": "response.incomplete", "response": {"usage": {"output_tokens": 2}}}, 2),
        ({"type": "response.output_text.delta", "usage": {"output_tokens": 7}}, 0),
        ({"type": "response.completed", "response": None}, 0),
        ({"usage": None}, 0),
        ({"usage": [3]}, 0),
        ({"usage": {"completion_tokens": True}}, 0),
        ({"usage": {"completion_tokens": -3}}, 0),
        ({"usage": {"completion_tokens": "3"}}, 0),
        ({"usage": {"completion_tokens": 10**400}}, 0),
        ("text", 0),
        (None, 0),
    ],
)
def test_tokens_are_read_from_the_usage(serve_stream: Any, chunk: object, expected: int) -> None:
    assert serve_stream.tokens(chunk) == expected


def test_tokens_that_are_counted_on_are_not_added_up(serve_stream: Any) -> None:
    chunks = [{"usage": {"completion_tokens": count}} for count in (1, 2, 3)]
    stream = serve_stream.Stream(iter([*chunks, {"usage": None}]), 1000, 5)
    assert len(read(stream)[0]) == 5
    assert stream.tokens == 3


def test_the_first_chunk_is_waited_for(serve_stream: Any) -> None:
    asked = []

    def generate() -> Iterator[str]:
        for number in range(3):
            asked.append(number)
            yield "x"

    stream = serve_stream.Stream(generate(), 1000, 5)
    assert asked == [0]
    assert next(stream) == b'data: "x"\n\n'
    assert asked == [0]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
)


@given(JSON)
def test_each_event_is_one_line_of_valid_json(serve_stream: Any, chunk: object) -> None:
    (event, done), failure = read(serve_stream.Stream(iter([chunk]), 10**7, 60))
    assert (done, failure) == (DONE, "")
    *name, line = event.decode("ascii").removesuffix("\n\n").split("\n")
    assert line.startswith("data: ")
    assert len(name) <= 1
    json.loads(line.removeprefix("data: "), parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("chunk", "name"),
    [
        ({"type": "response.output_text.delta"}, b"event: response.output_text.delta\n"),
        ({"type": "error"}, b"event: error\n"),
        ({"type": "response"}, b""),
        ({"type": "response.a\nid: 3"}, b""),
        ({"type": "response.a\r"}, b""),
        ({"type": "message"}, b""),
        ({"type": ["error"]}, b""),
        ("error", b""),
    ],
)
def test_only_events_of_responses_have_a_name(serve_stream: Any, chunk: object, name: bytes) -> None:
    event = next(serve_stream.Stream(iter([chunk]), 1000, 5))
    assert event == name + b"data: " + json.dumps(chunk).encode() + b"\n\n"


def test_the_error_is_the_last_event_and_then_raised(serve_stream: Any) -> None:
    def generate() -> Iterator[object]:
        yield 1
        raise ValueError("no")

    stream = serve_stream.Stream(generate(), 1000, 5)
    events, failure = read(stream)
    assert events[0] == b"data: 1\n\n"
    name, line = events[1].decode().removesuffix("\n\n").split("\n")
    assert name == "event: error"
    error = json.loads(line.removeprefix("data: "))
    assert error["error_code"] == error["error"]["code"] == "INTERNAL_ERROR"
    assert error["message"] == error["error"]["message"] == failure == "ValueError: no"
    with pytest.raises(serve_stream.StreamFailedError):
        next(stream)


def test_the_limits_end_the_models_generator(serve_stream: Any) -> None:
    for most_bytes, most_seconds, code in ((20, 5.0, "RESPONSE_TOO_LARGE"), (10**6, 0.05, "STREAM_TIMEOUT")):
        closed = []

        def generate(closed: list[bool] = closed) -> Iterator[str]:
            try:
                while True:
                    yield "1234"
                    time.sleep(0.01)
            finally:
                closed.append(True)

        events, _ = read(serve_stream.Stream(generate(), most_bytes, most_seconds))
        assert json.loads(events[-1].split(b"data: ")[1])["error_code"] == code
        assert sum(map(len, events[:-1])) <= most_bytes
        assert closed == [True]


def test_a_closed_stream_has_ended(serve_stream: Any) -> None:
    threads = []

    def generate() -> Iterator[int]:
        try:
            yield from range(10)
        finally:
            threads.append(threading.current_thread())

    for taken in (0, 1, 3):
        stream = serve_stream.Stream(generate(), 1000, 5)
        assert len([next(stream) for _ in range(taken)]) == taken
        stream.close()
        stream.close()
        assert read(stream) == ([], "")
    assert len(threads) == 3


def test_a_stream_can_be_closed_while_it_waits_for_the_model(serve_stream: Any) -> None:
    waits, goes_on, closed = threading.Event(), threading.Event(), threading.Event()

    def generate() -> Iterator[int]:
        try:
            yield 1
            waits.set()
            assert goes_on.wait(10)
            yield 2
            yield 3
        finally:
            closed.set()

    stream = serve_stream.Stream(generate(), 1000, 60)
    seen: list[tuple[list[bytes], str]] = []
    reader = threading.Thread(target=lambda: seen.append(read(stream)))
    reader.start()
    assert waits.wait(10)
    stream.close()
    assert not closed.is_set()
    goes_on.set()
    reader.join(10)
    assert seen == [([b"data: 1\n\n"], "")]
    assert closed.is_set()


def test_variables_of_the_models_context_stay_in_its_stream(serve_stream: Any) -> None:
    variable: ContextVar[str] = ContextVar("request", default="none")
    seen = []

    def generate(name: str) -> Iterator[int]:
        token = variable.set(name)
        try:
            for number in range(3):
                seen.append((name, variable.get()))
                yield number
        finally:
            variable.reset(token)
            seen.append((name, variable.get()))

    first, second = (serve_stream.Stream(generate(name), 1000, 5) for name in ("a", "b"))
    assert [len(read(stream)[0]) for stream in (first, second)] == [4, 4]
    third = serve_stream.Stream(generate("c"), 1000, 5)
    third.close()
    assert variable.get() == "none"
    assert seen[-1] == ("c", "none")
    assert {value for name, value in seen if name == "b"} == {"b", "none"}


def test_an_answer_that_can_not_begin(serve_stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Model:
        NO_STREAM = "the model has no predict_stream method"
        metadata = None
        streams = True

        def can_stream(self) -> bool:
            return self.streams

        def predict_stream(self, data: object, params: object = None) -> Iterator[object]:
            assert (data, params) == ({"prompt": "a"}, {"top": 1})
            raise ValueError("no")
            yield

    def request(content_type: str) -> Any:
        return serve_stream.Request("POST", "/invocations", b"{}", {"content-type": content_type})

    model = Model()
    monkeypatch.setattr(serve_stream, "_parse", lambda *_: ({"prompt": "a"}, {"top": 1}))
    for content_type in ("application/json", "Application/JSON ; charset=UTF-8", "application/json;"):
        answer = serve_stream.stream(model, request(content_type), 1000, 5)
        assert (answer.status, answer.content_type) == (500, "application/json")
        assert json.loads(answer.body) == {"error_code": "INTERNAL_ERROR", "message": "ValueError: no"}
    for content_type in (
        "",
        "text/csv",
        "application/json; charset=latin-1",
        "application/json; format=split",
    ):
        assert serve_stream.stream(model, request(content_type), 1000, 5).status == 415
    model.streams = False
    answer = serve_stream.stream(model, request("application/json"), 1000, 5)
    assert answer.status == 400
    assert json.loads(answer.body) == {"error_code": "BAD_REQUEST", "message": Model.NO_STREAM}


def test_responses_agents(serve_stream: Any) -> None:
    def metadata(loader: str) -> Any:
        return SimpleNamespace(flavors={"python_function": {"loader_module": loader}})

    assert serve_stream.is_responses_agent(metadata("mlflow.pyfunc.loaders.responses_agent"))
    assert not serve_stream.is_responses_agent(metadata("mlflow.pyfunc.loaders.chat_agent"))
    assert not serve_stream.is_responses_agent(SimpleNamespace(flavors=None))
    assert not serve_stream.is_responses_agent(None)
    request = serve_stream.Request("POST", "/responses", b"{}", {"a": "b"})
    expected = serve_stream.Request("POST", "/invocations", b"{}", {"a": "b"})
    assert serve_stream.as_invocation(request) == expected
