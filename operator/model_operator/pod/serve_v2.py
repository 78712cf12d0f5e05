"""The OpenInference (V2) protocol between a request and the model. A part of serve.py.

Sources: kserve/open-inference-protocol, specification/protocol/inference_rest.md (paths, objects, errors), Triton's
docs/protocol/extension_binary_data.md (binary tensors, Inference-Header-Content-Length). The way from tensors to the
model follows MLServer's runtimes/mlflow (runtime.py, metadata.py): a signature of columns takes a table, one of
tensors takes arrays, and ``content_type`` may select pd, np or dict.
"""

from __future__ import annotations

import json
import logging
import traceback
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_operator.pod.serve_inference import Inference, parse_inference
    from model_operator.pod.serve_inputs import to_model_input
    from model_operator.pod.serve_outputs import DATATYPES, name_outputs, write_tensor
    from model_operator.pod.serve_request import Answer, Request
    from model_operator.pod.serve_signature import Field, read_signature
    from model_operator.pod.serve_tensors import BadRequestError
else:
    from serve_inference import Inference, parse_inference
    from serve_inputs import to_model_input
    from serve_outputs import DATATYPES, name_outputs, write_tensor
    from serve_request import Answer, Request
    from serve_signature import Field, read_signature
    from serve_tensors import BadRequestError

HEADER_LENGTH = "inference-header-content-length"
MESSAGE_CHARACTERS = 4096
COLUMN_DATATYPES = {
    "boolean": ("BOOL", "np"),
    "integer": ("INT32", "np"),
    "long": ("INT64", "np"),
    "float": ("FP32", "np"),
    "double": ("FP64", "np"),
    "string": ("BYTES", "str"),
    "binary": ("BYTES", "base64"),
    "datetime": ("BYTES", "datetime"),
}
"""By MLflow's type of a column: datatype and content type. Any other type is JSON in BYTES."""

log = logging.getLogger("serve")


@dataclass(frozen=True)
class Route:
    """A path of the protocol. ``action`` is server, live, ready, model, model-ready, infer, or "" if unknown."""

    action: str
    name: str = ""
    version: str = ""

    @property
    def method(self) -> str:
        """The only method of this path."""
        return "POST" if self.action == "infer" else "GET"


def find_route(path: str) -> Route | None:
    """Returns the route of a path, or None if the path does not belong to the protocol."""
    parts = [urllib.parse.unquote(part) for part in path.strip("/").split("/")]
    if parts[0] != "v2":
        return None
    rest = parts[1:]
    plain = {(): "server", ("health", "live"): "live", ("health", "ready"): "ready"}
    if tuple(rest) in plain:
        return Route(plain[tuple(rest)])
    if len(rest) < 2 or rest[0] != "models" or "" in rest:
        return Route("")
    name, rest, version = rest[1], rest[2:], ""
    if len(rest) >= 2 and rest[0] == "versions":
        version, rest = rest[1], rest[2:]
    actions = {(): "model", ("ready",): "model-ready", ("infer",): "infer"}
    return Route(actions.get(tuple(rest), ""), name, version)


def describe_tensors(fields: tuple[Field, ...], prefix: str) -> list[dict[str, Any]]:
    """Returns the metadata of inputs or outputs. A nameless one is called by the prefix and its position.

    Names and shapes of columns are those of MLServer (runtimes/mlflow/mlserver_mlflow/metadata.py).
    """
    described = []
    for position, part in enumerate(fields):
        if part.shape is None:
            datatype, content_type = COLUMN_DATATYPES.get(part.type, ("BYTES", "pd_json"))
            shape = [-1, 1]
        else:
            datatype = DATATYPES.get(part.dtype, "BYTES")
            content_type = "np" if datatype != "BYTES" else "str"
            shape = list(part.shape)
        name = part.name or f"{prefix}-{position}"
        parameters = {"content_type": content_type}
        described.append({"name": name, "datatype": datatype, "shape": shape, "parameters": parameters})
    return described


def answer_json(status: int, document: Any, *headers: tuple[str, str]) -> Answer:
    """Returns an answer of the protocol without binary data."""
    return Answer(status, "application/json", json.dumps(document, allow_nan=False).encode(), headers)


def answer_error(status: int, message: str, *headers: tuple[str, str]) -> Answer:
    """Returns an error in the protocol's own form."""
    return answer_json(status, {"error": message[:MESSAGE_CHARACTERS]}, *headers)


