"""An OpenAPI document of a model's signature, and the expected columns for an error. A part of serve.py.

Sources: OpenAPI 3.1.0 and JSON Schema 2020-12, mlflow/pyfunc/scoring_server (input forms, ``predictions``, statuses),
mlflow/models/utils.py and mlflow/pyfunc/__init__.py (messages of schema enforcement, in MLflow 2.22 and 3.17).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_operator.pod.serve_example import find_example
    from model_operator.pod.serve_openapi_v2 import V2_SCHEMAS, v2_paths
    from model_operator.pod.serve_schemas import (
        SINGLE,
        column_schema,
        list_schema,
        nested_schema,
        object_schema,
        param_schema,
        tensors_schema,
        without_nan,
    )
    from model_operator.pod.serve_signature import Field, Signature, read_signature
else:
    from serve_example import find_example
    from serve_openapi_v2 import V2_SCHEMAS, v2_paths
    from serve_schemas import (
        SINGLE,
        column_schema,
        list_schema,
        nested_schema,
        object_schema,
        param_schema,
        tensors_schema,
        without_nan,
    )
    from serve_signature import Field, Signature, read_signature

Json = dict[str, Any]

EXAMPLE_BYTES = 65_536
EXPLANATION_CHARACTERS = 500
NAME_CHARACTERS = 60
AGENT_LOADERS = ("chat_model", "chat_agent", "responses_agent")
"""The last part of the loader module of ChatModel, ChatAgent and ResponsesAgent (mlflow/pyfunc/loaders)."""

ERRORS: Mapping[str, str] = {
    "400": "The request does not fit the model's signature, or has none of the forms.",
    "413": "The body is larger than the server's limit.",
    "500": "The model raised an exception.",
    "503": "The server has no free place for the request, or it shuts down. Retry after the time in Retry-After.",
    "504": "The prediction took longer than the server's limit.",
}
ERROR_SCHEMA: Json = {
    "type": "object",
    "required": ["error_code", "message"],
    "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
}
ENFORCED = ("Model is missing inputs", "Model inference is missing inputs", "Failed to enforce schema")
"""MLflow's words for a request that misses the signature.

With MLFLOW_DISABLE_SCHEMA_DETAILS, MLflow 3 uses others on purpose, and nothing is added to those.
"""


def document(name: str, version: str, metadata: Any, model_dir: Path | None = None) -> Json:
    """Returns the OpenAPI document of a model. ``metadata`` is its ``mlflow.models.Model``.

    With ``model_dir``, the model's own input example is the example of a request, up to 64 KiB.
    """
    signature = read_signature(metadata)
    is_agent = _is_agent(metadata)
    schemas: Json = {"Error": ERROR_SCHEMA, **V2_SCHEMAS}
    schemas["Request"] = _request_schema(signature, is_agent)
    schemas["Answer"] = _answer_schema(signature, is_agent)
    if signature.has_columns:
        schemas["Row"] = object_schema(signature.inputs)
    if signature.params:
        schemas["Params"] = {
            "type": "object",
            "properties": {param.name: param_schema(param) for param in signature.params},
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": name,
            "version": version,
            "description": f"Version {version} of the MLflow model {name}.",
        },
        "paths": {
            "/invocations": {"post": _invocations(signature, is_agent, model_dir)},
            **v2_paths(name, version),
        },
        "components": {"schemas": schemas},
    }


def _is_agent(metadata: Any) -> bool:
    flavors = getattr(metadata, "flavors", None) or {}
    loader = str((flavors.get("python_function") or {}).get("loader_module"))
    return loader.rpartition(".")[2] in AGENT_LOADERS


def _invocations(signature: Signature, is_agent: bool, model_dir: Path | None) -> Json:
    body: Json = {"schema": _ref("Request")}
    example = _read_example(model_dir) if model_dir else None
    if example is not None:
        body["examples"] = {"input-example": {"summary": "The model's own input example", "value": example}}
    content: Json = {"application/json": body}
    if not is_agent and _takes_tables(signature):
        columns = ",".join(field.name for field in signature.inputs if field.name)
        description = (
            f"A header and a line for each row. Columns: {columns}" if columns else "A line for each row."
        )
        content["text/csv"] = {"schema": {"type": "string", "description": description}}
    errors: Json = {
        status: {"description": text, "content": {"application/json": {"schema": _ref("Error")}}}
        for status, text in ERRORS.items()
    }
    errors["503"]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "In seconds."}}
    errors["415"] = {
        "description": "The content type is none of the request's.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
    answer = {"description": "The prediction.", "content": {"application/json": {"schema": _ref("Answer")}}}
    return {
        "operationId": "invoke",
        "summary": "Predict",
        "requestBody": {"required": True, "content": content},
        "responses": {"200": answer, **dict(sorted(errors.items()))},
    }


def _read_example(model_dir: Path) -> Any:
    """Returns the model's own input example as a request, or None."""
    try:
        example = find_example(model_dir)
        text = example.request() if example else b""
        return without_nan(json.loads(text)) if 0 < len(text) <= EXAMPLE_BYTES else None
    except (OSError, ValueError, RecursionError):
        return None


