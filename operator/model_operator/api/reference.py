"""References to model versions, such as `models:/churn@champion` and `models:/churn/3`."""

from __future__ import annotations

import re
from dataclasses import dataclass

STAGES = ("None", "Staging", "Production", "Archived")
MAX_MODEL_NAME_LENGTH = 256
MAX_ALIAS_LENGTH = 255
MAX_URI_LENGTH = len("models:/") + MAX_MODEL_NAME_LENGTH + 1 + MAX_ALIAS_LENGTH

URI_FORMS = "models:/NAME@ALIAS, models:/NAME/VERSION, models:/NAME/latest or models:/NAME/STAGE"
URI_MESSAGE = (
    f"model.uri must be {URI_FORMS} (VERSION a whole number from 1, STAGE one of {', '.join(STAGES)})"
)
NAME_MESSAGE = (
    "model.name must be a registered model's name, at most 256 characters, not blank, not '.', "
    "not starting with '..', without '/', ':' and control characters"
)
ALIAS_MESSAGE = (
    "model.alias must be letters, digits, '-' and '_', at most 255 characters, written without the '@'"
)
RESERVED_ALIAS_MESSAGE = (
    "model.alias: MLflow reserves 'latest' and v followed by digits: "
    "write a version (3 or latest) instead of the alias"
)
VERSION_MESSAGE = "model.version must be a whole number from 1, or latest"
STAGE_MESSAGE = f"model.stage must be one of {', '.join(STAGES)}"

_ALIAS = re.compile(r"[\w-]{1,255}")
_RESERVED_ALIAS = re.compile(r"latest|v[0-9]+", re.IGNORECASE)
_VERSION = re.compile(r"[1-9][0-9]{0,9}")
_FORBIDDEN_IN_NAME = re.compile(r"[/:\x00-\x1f\x7f-\x9f]")
_CANONICAL_STAGE = {stage.lower(): stage for stage in STAGES}


class MalformedReferenceError(ValueError):
    """The text is not a reference to a model version. The message names the field and the accepted forms."""


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A registered model's name and exactly one way to choose its version.

    Raises MalformedReferenceError for a name, alias, version or stage that MLflow would not accept, and for
    none or several of them.
    """

    name: str
    alias: str | None = None
    version: str | None = None
    stage: str | None = None
    latest: bool = False

    def __post_init__(self) -> None:
        check_name(self.name)
        given = [self.alias is not None, self.version is not None, self.stage is not None, self.latest]
        if sum(given) != 1:
            raise MalformedReferenceError(
                "a model reference needs exactly one of alias, version, stage, latest"
            )
        if self.alias is not None:
            check_alias(self.alias)
        if self.version is not None and not _VERSION.fullmatch(self.version):
            raise MalformedReferenceError(VERSION_MESSAGE)
        if self.stage is not None and self.stage not in STAGES:
            raise MalformedReferenceError(STAGE_MESSAGE)

    @property
    def display(self) -> str:
        """The choice of the version as shown to people: `@champion`, `3`, `latest` or `Production`."""
        if self.alias is not None:
            return f"@{self.alias}"
        return self.version or self.stage or "latest"

    @property
    def moves(self) -> bool:
        """Whether the registry can point the reference at another version. False for an exact version."""
        return self.version is None

    @property
    def uri(self) -> str:
        """The reference as a URI that `parse_reference` reads back."""
        separator = "" if self.alias is not None else "/"
        return f"models:/{self.name}{separator}{self.display}"

    def __str__(self) -> str:
        return self.uri


def check_name(name: str) -> None:
    """Raises MalformedReferenceError unless `name` can be the name of a registered model."""
    if (
        not name.strip()
        or len(name) > MAX_MODEL_NAME_LENGTH
        or name == "."
        or name.startswith("..")
        or _FORBIDDEN_IN_NAME.search(name)
    ):
        raise MalformedReferenceError(NAME_MESSAGE)


def check_alias(alias: str) -> None:
    """Raises MalformedReferenceError unless `alias` can be an alias in MLflow."""
    if not _ALIAS.fullmatch(alias):
        raise MalformedReferenceError(ALIAS_MESSAGE)
    if _RESERVED_ALIAS.fullmatch(alias):
        raise MalformedReferenceError(RESERVED_ALIAS_MESSAGE)


def choose_version(name: str, version: str) -> ModelReference:
    """Returns the reference to `version` of the model `name`: a number, or `latest` in any letter case.

    Raises MalformedReferenceError for any other text.
    """
    if version.lower() == "latest":
        return ModelReference(name, latest=True)
    return ModelReference(name, version=version)


def parse_reference(uri: str) -> ModelReference:
    """Reads a `models:/` URI. Stages and `latest` may be written in any letter case, as in MLflow.

    The URI is taken literally: `%20` is three characters of the name, and `?` and `#` are part of it.
    Raises MalformedReferenceError, whose message lists the accepted forms.
    """
    scheme, separator, rest = uri.partition(":/")
    if scheme != "models" or not separator or len(uri) > MAX_URI_LENGTH:
        raise MalformedReferenceError(URI_MESSAGE)
    name, slash, suffix = rest.partition("/")
    if not slash:
        name, at, alias = rest.rpartition("@")
        if not at:
            raise MalformedReferenceError(URI_MESSAGE)
        return _from_uri(name, alias=alias)
    if suffix.lower() in _CANONICAL_STAGE:
        return _from_uri(name, stage=_CANONICAL_STAGE[suffix.lower()])
    if suffix.lower() == "latest":
        return _from_uri(name, latest=True)
    return _from_uri(name, version=suffix)


def _from_uri(
    name: str,
    *,
    alias: str | None = None,
    version: str | None = None,
    stage: str | None = None,
    latest: bool = False,
) -> ModelReference:
    try:
        return ModelReference(name, alias=alias, version=version, stage=stage, latest=latest)
    except MalformedReferenceError as error:
        if str(error) == RESERVED_ALIAS_MESSAGE:
            raise MalformedReferenceError(
                RESERVED_ALIAS_MESSAGE.replace("model.alias", "model.uri", 1)
            ) from None
        raise MalformedReferenceError(URI_MESSAGE) from None
