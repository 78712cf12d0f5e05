"""The model's own input example as a request to its server: a part of serve.py, and of fetch.py.

MLflow 2.15 and later save the request itself, from 2.16 on under another name. Earlier releases save the example only,
in one of the forms below. The file MLmodel names the files and the form.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REQUEST_FILE = "serving_input_example.json"
# keys with which MLflow's scoring server takes a body as it is
LLM_KEYS = ("messages", "prompt", "input")
# models of these take tables
ROW_BY_ROW = ("mlflow.sklearn", "mlflow.xgboost", "mlflow.lightgbm", "mlflow.catboost")
# rows of a sparse matrix beyond that many values are left out: they are written in full
MOST_VALUES = 5_000_000


@dataclass(frozen=True)
class Example:
    """A file in the model's directory. ``form`` selects its conversion to a request, and is empty for a request."""

    path: Path
    form: str = ""
    with_params: bool = False
    one_row: bool = False
    """Whether the model takes tables of numbers, so that a flat array is a single row."""

    def request(self) -> bytes:
        """Returns the body to post. Raises ValueError if the file does not have the form that MLmodel names."""
        text = self.path.read_bytes()
        if not self.form:
            return text
        try:
            saved = json.loads(text)
            body = FORMS[self.form](saved["inputs"] if self.with_params else saved)
            if self.one_row and _is_flat(body.get("inputs")):
                body = {"inputs": [body["inputs"]]}
            if self.with_params:
                # a body that is taken as it is has its parameters beside the input
                params = saved["params"]
                body = body | (params if _is_llm_input(body) else {"params": params})
            return json.dumps(body).encode()
        except (TypeError, KeyError, IndexError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error


def find_example(model_dir: Path) -> Example | None:
    """Returns the example to test the model with, or None if there is no usable one."""
    mlmodel = _read_mlmodel(model_dir)
    info = _saved_info(mlmodel)
    form, path = str(info.get("type")), _file(model_dir, info.get("artifact_path"))
    saved = None
    if path and form in FORMS:
        saved = Example(path, form, bool(info.get("params")), form == "ndarray" and _takes_rows(mlmodel))
    if saved and saved.form.startswith("sparse_"):
        # MLflow 2.15 saves a request without the matrix beside it
        return saved
    for name in (info.get("serving_input_path"), REQUEST_FILE):
        if request := _file(model_dir, name):
            return Example(request)
    return saved


def describe_absence(model_dir: Path) -> str:
    """Returns why ``find_example`` finds none, as a clause."""
    info = _saved_info(_read_mlmodel(model_dir))
    if not info:
        return "the model was logged without an input_example"
    name = info.get("serving_input_path") or info.get("artifact_path")
    if info.get("type") in FORMS or "serving_input_path" in info:
        return f"the model's MLmodel file names the input example {name!r}, and the model has no such file"
    return f"the model's input example has the type {info.get('type')!r}, which is unknown to this server"


def _read_mlmodel(model_dir: Path) -> Mapping[str, Any]:
    import yaml  # type: ignore[import-untyped,unused-ignore]  # MLflow brings it

    try:
        text = (model_dir / "MLmodel").read_bytes()
        document = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - a safe loader
    except (OSError, yaml.YAMLError, ValueError):
        return {}
    return document if isinstance(document, Mapping) else {}


def _saved_info(mlmodel: Mapping[str, Any]) -> Mapping[str, Any]:
    info = mlmodel.get("saved_input_example_info")
    return info if isinstance(info, Mapping) else {}


def _takes_rows(mlmodel: Mapping[str, Any]) -> bool:
    """Whether the model takes two-dimensional input, by its signature or else by its kind."""
    try:
        if signature := mlmodel.get("signature"):
            (tensor,) = json.loads(signature["inputs"])
            return tensor["type"] == "tensor" and len(tensor["tensor-spec"]["shape"]) == 2
        return mlmodel["flavors"]["python_function"]["loader_module"] in ROW_BY_ROW
    except (ValueError, TypeError, KeyError):
        return False


def _is_flat(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, (int, float, type(None))) for value in values)


def _file(model_dir: Path, name: object) -> Path | None:
    if not isinstance(name, str) or not name:
        return None
    path = (model_dir / name).resolve()
    return path if path.is_relative_to(model_dir.resolve()) and path.is_file() else None


def _from_dataframe(saved: Any) -> dict[str, Any]:
    return {"dataframe_records" if isinstance(saved, list) else "dataframe_split": saved}


def _from_tensors(saved: Any) -> dict[str, Any]:
    # releases before 2.16 save the key, too
    keyed = isinstance(saved, dict) and list(saved) == ["inputs"]
    return {"inputs": saved["inputs"] if keyed else saved}


def _from_json(saved: Any) -> dict[str, Any]:
    return saved if _is_llm_input(saved) else {"inputs": saved}


def _is_llm_input(value: Any) -> bool:
    return isinstance(value, dict) and any(key in value for key in LLM_KEYS)


def _from_rows(saved: Any) -> dict[str, Any]:
    return {"inputs": _write_out(saved, by_rows=True)}


def _from_columns(saved: Any) -> dict[str, Any]:
    return {"inputs": _write_out(saved, by_rows=False)}


def _write_out(saved: Any, by_rows: bool) -> list[list[Any]]:
    """Writes the matrix in full, as newer MLflow does. The scoring server accepts no sparse one."""
    height, width = saved["shape"]
    height = min(height, max(1, MOST_VALUES // max(1, width)))
    zero = 0 if all(isinstance(value, int) for value in saved["data"]) else 0.0
    matrix = [[zero] * width for _ in range(height)]
    starts = saved["indptr"]
    for major in range(len(starts) - 1):
        for position in range(starts[major], starts[major + 1]):
            minor = saved["indices"][position]
            row, column = (major, minor) if by_rows else (minor, major)
            if row < height:
                # a place that is named twice holds the sum
                value = saved["data"][position]
                matrix[row][column] = matrix[row][column] + value if matrix[row][column] else value
    return matrix


FORMS: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "dataframe": _from_dataframe,
    "ndarray": _from_tensors,
    "json_object": _from_json,
    "sparse_matrix_csr": _from_rows,
    "sparse_matrix_csc": _from_columns,
}
"""By the type in MLmodel: the function that converts the saved example to a request."""