def _takes_tables(signature: Signature) -> bool:
    """Whether a table fits: MLflow makes arrays of one only where there is a value or a row of values for each row."""
    return not signature.has_tensors or all(len(field.shape or ()) <= 2 for field in signature.inputs)


def _request_schema(signature: Signature, is_agent: bool) -> Json:
    forms: Json = {}
    if not is_agent:
        if _takes_tables(signature):
            rows: Json = {"type": "array", "items": {"type": "array"}}
            names: Json = {"type": "array", "items": {"type": ["string", "integer"]}}
            split = {"columns": names, "data": rows, "index": {"type": "array"}}
            forms["dataframe_split"] = {"type": "object", "required": ["data"], "properties": split}
            forms["dataframe_records"] = {"type": "array", "items": _row(signature)}
        forms["inputs"] = _inputs_schema(signature)
        forms["instances"] = _instances_schema(signature)
    alternatives = [_form(key, schema, signature) for key, schema in forms.items()]
    if is_agent or signature.llm_column:
        # such a body goes to the model as it is, and parameters are beside the input
        whole = object_schema(signature.inputs)
        whole["properties"] |= {param.name: param_schema(param) for param in signature.params}
        alternatives.insert(0, whole)
    return alternatives[0] if len(alternatives) == 1 else {"oneOf": alternatives}


def _form(key: str, schema: Json, signature: Signature) -> Json:
    properties = {key: schema}
    if signature.params:
        properties["params"] = _ref("Params")
    return {"type": "object", "required": [key], "properties": properties}


def _row(signature: Signature) -> Json:
    return _ref("Row") if signature.has_columns and signature.inputs[0].name else {"type": "object"}


def _inputs_schema(signature: Signature) -> Json:
    """Tensors in full, or columns by name, or rows."""
    fields = signature.inputs
    if not fields:
        return {}
    if fields[0].shape is not None:
        return tensors_schema(fields)
    columns = {field.name: list_schema(column_schema(field)) for field in fields if field.name}
    rows: list[Json] = [{"type": "array", "items": _row(signature)}] if columns else [{"type": "array"}]
    if columns:
        rows.append(
            {"type": "object", "required": [f.name for f in fields if f.required], "properties": columns}
        )
    # one row, or a list of values for a single column
    if any(field.spec.get("type") not in SINGLE for field in fields):
        rows.append(_row(signature))
    if len(fields) == 1:
        rows.append(list_schema(column_schema(fields[0])))
    return rows[0] if len(rows) == 1 else {"anyOf": rows}


def _instances_schema(signature: Signature) -> Json:
    """Rows: with named tensors, an object for each."""
    fields = signature.inputs
    if fields and fields[0].shape is not None and fields[0].name:
        row = {field.name: nested_schema((field.shape or ())[1:], field.dtype) for field in fields}
        return list_schema({"type": "object", "required": list(row), "properties": row})
    if fields and fields[0].shape is not None:
        return tensors_schema(fields)
    if not fields:
        return {"type": "array"}
    single = [column_schema(fields[0])] if len(fields) == 1 else []
    rows = [_row(signature), *single] if fields[0].name else [{"type": "array"}, *single]
    return list_schema(rows[0] if len(rows) == 1 else {"anyOf": rows})


def _answer_schema(signature: Signature, is_agent: bool) -> Json:
    """Returns the schema of an answer: only that to a body that went to the model as it is comes without a key."""
    fields = signature.outputs
    if is_agent:
        return object_schema(fields) if fields and fields[0].name else {}
    if not fields:
        predictions: Json = {}
    elif fields[0].shape is not None:
        predictions = tensors_schema(fields)
    else:
        forms = [list_schema(object_schema(fields))] if fields[0].name else []
        if len(fields) == 1:
            forms.append(list_schema(column_schema(fields[0])))
        predictions = {"anyOf": forms} if forms else {"type": "array"}
    answer: Json = {"type": "object", "required": ["predictions"], "properties": {"predictions": predictions}}
    return {"anyOf": [answer, {}]} if signature.llm_column else answer


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def explain_columns(message: str, metadata: Any) -> str:
    """Returns a sentence with the expected columns and types if the message is about them, and "" otherwise.

    ``message`` is one of MLflow's errors. The sentence has 500 characters at most.
    """
    if not any(words in message for words in ENFORCED):
        return ""
    fields = read_signature(metadata).inputs
    if not fields:
        return ""
    kind = "tensor" if fields[0].shape is not None else "column"
    described = [_describe(field, position) for position, field in enumerate(fields)]
    sentence = f"The model takes the {kind}{'s' * (len(fields) > 1)} "
    rest = len(described)
    # room for the count of those that are left out
    most = EXPLANATION_CHARACTERS - len(" and 1000000 more.")
    for text in described:
        separator = ", " if rest < len(described) else ""
        if len(sentence) + len(separator) + len(text) > most:
            break
        sentence += separator + text
        rest -= 1
    return sentence + (f" and {rest} more." if rest else ".")


def _describe(field: Field, position: int) -> str:
    name = repr(field.name)[:NAME_CHARACTERS] if field.name else f"#{position}"
    optional = "" if field.required else ", optional"
    return f"{name} ({field.type[:NAME_CHARACTERS]}{optional})"