class InferenceProtocol:
    """Answers the requests of the protocol with one model.

    ``model`` is a model of mlflow.pyfunc, or one under watch. ``name`` and ``version`` are those in the paths.
    """

    def __init__(self, name: str, version: str, model: Any) -> None:
        self._name = name
        self._version = version
        self._model = model
        self._signature = read_signature(model.metadata)

    def answer(self, request: Request) -> Answer | None:
        """Returns the answer, or None if the path does not belong to the protocol. Raises nothing."""
        route = find_route(request.path)
        if route is None:
            return None
        if not route.action:
            return answer_error(404, "the protocol has no such path")
        if route.name and route.name != self._name:
            return answer_error(404, f"there is no model {route.name!r}, this server has {self._name!r}")
        if route.version and route.version != self._version:
            return answer_error(
                404, f"there is no version {route.version!r}, this server has {self._version!r}"
            )
        if request.method != route.method:
            return answer_error(
                405, f"{route.method} is the only method of this path", ("allow", route.method)
            )
        if route.action == "infer":
            return self._infer(request)
        return answer_json(200, self._describe(route.action))

    def _describe(self, action: str) -> dict[str, Any]:
        if action == "live":
            return {"live": True}
        if action == "ready":
            return {"ready": True}
        if action == "model-ready":
            return {"name": self._name, "ready": True}
        if action == "server":
            import mlflow  # type: ignore[import-not-found,unused-ignore]

            extensions = ["binary_tensor_data"]
            return {
                "name": "model-operator with mlflow",
                "version": mlflow.__version__,
                "extensions": extensions,
            }
        return {
            "name": self._name,
            "versions": [self._version],
            "platform": "mlflow_pyfunc",
            "inputs": describe_tensors(self._signature.inputs, "input"),
            "outputs": describe_tensors(self._signature.outputs, "output"),
        }

    def _infer(self, request: Request) -> Answer:
        try:
            inference = parse_inference(request.body, request.headers.get(HEADER_LENGTH))
            data = to_model_input(inference.tensors, inference.content_type, self._signature)
        except (ValueError, TypeError, OverflowError) as error:
            # mostly BadRequestError. No code of the model has run
            return answer_error(400, str(error))
        prediction = self._predict(data, self._params(inference.parameters))
        if isinstance(prediction, Answer):
            return prediction
        try:
            return self._write(inference, prediction)
        except BadRequestError as error:
            return answer_error(400, str(error))
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            log.exception("the prediction has no form in the protocol")
            return answer_error(500, f"the prediction has no form in the protocol: {error}")

    def _params(self, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
        """Returns the model's parameters, or None if the signature has none."""
        known = {param.name for param in self._signature.params}
        # MLflow logs a warning for any other
        return {key: value for key, value in parameters.items() if key in known} if known else None

    def _predict(self, data: Any, params: dict[str, Any] | None) -> Any:
        """Returns the prediction, or the answer for an exception, with the status that /invocations gives it."""
        from mlflow.exceptions import MlflowException  # type: ignore[import-not-found,unused-ignore]

        try:
            return self._model.predict(data, params=params)
        except MlflowException as error:
            return answer_error(int(error.get_http_status_code()), str(getattr(error, "text", error.message)))
        except Exception as error:
            if _is_of_mlflow(error):
                return answer_error(400, f"MLflow can't convert the input for the model: {error}")
            log.exception("the model raised an exception while predicting")
            return answer_error(
                500, f"the model raised {type(error).__name__} while predicting (see the server's log)"
            )

    def _write(self, inference: Inference, prediction: Any) -> Answer:
        values, is_table = name_outputs(prediction, [part.name for part in self._signature.outputs])
        requested = inference.outputs or dict.fromkeys(values, inference.binary)
        if unknown := [name for name in requested if name not in values]:
            known = ", ".join(repr(name) for name in list(values)[:20])
            raise BadRequestError(f"the model has no output {unknown[0][:100]!r}, it has {known}")
        written = [write_tensor(name, values[name], binary) for name, binary in requested.items()]
        document: dict[str, Any] = {"model_name": self._name, "model_version": self._version}
        if inference.id is not None:
            document["id"] = inference.id
        if is_table:
            document["parameters"] = {"content_type": "pd"}
        document["outputs"] = [output for output, _ in written]
        if not any(requested.values()):
            return answer_json(200, document)
        head = json.dumps(document, allow_nan=False).encode()
        body = b"".join([head, *(raw for _, raw in written)])
        return Answer(200, "application/octet-stream", body, ((HEADER_LENGTH, str(len(head))),))


def _is_of_mlflow(error: BaseException) -> bool:
    """Whether only MLflow's own code took part, which converts the input for the model."""
    modules = {
        str(frame.f_globals.get("__name__")).partition(".")[0]
        for frame, _ in traceback.walk_tb(error.__traceback__)
    }
    # the server's own modules, here and around the model
    return {name for name in modules if not name.startswith(("serve_", "model_operator"))} == {"mlflow"}
