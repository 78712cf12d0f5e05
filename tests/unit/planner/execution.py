"""What becomes of a World when a plan is carried out, and when Kubernetes has done its part."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

from tests.unit.planner.worlds import ago, read_children

from model_operator.api import names
from model_operator.domain.objects import Kind, ObjectRef, rfc3339
from model_operator.domain.plan import Action, Adopt, Apply, Create, Delete, Plan, RecordVerdict, Scale
from model_operator.domain.world import Children, World
from model_operator.planner.manifests import read_revision
from model_operator.planner.state import verdict_annotation

Json = dict[str, Any]
Objects = dict[tuple[Kind, str], Json]

PREVIEW = "churn" + names.PREVIEW_SUFFIX


def carry_out(seen: World, decided: Plan) -> World:
    """The world after the status was written and every action was carried out, at the same moment."""
    objects = _objects(seen.children)
    for action in decided.actions:
        _carry_out(objects, action)
    return replace(seen, status=deepcopy(dict(decided.status)), children=_children(seen.children, objects))


def with_pods(seen: World) -> World:
    """The world after Kubernetes made every Deployment's pods ready, and the endpoints follow the Service."""
    deployments, pods = {}, []
    for track, live in seen.children.deployments.items():
        counts = dict.fromkeys(
            ("replicas", "updatedReplicas", "availableReplicas", "readyReplicas"), live.replicas
        )
        generation = live.raw["metadata"]["generation"]
        deployments[track] = {**live.raw, "status": {"observedGeneration": generation, **counts}}
        pods += [ready_pod(f"{track}-{n}", track, live.revision) for n in range(live.replicas)]
    pointed = [p["metadata"]["name"] for p in pods if _track_of(p) == seen.service_track]
    views = read_children(deployments=deployments, pods=pods, endpoint_slices=[endpoints(*pointed)])
    return replace(seen, children=replace(seen.children, **views))


def _track_of(pod: Json) -> str:
    return str(pod["metadata"]["labels"][names.LABEL_TRACK])


def ready_pod(name: str, track: str, revision: str) -> Json:
    """A pod that answers requests."""
    since = rfc3339(ago(900))
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": since}
        for kind in ("PodScheduled", "Initialized", "Ready")
    ]
    labels = {names.LABEL_TRACK: track, names.LABEL_REVISION: revision}
    return {
        "metadata": {"name": name, "creationTimestamp": since, "labels": labels},
        "status": {"phase": "Running", "conditions": conditions},
    }


def endpoints(*pods: str, service: str = "churn") -> Json:
    """An EndpointSlice with these pods ready."""
    found = [{"conditions": {"ready": True}, "targetRef": {"kind": "Pod", "name": pod}} for pod in pods]
    metadata = {"name": f"{service}-abc", "labels": {"kubernetes.io/service-name": service}}
    return {"kind": "EndpointSlice", "metadata": metadata, "endpoints": found}


def _carry_out(objects: Objects, action: Action) -> None:
    ref: ObjectRef = action.ref
    key = (ref.kind, ref.name)
    match action:
        case Create(_, body):
            assert key not in objects, f"{ref} is there already"
            metadata = {**body["metadata"], "uid": f"uid-{ref}", "resourceVersion": "1", "generation": 1}
            objects[key] = {"kind": str(ref.kind), **deepcopy(dict(body)), "metadata": metadata}
        case Apply(_, body, uid, _):
            assert objects[key]["metadata"]["uid"] == uid
            objects[key] = _applied(objects[key], body)
        case Adopt(_, uid, owner):
            assert objects[key]["metadata"]["uid"] == uid
            objects[key]["metadata"]["ownerReferences"] = [dict(owner)]
        case Scale(_, replicas, _):
            objects[key]["spec"]["replicas"] = replicas
            objects[key]["metadata"]["generation"] += 1
        case Delete(_, uid):
            assert objects.pop(key)["metadata"]["uid"] == uid
        case RecordVerdict(_, verdict):
            objects[key]["metadata"].setdefault("annotations", {}).update(verdict_annotation(verdict))


def _applied(live: Mapping[str, Any], body: Mapping[str, Any]) -> Json:
    made = deepcopy(dict(live)) | deepcopy({k: v for k, v in body.items() if k != "metadata"})
    made["metadata"] = dict(live["metadata"]) | deepcopy(dict(body["metadata"]))
    made["metadata"]["generation"] = live["metadata"].get("generation", 1) + 1
    if "replicas" in live.get("spec", {}):
        made["spec"]["replicas"] = live["spec"]["replicas"]
    return made


def _objects(children: Children) -> Objects:
    single = (children.service, children.preview, children.autoscaler, children.disruption_budget)
    several = (*children.deployments.values(), *children.config_maps, *children.revision_objects)
    return {
        (child.kind, child.name): deepcopy(dict(child.raw))
        for child in (*single, *several)
        if child is not None
    }


def _children(before: Children, objects: Objects) -> Children:
    def all_of(kind: Kind) -> list[Json]:
        return [raw for (found, _), raw in objects.items() if found is kind]

    kept = sorted(all_of(Kind.REVISION), key=lambda raw: int(raw.get("revision", 0)))
    views = read_children(
        deployments={name: raw for (kind, name), raw in objects.items() if kind is Kind.DEPLOYMENT},
        service=objects.get((Kind.SERVICE, "churn")),
        preview=objects.get((Kind.SERVICE, PREVIEW)),
        autoscaler=objects.get((Kind.AUTOSCALER, "churn")),
        disruption_budget=objects.get((Kind.DISRUPTION_BUDGET, "churn")),
        config_maps=all_of(Kind.CONFIG_MAP),
        revision_objects=kept,
    )
    revisions = tuple(revision for raw in kept if (revision := read_revision(raw)))
    return replace(before, revisions=revisions, **views)
