"""The interface of clients for model registries, and the resolution of a reference."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from model_operator.api.reference import ModelReference
from model_operator.domain.registry import (
    Metric,
    ModelDescription,
    Resolution,
    ResolutionReason,
    ResolvedVersion,
)


class RegistryConfig(Protocol):
    """The fields of an entry of the configuration's ``registries`` that clients read. An empty path is "none"."""

    @property
    def url(self) -> str: ...
    @property
    def credentials_dir(self) -> str: ...
    @property
    def ca_file(self) -> str: ...
    @property
    def workspace(self) -> str: ...
    @property
    def requests_per_second(self) -> float: ...
    @property
    def type(self) -> str: ...


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """One version from the registry. Each field was checked for type and length."""

    model: str
    version: str
    """Digits only."""
    ready: bool
    status: str
    stage: str
    run_id: str
    source: str
    tags: Mapping[str, str] = field(default_factory=dict)
    is_prompt: bool = False
    """A version of a prompt, which MLflow stores among the models."""


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """One registered model with the versions of its aliases and the newest version of each stage."""

    name: str
    aliases: Mapping[str, str] = field(default_factory=dict)
    newest: Sequence[VersionRecord] = ()
    is_prompt: bool = False
    """A prompt, which MLflow stores among the models."""
    aliases_only: bool = False
    """The registry has no stages and no newest version. You can only follow an alias or an exact version."""


