"""What a registry knows of one version beyond its name: metrics, signature, requirements. Plain frozen values.

Gates judge these before a version may start. Everything here came from the registry and was checked for type and
size when it was read; numbers may still be NaN or infinite, and texts say what they like.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


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
    """The lines of ``requirements.txt`` without comments; None: the model has no such file."""


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
