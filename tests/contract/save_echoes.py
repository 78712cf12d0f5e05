"""Run with MLflow's interpreter: saves models that answer with what reached them, one per kind of signature."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

TABLE = ModelSignature(
    inputs=Schema(
        [
            ColSpec(DataType.long, "age"),
            ColSpec(DataType.double, "income", required=False),
            ColSpec(DataType.string, "city", required=False),
            ColSpec(DataType.boolean, "member", required=False),
            ColSpec(DataType.datetime, "since", required=False),
        ]
    ),
    params=ParamSchema(
        [ParamSpec("threshold", "double", 0.5), ParamSpec("labels", "string", ["a"], shape=(-1,))]
    ),
)
TENSOR = ModelSignature(inputs=Schema([TensorSpec(np.dtype("float32"), (-1, 3))]))
TENSORS = ModelSignature(
    inputs=Schema(
        [TensorSpec(np.dtype("int64"), (-1,), "ids"), TensorSpec(np.dtype("float64"), (-1, 2), "points")]
    )
)
COLUMN = ModelSignature(inputs=Schema([ColSpec(DataType.string)]))


class Echo(mlflow.pyfunc.PythonModel):
    """Answers with the type, the types inside, and the values of its input and of its parameters."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        if isinstance(model_input, pd.DataFrame):
            kinds: Any = [f"{name}: {kind}" for name, kind in model_input.dtypes.items()]
        elif isinstance(model_input, np.ndarray):
            kinds = [str(model_input.dtype), list(model_input.shape)]
        elif isinstance(model_input, dict):
            kinds = {str(key): type(value).__name__ for key, value in model_input.items()}
        else:
            kinds = None
        values = model_input.to_dict("list") if isinstance(model_input, pd.DataFrame) else model_input
        return {
            "type": type(model_input).__name__,
            "kinds": kinds,
            "values": repr(values),
            "params": repr(params),
        }


class Answers(mlflow.pyfunc.PythonModel):
    """Answers in the form that the first value of its input names."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        forms = {
            "list": [1, 2.5, "three", None, True],
            "nested": {"a": [1, {"b": (1, 2)}]},
            "floats": np.array([0.1, 1e300, 1e-300, 1 / 3, 2.0]),
            "float32": np.array([0.1, 1 / 3], dtype=np.float32),
            "integers": np.array([[1, 2], [3, 2**62]]),
            "booleans": np.array([True, False]),
            "texts": np.array(["a", "grüße", "\u2028"]),
            "frame": pd.DataFrame({"a": [1, 2], "b": [0.5, 1 / 3], "c": ["x", "y"]}),
            "dates": pd.DataFrame(
                {"at": pd.to_datetime(["2026-11-30T00:00:00.00", "2026-11-30T12:30:15.25"])}
            ),
            "series": pd.Series([1.5, 2.5], name="score"),
            "scalar": np.float64(0.25),
            "text": "grüße",
            "empty": [],
            "bytes": [b"abc"],
            "big": list(range(3000)),
        }
        first = (
            model_input.iloc[0, 0]
            if isinstance(model_input, pd.DataFrame)
            else np.asarray(model_input).flat[0]
        )
        return forms[str(first)]


def save_chat(directory: Path) -> None:
    """A chat model, which takes and answers messages."""
    from mlflow.types.llm import ChatChoice, ChatCompletionResponse, ChatMessage

    class Chat(mlflow.pyfunc.ChatModel):  # type: ignore[misc,unused-ignore]
        def predict(self, context: Any, messages: Any, params: Any) -> Any:
            said = " / ".join(f"{message.role}: {message.content}" for message in messages)
            text = (
                f"{said} ({params.temperature}, {params.max_tokens}, {params.stop}, {params.custom_inputs})"
            )
            choice = ChatChoice(index=0, message=ChatMessage(role="assistant", content=text))
            return ChatCompletionResponse(choices=[choice], model="echo", created=1, id="1")

    mlflow.pyfunc.save_model(directory / "chat", python_model=Chat(), pip_requirements=[])


def main(directory: Path) -> None:
    for name, model, signature in (
        ("table", Echo(), TABLE),
        ("tensor", Echo(), TENSOR),
        ("tensors", Echo(), TENSORS),
        ("column", Echo(), COLUMN),
        ("free", Echo(), None),
        ("answers", Answers(), None),
    ):
        mlflow.pyfunc.save_model(
            directory / name, python_model=model, signature=signature, pip_requirements=[]
        )
    if importlib.util.find_spec("mlflow.types.llm"):
        save_chat(directory)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
