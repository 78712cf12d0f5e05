"""A whole ModelDeployment, read from the API server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from model_operator.api.spec import ModelDeploymentSpec
from model_operator.api.status import ModelDeploymentStatus

MAX_SENTENCES = 5


class SpecError(ValueError):
    """The object can't be read as a ModelDeployment. The message names each invalid field and the remedy.

    `fields` holds the paths of these fields, such as `spec.model.uri`. The message quotes no value of the object,
    because environment variables may hold secrets.
    """

    def __init__(self, sentences: Iterable[str], fields: Iterable[str]) -> None:
        self.fields = tuple(fields)
        super().__init__("; ".join(sentences))


def _none_is_empty(value: object) -> object:
    return {} if value is None else value


StringMap = Annotated[dict[str, str], BeforeValidator(_none_is_empty)]


class Metadata(BaseModel):
    """The part of ObjectMeta that the operator reads."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="ignore", frozen=True)

    name: str
    namespace: str
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: StringMap = Field(default_factory=dict)
    annotations: StringMap = Field(default_factory=dict)


class ModelDeployment(BaseModel):
    """One ModelDeployment: `spec` is fully validated, and `status` is read as far as possible."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    metadata: Metadata
    spec: ModelDeploymentSpec
    status: Annotated[ModelDeploymentStatus, BeforeValidator(ModelDeploymentStatus.read)] = (
        ModelDeploymentStatus()
    )


def parse(raw: Mapping[str, Any]) -> ModelDeployment:
    """Reads an object as the API server returns it. Raises SpecError, and nothing else, if it can't be read.

    The CRD makes the API server reject nearly all such objects. Those that remain were stored under another
    version of the CRD.
    """
    try:
        return ModelDeployment.model_validate(dict(raw) if isinstance(raw, Mapping) else raw)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    except RecursionError:
        raise SpecError(["the object is nested too deeply: make it flatter"], ["spec"]) from None
    sentences = [_sentence(detail) for detail in details[:MAX_SENTENCES]]
    if len(details) > MAX_SENTENCES:
        sentences.append(f"and {len(details) - MAX_SENTENCES} more")
    raise SpecError(sentences, [_path(detail["loc"]) for detail in details])


def _path(loc: tuple[int | str, ...]) -> str:
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        # pydantic adds the names of types and validators where a field takes one of several types
        elif part not in {"int", "str"} and "(" not in part and "[" not in part:
            path += f".{part}" if path else part
    return path[:200] or "the manifest"


def _sentence(detail: ErrorDetails) -> str:
    path, kind, context = _path(detail["loc"]), detail["type"], detail.get("ctx", {})
    if kind == "value_error":
        message = str(context["error"])
        # some rules already name their field by its path
        return message if message.startswith("spec.") else f"{path}: {message}"
    if kind == "extra_forbidden":
        return f"{path} is not known to this version of the operator: remove it, or upgrade the operator"
    if kind == "missing":
        return f"{path} is missing: add it"
    if kind == "literal_error":
        return f"{path} must be {context['expected']}"
    if kind in {"model_type", "dict_type", "model_attributes_type"}:
        return f"{path} must be an object: correct it"
    text = detail["msg"].removeprefix("Input ").removeprefix("Value ")
    return f"{path} {text[0].lower()}{text[1:]}: correct it"
