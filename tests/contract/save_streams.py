"""Run with MLflow's interpreter: saves models that stream, that can't, and that fail while they do."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.agent import ChatAgentChunk, ChatAgentMessage, ChatAgentResponse
from mlflow.types.llm import (
    ChatChoice,
    ChatChoiceDelta,
    ChatChunkChoice,
    ChatCompletionChunk,
    ChatCompletionResponse,
    ChatMessage,
    TokenUsageStats,
)

try:
    from mlflow.types.responses import (
        ResponsesAgentRequest,
        ResponsesAgentResponse,
        ResponsesAgentStreamEvent,
    )
except ImportError:  # their names in MLflow 2.22
    from mlflow.types.responses import ResponsesRequest as ResponsesAgentRequest
    from mlflow.types.responses import ResponsesResponse as ResponsesAgentResponse
    from mlflow.types.responses import ResponsesStreamEvent as ResponsesAgentStreamEvent

TABLE = ModelSignature(
    inputs=Schema([ColSpec(DataType.long, "count"), ColSpec(DataType.string, "word")]),
    params=ParamSchema([ParamSpec("suffix", "string", ".")]),
)
PROMPT = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, "prompt")]),
    params=ParamSchema([ParamSpec("suffix", "string", ".")]),
)
"""It has no ``stream``, as most signatures of such models."""


class Words(mlflow.pyfunc.PythonModel):
    """Streams the word of its input, as often as it counts."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return ["whole"]

    def predict_stream(self, context: Any, model_input: Any, params: Any = None) -> Iterator[Any]:
        for number in range(int(model_input["count"])):
            yield {"word": model_input["word"] + (params or {}).get("suffix", ""), "number": number}


class Echo(mlflow.pyfunc.PythonModel):
    """Streams what reached it."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return ["whole"]

    def predict_stream(self, context: Any, model_input: Any, params: Any = None) -> Iterator[Any]:
        yield repr(model_input)
        yield repr(params)


class Behaves(mlflow.pyfunc.PythonModel):
    """Streams as the prompt of its input names."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return ["whole"]

    def predict_stream(self, context: Any, model_input: Any, params: Any = None) -> Iterator[Any]:
        behaviour = model_input["prompt"]
        if behaviour == "none":
            return None  # type: ignore[return-value]
        if behaviour == "number":
            return 5  # type: ignore[return-value]
        if behaviour == "list":
            return ["a", "b"]  # type: ignore[return-value]
        if behaviour == "not implemented":
            raise NotImplementedError("not yet")
        return self._generate(behaviour)

    def _generate(self, behaviour: str) -> Iterator[Any]:
        if behaviour == "fail at once":
            raise ValueError("a secret of the house")
        if behaviour == "refuse":
            raise mlflow.exceptions.MlflowException.invalid_parameter_value("the prompt is not allowed")
        if behaviour == "exit at once":
            sys.exit(3)
        if behaviour == "empty":
            return
        if behaviour == "object first":
            yield object()
        try:
            yield "first"
            if behaviour == "fail":
                raise ValueError("a secret of the house")
            if behaviour == "refuse late":
                raise mlflow.exceptions.MlflowException.invalid_parameter_value("a secret of the house")
            if behaviour == "exit":
                sys.exit(3)
            if behaviour == "object":
                yield {"a": object()}
            if behaviour == "circle":
                circle: list[Any] = []
                circle.append(circle)
                yield circle
            if behaviour == "values":
                yield {"nan": float("nan"), "all": [np.inf, -np.inf], "text": "NaN \u2028\n\n"}
                yield {"array": np.array([0.5, np.nan]), "one": np.float32(0.5), "count": np.int64(2)}
                yield pd.DataFrame({"at": pd.to_datetime(["2026-12-01"]), "b": [1]})
                yield None
                yield {"type": "response.\nevent: forged", "half": "\ud800"}
            if behaviour == "long":
                for _ in range(1000):
                    yield "x" * 100
            if behaviour == "slow":
                time.sleep(0.5)
                yield "too late"
            yield "last"
        finally:
            print(f"closed {behaviour}", flush=True)


