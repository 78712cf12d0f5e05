"""The answers of a model registry: the version behind a reference, and the facts of one version.

Plain frozen values. Gates judge the facts before a version may start. Everything here came from the registry and
was checked for type and size when it was read. Numbers may still be NaN or infinite, and texts say what they like.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple


class ResolutionReason(StrEnum):
    """Why a model reference is, or is not, resolved; these are reasons of the condition ``Resolved``."""

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
        """True when the answer is a fact about the registry, False when it could not be found out."""
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
    """An exact model version, as the registry described it.

    ``alias`` is the reference as a person would write it: ``@champion``, ``3``, ``latest``, ``Production``.
    """

    model: str
    version: str
    alias: str
    run_id: str = ""
    source: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Resolution:
    """The registry's answer for one reference; ``version`` may be the last good one beside a failure."""

    reason: ResolutionReason
    message: str
    registry_url: str = ""
    version: ResolvedVersion | None = None

    @property
    def ok(self) -> bool:
        """True when ``version`` is what the registry says now."""
        return self.reason is ResolutionReason.RESOLVED and self.version is not None


class VersionId(NamedTuple):
    """One version of one model of the registry that a ModelDeployment follows."""

    model: str
    version: str


@dataclass(frozen=True, slots=True)
class Metric:
    """The last value of one metric; NaN and infinities are kept as they are."""

    name: str
    value: float
    dataset: str = ""
    """The dataset that it was measured on; empty where the registry does not say."""


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What the model's own file (``MLmodel``) and its list of requirements say."""

    signature: Mapping[str, Any] | None = None
    """``inputs``, ``outputs`` and ``params`` as the lists that MLflow writes, each may be absent. None: it has none."""
    input_example: bool = False
    """Whether the model carries an example that can be put through it."""
    size_bytes: int | None = None
    """None where the file does not say."""
    python_version: str = ""
    """Such as ``3.11.9``; empty where the file does not say."""
    requirements: Sequence[str] | None = None
    """The requirements of ``requirements.txt`` and of the files that it names, without options such as hashes.

    None: the model has no such file. A file that could not be read stays as a line such as ``-r other.txt``.
    """
    constraints: Sequence[str] = ()
    """The requirements of constraints files, which bound the version of a package without requiring it."""


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """What is known of one version so far; what is None is not known (yet), and ``problem`` may say why."""

    metrics: Sequence[Metric] | None = None
    description: ModelDescription | None = None
    metrics_problem: str = ""
    """Why the metrics could not be read, in words for the status; empty while they are still being asked for."""
    description_problem: str = ""
    """Why the description could not be read; empty while it is still being asked for."""


@dataclass(frozen=True, slots=True)
class FactsWanted:
    """What a plan needs to know of one version; it is read again and again while a plan says so."""

    id: VersionId
    run_id: str
    source: str
    metrics: bool = False
    description: bool = False


@dataclass(frozen=True, slots=True)
class ImageContents:
    """What is installed in a serving image, as far as the operator's configuration says."""

    python_version: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Normalised package name (PEP 503) to version."""
