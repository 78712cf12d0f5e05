"""Worlds for the tests of the planner's parts: one ModelDeployment with what it has around it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from model_operator.api import names
from model_operator.api.spec import ModelDeploymentSpec
from model_operator.domain.objects import (
    Kind,
    read_autoscaler,
    read_child,
    read_deployment,
    read_disruption_budget,
    read_endpoint_slice,
    read_pod,
    read_service,
)
from model_operator.domain.registry import (
    ModelDescription,
    Resolution,
    ResolutionReason,
    ResolvedVersion,
    VersionFacts,
    VersionId,
)
from model_operator.domain.revision import Revision, Side, Target, Verdict, VerdictState
from model_operator.domain.world import Children, Defaults, PodRegistry, World
from model_operator.planner.manifests import Owner, controller_revision, revision_name, track_selector

Json = dict[str, Any]

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
UID = "uid-md"
OWNER = Owner("crm", "churn", UID)
READERS: dict[str, Callable[[Json], object]] = {
    "deployments": read_deployment,
    "service": read_service,
    "preview": read_service,
    "autoscaler": read_autoscaler,
    "disruption_budget": read_disruption_budget,
    "config_maps": partial(read_child, Kind.CONFIG_MAP),
    "revision_objects": partial(read_child, Kind.REVISION),
    "pods": read_pod,
    "endpoint_slices": read_endpoint_slice,
}
"""How the children are read, by their fields of ``Children``."""
SPEC: Json = {
    "model": {"name": "churn", "alias": "champion"},
    "replicas": 2,
    "gates": {"signature": "Ignore"},
}
"""Without gates: the tests of gates set them."""


UNSIGNED = VersionFacts(description=ModelDescription())
"""The facts of a version whose model was logged without a signature."""


def ago(seconds: float) -> datetime:
    """The moment that many seconds before NOW."""
    return NOW - timedelta(seconds=seconds)


def target(version: str, **pod_spec: Any) -> Target:
    """The target for a version of the model churn."""
    kept = {"registry": {"name": "default"}, **pod_spec}
    return Target("http://mlflow:5000", "churn", version, f"run-{version}", f"models:/m-{version}", "", kept)


def revision(version: str, number: int = 0, verdict: Verdict | None = None, **pod_spec: Any) -> Revision:
    """A kept revision of that version; its pods mount the ConfigMap churn-scripts-old."""
    asked = target(version, **pod_spec)
    name = revision_name(asked)
    labels = {"model-operator.io/revision": name, **track_selector(OWNER)}
    annotations = {names.ANNOTATION_VERSION: version}
    template = {"metadata": {"labels": labels, "annotations": annotations}, "spec": {}}
    return Revision(
        name,
        number or int(version),
        asked,
        {"server": "server:1", "fetch": "fetch:1"},
        template,
        "churn-scripts-old",
        verdict,
        f"uid-{name}",
    )


def live(seconds: float = 600, settled: bool = False) -> Verdict:
    """The verdict on what went live that long ago."""
    return Verdict(VerdictState.LIVE, ago(seconds), settled=settled)


def rejected(reason: str = "LoadFailed", side: Side = Side.MODEL, seconds: float = 300) -> Verdict:
    """The verdict on what was rejected that long ago."""
    return Verdict(VerdictState.REJECTED, ago(seconds), side, reason, "it said so")


def resolved(version: str) -> Resolution:
    """The registry's answer that the alias means ``version``."""
    found = ResolvedVersion("churn", version, "@champion", f"run-{version}", f"models:/m-{version}")
    return Resolution(ResolutionReason.RESOLVED, "", "http://mlflow:5000", found)


def carrying(kept: Revision, replicas: int = 2, track: str = "churn", **status: Any) -> Json:
    """A track's Deployment that carries a revision, complete unless ``status`` says otherwise."""
    counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas", "readyReplicas"), replicas)
    return {
        "kind": "Deployment",
        "metadata": {
            "name": track,
            "uid": f"uid-{track}",
            "generation": 1,
            "resourceVersion": "7",
            "ownerReferences": [OWNER.reference()],
        },
        "spec": {"replicas": replicas, "template": _on_track(kept, track)},
        "status": {"observedGeneration": 1, **counts, **status},
    }


def _on_track(kept: Revision, track: str) -> Json:
    template = deepcopy(dict(kept.template))
    template["metadata"]["labels"][names.LABEL_TRACK] = track
    return template


def pointing(track: str) -> Json:
    """A Service that sends its requests to that track."""
    return {
        "kind": "Service",
        "metadata": {
            "name": "churn",
            "uid": "uid-service",
            "resourceVersion": "8",
            "ownerReferences": [OWNER.reference()],
        },
        "spec": {"selector": track_selector(OWNER, track)},
    }


def scripts(name: str = "churn-scripts-old") -> Json:
    """A ConfigMap with the scripts of some build of the operator."""
    return {
        "kind": "ConfigMap",
        "metadata": {"name": name, "uid": name, "ownerReferences": [OWNER.reference()]},
    }


def world(*kept: Revision, version: str = "1", spec: Json | None = None, **more: Any) -> World:
    """A World with these revisions; ``deployment``, ``pods`` and other children may be given by name."""
    if deployment := more.pop("deployment", None):
        more["deployments"] = {"churn": deployment}
    if kept:
        more.setdefault("config_maps", (scripts(),))
    more.setdefault("facts", {VersionId("churn", str(number)): UNSIGNED for number in range(1, 20)})
    children = {name: more.pop(name) for name in READERS if name in more}
    children.setdefault("revision_objects", kept_objects(*kept))
    raw = SPEC | (spec or {})
    made = World(
        now=NOW,
        namespace="crm",
        name="churn",
        uid=UID,
        generation=1,
        parsed_spec=ModelDeploymentSpec.model_validate(raw),
        spec_raw=raw,
        status={},
        resolution=resolved(version),
        children=Children(revisions=kept, **read_children(**children)),
        defaults=Defaults("server:1", "fetch:1", {"fetch.py": "1", "serve.py": "1"}),
        pod_registry=PodRegistry("http://mlflow:5000"),
    )
    return replace(made, **more)


def kept_objects(*kept: Revision) -> tuple[Json, ...]:
    """The ControllerRevisions that keep these revisions."""
    bodies = [controller_revision(OWNER, revision) for revision in kept]
    return tuple(
        {**body, "metadata": body["metadata"] | {"uid": revision.uid}}
        for revision, body in zip(kept, bodies, strict=True)
    )


def read_children(**objects: Any) -> Json:
    """The views of children, which are given as the API server has them, by the names of their fields."""
    views: Json = {}
    for field, found in objects.items():
        read = READERS[field]
        if isinstance(found, dict) and field == "deployments":
            views[field] = {track: read(raw) for track, raw in found.items()}
        elif isinstance(found, list | tuple):
            views[field] = tuple(map(read, found))
        else:
            views[field] = read(found) if found is not None else None
    return views
