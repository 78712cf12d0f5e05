"""ModelDeployments: the fields that a reconcile needs in addition to the parsed spec, and the report of a status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from model_operator.domain.objects.children import is_leaving
from model_operator.domain.objects.fields import (
    Object,
    mapping,
    metadata,
    newest,
    number,
    part,
    read_time,
    spec,
    status,
    text,
)


@dataclass(frozen=True, slots=True)
class ModelDeployment:
    """A ModelDeployment as it was read."""

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    leaving: bool
    """Whether it is being deleted."""
    created: datetime | None
    labels: Mapping[str, Any]
    annotations: Mapping[str, Any]
    spec: Object
    status: Object
    raw: Object = field(repr=False)
    """The JSON that it was read from, for strict parsing."""


def read_modeldeployment(raw: Object) -> ModelDeployment:
    """The view of a ModelDeployment."""
    meta = metadata(raw)
    return ModelDeployment(
        namespace=text(meta.get("namespace")),
        name=text(meta.get("name")),
        uid=text(meta.get("uid")),
        generation=number(meta.get("generation")),
        resource_version=text(meta.get("resourceVersion")),
        leaving=is_leaving(meta),
        created=read_time(meta.get("creationTimestamp")),
        labels=part(meta, "labels"),
        annotations=part(meta, "annotations"),
        spec=spec(raw),
        status=status(raw),
        raw=raw,
    )


# --- the report of a status ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReportedCondition:
    """A condition, with the texts of the status."""

    type: str
    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReportedVersion:
    """A serving, candidate, rejected or resolved version of the status. Missing fields are empty."""

    version: str
    at: datetime | None
    """The time since which it has this role."""
    phase: str = ""
    side: str = ""
    reason: str = ""
    settled: bool = False
    was_live: bool = False
    """Of a rejected version: whether it was serving until then."""


@dataclass(frozen=True, slots=True)
class Report:
    """The report of a ModelDeployment for metrics: its status, and some fields of its spec."""

    namespace: str
    name: str
    model: str
    alias: str
    registry: str
    """The registry of the configuration that the spec names. Empty if it names none."""
    has_own_registry: bool
    """Whether the spec has the URL of a registry."""
    strategy: str
    suspended: bool
    conditions: Sequence[ReportedCondition]
    serving: ReportedVersion
    candidate: ReportedVersion
    rejected: ReportedVersion
    """The resolved version if it was rejected, else the newest rejected one."""
    resolved: ReportedVersion
    """The version that the registry named last."""
    replicas: int
    ready_replicas: int


def read_report(raw: Object) -> Report:
    """The report of a ModelDeployment."""
    meta, wanted, seen = metadata(raw), spec(raw), status(raw)
    registry, serving = part(wanted, "registry"), part(seen, "serving")
    candidate, resolved = part(seen, "candidate"), part(seen, "resolved")
    return Report(
        namespace=text(meta.get("namespace")),
        name=text(meta.get("name")),
        model=text(seen.get("modelName")),
        alias=text(seen.get("alias")),
        registry=text(registry.get("name")),
        has_own_registry=bool(registry.get("url")),
        strategy=text(part(wanted, "rollout").get("strategy")),
        suspended=wanted.get("suspend") is True,
        conditions=tuple(_read_reported_conditions(seen)),
        serving=ReportedVersion(
            text(serving.get("version")),
            read_time(serving.get("since")),
            settled=serving.get("settled") is True,
        ),
        candidate=ReportedVersion(
            text(candidate.get("version")),
            read_time(candidate.get("since")),
            phase=text(candidate.get("phase")),
            reason=text(candidate.get("reason")),
        ),
        rejected=_read_rejected(seen, resolved.get("version")),
        resolved=ReportedVersion(text(resolved.get("version")), read_time(resolved.get("at"))),
        replicas=number(seen.get("replicas")),
        ready_replicas=number(seen.get("readyReplicas")),
    )


def _read_reported_conditions(seen: Object) -> list[ReportedCondition]:
    return [
        ReportedCondition(text(raw.get("type")), text(raw.get("status")), text(raw.get("reason")))
        for raw in _entries(seen, "conditions")
    ]


def _read_rejected(seen: Object, wanted: object) -> ReportedVersion:
    of_wanted = (raw for raw in _entries(seen, "rejected") if raw.get("version") == wanted)
    rejected = next(of_wanted, None) or newest(seen, "rejected")
    # a revert writes both with the same time
    left = [(raw.get("revision"), raw.get("to")) for raw in _entries(seen, "history")]
    return ReportedVersion(
        text(rejected.get("version")),
        read_time(rejected.get("at")),
        side=text(rejected.get("side")),
        reason=text(rejected.get("reason")),
        was_live=(rejected.get("revision"), rejected.get("at")) in left,
    )


def _entries(seen: Object, name: str) -> list[Object]:
    found = seen.get(name)
    return [mapping(raw) for raw in found if isinstance(raw, Mapping)] if isinstance(found, list) else []
