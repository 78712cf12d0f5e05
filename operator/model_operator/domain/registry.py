"""The answers of a model registry: the version behind a reference, and the facts of one version.

Plain frozen values. Gates judge the facts before a version may start. Everything here came from the registry and
was checked for type and size when it was read. Numbers may still be NaN or infinite, and texts are untrusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple


class ResolutionReason(StrEnum):
    """The reasons of the condition ``Resolved``: why a model reference is, or is not, resolved."""

    RESOLVED = "Resolved"
    PENDING = "Pending"
    MODEL_NOT_FOUND = "ModelNotFound"
    ALIAS_NOT_FOUND = "AliasNotFound"
    VERSION_NOT_FOUND = "VersionNotFound"
    STAGE_NOT_FOUND = "StageNotFound"
    VERSION_NOT_READY = "VersionNotReady"
    UNAUTHORIZED = "Unauthorized"
    FORBIDDEN = "Forbidden"
    HOST_HEADER_REFUSED = "HostHeaderRefused"
    UNREACHABLE = "RegistryUnreachable"
    REGISTRY_ERROR = "RegistryError"
    UNEXPECTED_ANSWER = "UnexpectedAnswer"
    ANSWER_TOO_LARGE = "AnswerTooLarge"
    UNKNOWN_REGISTRY = "UnknownRegistry"
    MISCONFIGURED = "RegistryMisconfigured"

    @property
    def definite(self) -> bool:
        """Whether the answer is a fact about the registry. False if there was no usable answer."""
        return self in _DEFINITE


_DEFINITE = frozenset(
    {
        ResolutionReason.RESOLVED,
        ResolutionReason.MODEL_NOT_FOUND,
        ResolutionReason.ALIAS_NOT_FOUND,
        ResolutionReason.VERSION_NOT_FOUND,
        ResolutionReason.STAGE_NOT_FOUND,
        ResolutionReason.VERSION_NOT_READY,
        ResolutionReason.UNAUTHORIZED,
        ResolutionReason.FORBIDDEN,
        ResolutionReason.HOST_HEADER_REFUSED,
        ResolutionReason.UNKNOWN_REGISTRY,
        ResolutionReason.MISCONFIGURED,
    }
)


@dataclass(frozen=True, slots=True)
class ResolvedVersion:
    """An exact model version from the registry.

    ``alias`` is the reference as a person writes it: ``@champion``, ``3``, ``latest``, ``Production``.
    """

    model: str
    version: str
    alias: str
    run_id: str = ""
    source: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Resolution:
    """The registry's answer for one reference. After a failure, ``version`` may be the last good one."""

    reason: ResolutionReason
    message: str
    registry_url: str = ""
    version: ResolvedVersion | None = None

    @property
    def ok(self) -> bool:
        """Whether ``version`` is the registry's present answer."""
        return self.reason is ResolutionReason.RESOLVED and self.version is not None


class VersionId(NamedTuple):
    """One version of one model in the registry of a ModelDeployment."""

    model: str
    version: str


@dataclass(frozen=True, slots=True)
class Metric:
    """The last value of one metric. It may be NaN or infinite."""

    name: str
    value: float
    dataset: str = ""
    """The dataset that it was measured on. Empty if the registry has none."""


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """The contents of the model's file ``MLmodel`` and of its requirements."""

    signature: Mapping[str, Any] | None = None
    """``inputs``, ``outputs`` and ``params`` as MLflow's lists. Each may be absent. None: there is no signature."""
    input_example: bool = False
    """Whether the model has an input example that can be sent to it."""
    size_bytes: int | None = None
    """None if the file doesn't have it."""
    python_version: str = ""
    """Such as ``3.11.9``. Empty if the file doesn't have it."""
    requirements: Sequence[str] | None = None
    """The requirements of ``requirements.txt`` and of the files that it names, without options such as hashes.

    None: the model has no such file. A file that could not be read stays as a line such as ``-r other.txt``.
    """
    constraints: Sequence[str] = ()
    """The requirements of constraints files, which bound the version of a package without requiring it."""


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """The facts of one version that have been read so far. None: not read, and the ``_problem`` may have the reason."""

    metrics: Sequence[Metric] | None = None
    description: ModelDescription | None = None
    metrics_problem: str = ""
    """Why the metrics could not be read, as text for the status. Empty while they are still being read."""
    description_problem: str = ""
    """Why the description could not be read. Empty while it is still being read."""


@dataclass(frozen=True, slots=True)
class FactsWanted:
    """The facts of one version that a plan needs. They are read repeatedly while a plan needs them."""

    id: VersionId
    run_id: str
    source: str
    metrics: bool = False
    description: bool = False


@dataclass(frozen=True, slots=True)
class ImageContents:
    """The contents of a serving image, from the operator's configuration (``images.contents``)."""

    python_version: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Normalised package name (PEP 503) to version."""
