"""Whether the serving image has what a model needs, as far as both say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from model_operator.api.spec import GatesSpec
from model_operator.domain.registry import ImageContents, ModelDescription
from model_operator.planner.gates.base import (
    OVERRIDE_REMEDY,
    Fact,
    Gate,
    GateOutcome,
    GateResult,
    Subject,
    failed,
    find_description,
    passed,
    warned,
)

_NAME: Final = "Requirements"
MAX_UNMET = 8
MAX_LINES = 500
MAX_LINE = 300
# MLflow pins itself to the last digit in every model that it logs, and loads those of all its minor versions
_MLFLOW = frozenset({"mlflow", "mlflow-skinny"})
_MAJOR_MINOR = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}(?=\.|$)")


def _is_set(gates: GatesSpec) -> bool:
    return gates.requirements != "Ignore"


def _judge(gates: GatesSpec, subject: Subject) -> GateResult:
    if subject.image is None:
        text = "the operator's configuration does not say what is in the serving image (images.contents)"
        return GateResult(_NAME, GateOutcome.WARNED, text, "ImageUnknown")
    return warned(_compare(subject, subject.image), only_warn=gates.requirements == "Warn")


def _compare(subject: Subject, image: ImageContents) -> GateResult:
    model = find_description(_NAME, subject.facts)
    if isinstance(model, GateResult):
        return model
    if complaints := unmet(model, image):
        text = (
            f"version {subject.version.version} {'; it '.join(complaints[:MAX_UNMET])}; "
            f"use an image that has it (spec.server.image), {OVERRIDE_REMEDY}"
        )
        return failed(_NAME, "RequirementsUnmet", text)
    return passed(_NAME, "the serving image has what it needs")


def unmet(description: ModelDescription, contents: ImageContents) -> Sequence[str]:
    """What the model needs and the image has not, each as the rest of a sentence about the version.

    Only what both sides say is judged. A requirement that is no name with versions (a URL, an option, an extra
    index, garbage) is left out, and so is one whose marker does not hold on the image's Linux and Python.
    """
    return (*_python(description.python_version, contents.python_version), *_packages(description, contents))


def _python(needed: str, had: str) -> Iterator[str]:
    wants, has = _MAJOR_MINOR.match(needed), _MAJOR_MINOR.match(had)
    if wants and has and wants.group() != has.group():
        # a pickle of one minor version need not load in another; patches don't matter
        yield f"was made with Python {wants.group()}, the image has {has.group()}"


def _packages(description: ModelDescription, contents: ImageContents) -> Iterator[str]:
    if not contents.packages:
        return
    for line in (description.requirements or ())[:MAX_LINES]:
        requirement = _read(line)
        if requirement is None or not _concerns(requirement, contents):
            continue
        found = contents.packages.get(canonicalize_name(requirement.name))
        if found is None:
            yield f"needs {requirement.name}{requirement.specifier}, which the image has not"
        elif not _fits(requirement, found):
            yield f"needs {requirement.name}{requirement.specifier}, the image has {found}"


def _read(line: str) -> Requirement | None:
    try:
        requirement = Requirement(line.strip()) if len(line) <= MAX_LINE else None
    except InvalidRequirement:
        return None
    return None if requirement is None or requirement.url else requirement


def _concerns(requirement: Requirement, contents: ImageContents) -> bool:
    if requirement.marker is None:
        return True
    environment = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
    if python := _MAJOR_MINOR.match(contents.python_version):
        environment |= {"python_version": python.group(), "python_full_version": contents.python_version}
    try:
        return requirement.marker.evaluate(environment)
    except (InvalidVersion, ValueError, KeyError):
        return False


def _major(version: str) -> int | None:
    try:
        return Version(version.removesuffix(".*")).major
    except InvalidVersion:
        return None


def _fits(requirement: Requirement, found: str) -> bool:
    try:
        version = Version(found)
    except InvalidVersion:
        return True
    if canonicalize_name(requirement.name) in _MLFLOW:
        pinned = [wanted.version for wanted in requirement.specifier if wanted.operator == "=="]
        if pinned and all(_major(pin) == version.major for pin in pinned):
            return True
    # a local part such as +cpu says how it was built, not what it can do; but it may be asked for
    return any(
        requirement.specifier.contains(candidate, prereleases=True)
        for candidate in (version, Version(version.public))
    )


REQUIREMENTS = Gate(_NAME, _is_set, _judge, frozenset({Fact.DESCRIPTION}))