class Stubborn(Behaves):
    """Does not end when its stream is closed."""

    def _generate(self, behaviour: str) -> Iterator[Any]:
        try:
            yield "first"
            yield "last"
        finally:
            if behaviour == "yield":
                yield "more"
            if behaviour == "raise":
                raise KeyError("while closing")
            if behaviour == "hang":
                time.sleep(30)


class Silent(mlflow.pyfunc.PythonModel):
    """Has no predict_stream."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return ["whole"]


class SilentChat(mlflow.pyfunc.ChatModel):  # type: ignore[misc,unused-ignore]
    def predict(self, context: Any, messages: Any, params: Any) -> Any:
        choice = ChatChoice(index=0, message=ChatMessage(role="assistant", content="whole"))
        return ChatCompletionResponse(choices=[choice], model="echo", created=1, id="1")


class Chat(SilentChat):
    def predict_stream(self, context: Any, messages: Any, params: Any) -> Iterator[Any]:
        for word in [*messages[-1].content.split(), f"{params.stream}"]:
            if word == "wrong":
                yield {"content": "of another type"}
            delta = ChatChoiceDelta(role="assistant", content=word)
            yield ChatCompletionChunk(choices=[ChatChunkChoice(delta=delta)], model="echo", created=1, id="1")
        usage = TokenUsageStats(prompt_tokens=2, completion_tokens=3, total_tokens=5)
        yield ChatCompletionChunk(choices=[], usage=usage, model="echo", created=1, id="1")


class Agent(mlflow.pyfunc.ChatAgent):  # type: ignore[misc,unused-ignore]
    def predict(self, messages: Any, context: Any = None, custom_inputs: Any = None) -> ChatAgentResponse:
        return ChatAgentResponse(messages=[ChatAgentMessage(role="assistant", content="whole", id="1")])

    def predict_stream(
        self, messages: Any, context: Any = None, custom_inputs: Any = None
    ) -> Iterator[ChatAgentChunk]:
        for word in messages[-1].content.split():
            yield ChatAgentChunk(delta=ChatAgentMessage(role="assistant", content=word, id="1"))
        usage = {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}
        delta = ChatAgentMessage(role="assistant", content=".", id="1")
        yield ChatAgentChunk(delta=delta, finish_reason="stop", usage=usage)


class Responses(mlflow.pyfunc.ResponsesAgent):  # type: ignore[misc,unused-ignore]
    def predict(self, request: ResponsesAgentRequest) -> ResponsesAgentResponse:
        return ResponsesAgentResponse(output=[message("whole")], id="r1")

    def predict_stream(self, request: ResponsesAgentRequest) -> Iterator[ResponsesAgentStreamEvent]:
        words = request.input[-1].content.split()
        for word in [*words, str(request.stream)]:
            if word == "wrong":
                yield {"delta": "without a type"}
            yield ResponsesAgentStreamEvent(type="response.output_text.delta", item_id="m1", delta=word)
        yield ResponsesAgentStreamEvent(type="response.output_item.done", item=message(" ".join(words)))
        response = {"id": "r1", "object": "response", "output": [], "usage": USAGE}
        yield ResponsesAgentStreamEvent(type="response.completed", response=response)


USAGE = {
    "input_tokens": 2,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 9,
}


def message(text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text}]
    return {"type": "message", "id": "m1", "role": "assistant", "content": content}


def main(directory: Path) -> None:
    for name, model, signature in (
        ("words", Words(), TABLE),
        ("echo", Echo(), None),
        ("prompt", Echo(), PROMPT),
        ("behaves", Behaves(), None),
        ("stubborn", Stubborn(), None),
        ("silent", Silent(), None),
        ("silent-chat", SilentChat(), None),
        ("chat", Chat(), None),
        ("agent", Agent(), None),
        ("responses", Responses(), None),
    ):
        mlflow.pyfunc.save_model(
            directory / name,
            python_model=model,
            pip_requirements=[],
            **({"signature": signature} if signature else {}),
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
