"""Parses MLflow's records of models and versions, and checks each field, because a registry is not trusted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from model_operator.registry.clients.base import ModelRecord, VersionRecord

MAX_NAME = 256
MAX_TEXT = 4096
MAX_VERSION_DIGITS = 18
MAX_TAGS = 256
MAX_ALIASES = 1000
MAX_STAGES = 16
# from mlflow/prompt/constants.py. The server's own check ignores the case of the value
_PROMPT_TAG = "mlflow.prompt.is_prompt"


def part_of(value: tuple[Any, str]) -> Mapping[str, Any]:
    """The named part of a record, or an empty one. Raises ShapeError."""
    record, field = value
    return _mapping(_mapping(record, field).get(field, {}), field)


class ShapeError(ValueError):
    """A record that does not match the API. The text names the field."""


def parse_model(value: Any) -> ModelRecord:
    """One registered model. Raises ShapeError."""
    row = _mapping(value, "registered_model")
    aliases = {}
    for item in _list(row, "aliases", MAX_ALIASES):
        alias = _mapping(item, "aliases")
        aliases[_text(alias, "alias", MAX_NAME)] = _number(alias, "version")
    newest = tuple(parse_version(item) for item in _list(row, "latest_versions", MAX_STAGES))
    name = _text(row, "name", MAX_NAME, required=True)
    is_prompt = _is_prompt(_list(row, "tags", None))
    return rename(ModelRecord(name, aliases, newest, is_prompt), name)


def rename(model: ModelRecord, name: str) -> ModelRecord:
    """The record with the requested name, since a registry must not answer for another model."""
    if model.name == name and all(version.model == name for version in model.newest):
        return model  # the usual case: copies are the largest cost of reading a listing
    newest = tuple(replace(version, model=name) for version in model.newest)
    return replace(model, name=name, newest=newest)


def parse_version(value: Any) -> VersionRecord:
    """One model version. Raises ShapeError."""
    row = _mapping(value, "model_version")
    status = _text(row, "status", MAX_NAME) or "READY"
    tags = _list(row, "tags", None)
    return VersionRecord(
        model=_text(row, "name", MAX_NAME, required=True),
        version=_number(row, "version"),
        ready=status == "READY",
        status=status,
        stage=_text(row, "current_stage", MAX_NAME),
        run_id=_text(row, "run_id", MAX_NAME),
        source=_text(row, "source", MAX_TEXT),
        tags=_tags(tags),
        is_prompt=_is_prompt(tags),
    )


def _is_prompt(tags: Iterable[Any]) -> bool:
    found = [tag.get("value") for tag in tags if isinstance(tag, dict) and tag.get("key") == _PROMPT_TAG]
    return any(isinstance(value, str) and value.lower() == "true" for value in found)


def _tags(items: Iterable[Any]) -> Mapping[str, str]:
    """Key to value. Left out: values over 4,096 characters, and all tags after the 256th."""
    tags: dict[str, str] = {}
    for item in items:
        tag = _mapping(item, "tags")
        key, value = tag.get("key"), tag.get("value", "")
        if not isinstance(key, str) or not isinstance(value, str):
            raise ShapeError("tags")
        if len(key) <= MAX_NAME and len(value) <= MAX_TEXT and len(tags) < MAX_TAGS:
            tags[key] = value
    return tags


def _mapping(value: Any, field: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ShapeError(field)
    return value


def _list(row: Mapping[str, Any], field: str, limit: int | None) -> list[Any]:
    value = row.get(field, [])
    if not isinstance(value, list) or (limit is not None and len(value) > limit):
        raise ShapeError(field)
    return value


def _text(row: Mapping[str, Any], field: str, limit: int, required: bool = False) -> str:
    value = row.get(field)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or len(value) > limit or (required and not value):
        raise ShapeError(field)
    return value


def _number(row: Mapping[str, Any], field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not is_version_number(value):
        raise ShapeError(field)
    return value


def is_version_number(text: str) -> bool:
    """Whether the text can be the number of a version in MLflow: digits only, and not too many for its database."""
    return text.isascii() and text.isdecimal() and len(text) <= MAX_VERSION_DIGITS