class RegistryError(Exception):
    """The registry gave no usable answer. ``reason`` and ``message`` go to the status unchanged."""

    def __init__(self, reason: ResolutionReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    @property
    def concerns_whole_registry(self) -> bool:
        """Whether a request for another model of this registry would fail in the same way."""
        return self.reason in _WHOLE_REGISTRY


_WHOLE_REGISTRY = frozenset(
    {
        ResolutionReason.UNREACHABLE,
        ResolutionReason.UNAUTHORIZED,
        ResolutionReason.HOST_HEADER_REFUSED,
        ResolutionReason.MISCONFIGURED,
        ResolutionReason.UNKNOWN_REGISTRY,
    }
)


SAID_NO = frozenset(
    {
        ResolutionReason.MODEL_NOT_FOUND,
        ResolutionReason.ALIAS_NOT_FOUND,
        ResolutionReason.VERSION_NOT_FOUND,
        ResolutionReason.STAGE_NOT_FOUND,
        ResolutionReason.VERSION_NOT_READY,
    }
)
"""The registry reports that there is no usable version. An earlier answer is not valid any more."""


class RegistryClient(Protocol):
    """One registry with one set of credentials. Every method raises only RegistryError.

    The operator needs nothing else of a registry. Another kind is one more file (docs/project/add-a-registry.md).
    """

    @property
    def lists_models(self) -> bool:
        """Whether listings contain the same data as single requests. If not, they are empty and never read."""
        ...

    @property
    def url(self) -> str:
        """The base URL, without credentials and without a trailing slash."""
        ...

    async def model(self, name: str) -> ModelRecord:
        """One registered model. Raises ModelNotFound."""
        ...

    async def version(self, name: str, version: str) -> VersionRecord:
        """One exact version. Raises ModelNotFound or VersionNotFound."""
        ...

    def models(self) -> AsyncGenerator[Sequence[ModelRecord], None]:
        """All models that these credentials can read, by pages. A concurrent change may hide a row."""
        ...

    def versions(self) -> AsyncGenerator[Sequence[VersionRecord], None]:
        """All versions that these credentials can read, by pages, the last changed first."""
        ...

    async def set_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        """Set a tag of one version, with one attempt. Overwrites an earlier value.

        Raises Forbidden if these credentials can't write, and VersionNotFound if there is no such version.
        """
        ...

    async def metrics(self, run_id: str, source: str) -> Sequence[Metric]:
        """The last value of each metric of a version, by dataset if the registry records datasets."""
        ...

    async def description(self, name: str, version: str) -> ModelDescription:
        """The description of a version in its own files."""
        ...

    async def aclose(self) -> None:
        """Close connections. The client can't be used afterwards."""
        ...


async def resolve(client: RegistryClient, reference: ModelReference) -> Resolution:
    """Resolve one reference now, in one or two requests. A failure is an answer, too."""
    try:
        if reference.version is not None:
            record = await client.version(reference.name, reference.version)
        else:
            model = await client.model(reference.name)
            number = version_of(model, reference, client.url)
            record = newest_of(model, number) or await client.version(reference.name, number)
        return to_resolution(record, reference, client.url)
    except RegistryError as failure:
        return Resolution(failure.reason, failure.message, client.url)


def version_of(model: ModelRecord, reference: ModelReference, url: str) -> str:
    """The version number that the reference (not an exact one) names in this model.

    Raises RegistryError with ModelNotFound for a prompt, AliasNotFound, StageNotFound or VersionNotFound.
    """
    if model.is_prompt:
        raise RegistryError(ResolutionReason.MODEL_NOT_FOUND, _describe_prompt(model.name, url))
    if reference.alias is not None:
        if number := model.aliases.get(reference.alias):
            return number
        known = ", ".join(f"@{alias}" for alias in sorted(model.aliases)[:8])
        raise RegistryError(
            ResolutionReason.ALIAS_NOT_FOUND,
            f"model '{shorten(model.name)}' has no alias '{shorten(reference.alias)}' at {url}. "
            + (f"It has {shorten(known)}" if known else "It has no aliases. Set one on the version to serve"),
        )
    if model.aliases_only:
        stage = reference.stage is not None
        raise RegistryError(
            ResolutionReason.STAGE_NOT_FOUND if stage else ResolutionReason.VERSION_NOT_FOUND,
            f"{url} has no {'stages' if stage else 'newest version'} of a model. Follow an alias of "
            f"'{shorten(model.name)}', or name an exact version",
        )
    if reference.stage is not None:
        wanted = reference.stage.lower()
        staged = [version for version in model.newest if version.stage.lower() == wanted]
        if staged:
            return _highest(staged).version
        raise RegistryError(
            ResolutionReason.STAGE_NOT_FOUND,
            f"model '{shorten(model.name)}' has no version in stage '{shorten(reference.stage)}' at {url}. "
            "Move a version to that stage, or follow an alias",
        )
    if model.newest:
        return _highest(model.newest).version
    raise RegistryError(
        ResolutionReason.VERSION_NOT_FOUND,
        f"model '{shorten(model.name)}' has no versions at {url}. Register one",
    )


def newest_of(model: ModelRecord, number: str) -> VersionRecord | None:
    """The record of that version, if the model's own record contains it."""
    return next((version for version in model.newest if version.version == number), None)


def to_resolution(record: VersionRecord, reference: ModelReference, url: str) -> Resolution:
    """The resolution to this version: Resolved, VersionNotReady, or ModelNotFound for a prompt."""
    if record.is_prompt:
        return Resolution(ResolutionReason.MODEL_NOT_FOUND, _describe_prompt(record.model, url), url)
    if not record.ready:
        return Resolution(
            ResolutionReason.VERSION_NOT_READY,
            f"version {record.version} of '{shorten(record.model)}' is {shorten(record.status)}, not READY, "
            f"at {url}. Register it again if its upload failed",
            url,
        )
    version = ResolvedVersion(
        model=reference.name,
        version=record.version,
        alias=reference.display,
        run_id=record.run_id,
        source=record.source,
        tags=record.tags,
    )
    named = shorten(reference.name)
    message = (
        f"'{named}' has version {record.version}"
        if reference.version is not None
        else f"'{named}' {shorten(reference.display)} is version {record.version}"
    )
    return Resolution(ResolutionReason.RESOLVED, message, url, version)


def _describe_prompt(name: str, url: str) -> str:
    return f"'{shorten(name)}' is a prompt, not a model, at {url}. Name a registered model in spec.model.uri"


def with_last_good(answer: Resolution, last: ResolvedVersion | None) -> Resolution:
    """Add the last known version to a failure without an answer. Other answers are returned unchanged."""
    if last is None or answer.ok or answer.reason in SAID_NO:
        return answer
    return replace(answer, version=last)


def shorten(text: str, limit: int = 300) -> str:
    """Foreign text for a message, without control characters, with single spaces, cut to ``limit``."""
    if len(text) <= limit and text.isprintable():
        return text
    # cut a long text before cleaning it, since cleaning 8 MiB character by character takes seconds
    folded = " ".join("".join(c if c.isprintable() else " " for c in text[: limit * 4]).split())
    return folded if len(folded) <= limit else folded[: limit - 3] + "..."


def _highest(versions: Sequence[VersionRecord]) -> VersionRecord:
    return max(versions, key=lambda version: int(version.version))
