"""The paths of the OpenInference protocol in an OpenAPI document. A part of serve.py.

Source: kserve/open-inference-protocol, specification/protocol/inference_rest.md, and for binary data Triton's
docs/protocol/extension_binary_data.md.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_operator.pod.serve_tensors import DTYPES
else:
    from serve_tensors import DTYPES

Json = dict[str, Any]

DATATYPES = [*DTYPES, "BYTES"]


def _tensor(**more: Any) -> Json:
    properties = {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": {"enum": DATATYPES},
        "parameters": {"type": "object"},
        **more,
    }
    return {"type": "object", "required": ["name", "shape", "datatype"], "properties": properties}


def _objects(name: str) -> Json:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}


_SELECTED: Json = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "parameters": {"type": "object"}},
}
V2_SCHEMAS: Mapping[str, Json] = {
    "InferenceTensor": _tensor(data={"type": "array"}),
    "InferenceRequest": {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "inputs": _objects("InferenceTensor") | {"minItems": 1},
            "outputs": {"type": "array", "items": _SELECTED},
        },
    },
    "InferenceResponse": {
        "type": "object",
        "required": ["model_name", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "outputs": _objects("InferenceTensor"),
        },
    },
    "InferenceError": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
    "MetadataTensor": _tensor(),
    "ModelMetadata": {
        "type": "object",
        "required": ["name", "platform", "inputs", "outputs"],
        "properties": {
            "name": {"type": "string"},
            "versions": {"type": "array", "items": {"type": "string"}},
            "platform": {"type": "string"},
            "inputs": _objects("MetadataTensor"),
            "outputs": _objects("MetadataTensor"),
        },
    },
}
"""By name: the schemas that the paths refer to."""


def v2_paths(name: str, version: str) -> Json:
    """Returns the paths of the protocol for one model and version."""
    model = f"/v2/models/{urllib.parse.quote(name, safe='')}"
    exact = f"{model}/versions/{urllib.parse.quote(version, safe='')}"
    flag = {"type": "object", "properties": {"live": {"type": "boolean"}, "ready": {"type": "boolean"}}}
    server = {"type": "object", "properties": {"name": {"type": "string"}, "version": {"type": "string"}}}
    paths = {
        "/v2": {"get": _get("v2Server", "The server", server)},
        "/v2/health/live": {"get": _get("v2Live", "Whether the server is live", flag)},
        "/v2/health/ready": {"get": _get("v2Ready", "Whether the server is ready", flag)},
    }
    metadata = {"$ref": "#/components/schemas/ModelMetadata"}
    for path, suffix in ((model, ""), (exact, "OfVersion")):
        paths[path] = {"get": _get(f"v2Model{suffix}", "The model's inputs and outputs", metadata)}
        paths[f"{path}/ready"] = {"get": _get(f"v2ModelReady{suffix}", "Whether the model is ready", flag)}
        paths[f"{path}/infer"] = {"post": _infer(f"v2Infer{suffix}")}
    return paths


def _get(operation: str, summary: str, schema: Json) -> Json:
    answer = {"description": summary, "content": {"application/json": {"schema": schema}}}
    return {"operationId": operation, "summary": summary, "responses": {"200": answer}}


def _infer(operation: str) -> Json:
    length = {
        "name": "Inference-Header-Content-Length",
        "in": "header",
        "required": False,
        "description": "The bytes of the JSON object at the start of the body, if binary tensors follow it.",
        "schema": {"type": "integer", "minimum": 0},
    }
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/InferenceError"}}}
    texts = {
        "400": "The request does not fit the protocol or the model.",
        "404": "The server has another model or version.",
        "500": "The model raised an exception.",
    }
    binary: Json = {"application/octet-stream": {}}
    request = {"application/json": {"schema": {"$ref": "#/components/schemas/InferenceRequest"}}}
    response = {"application/json": {"schema": {"$ref": "#/components/schemas/InferenceResponse"}}}
    responses = {"200": {"description": "The outputs.", "content": response | binary}}
    responses |= {status: {"description": text, "content": error} for status, text in texts.items()}
    return {
        "operationId": operation,
        "summary": "Predict with the OpenInference protocol",
        "parameters": [length],
        "requestBody": {"required": True, "content": request | binary},
        "responses": responses,
    }
