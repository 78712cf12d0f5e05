"""The API server of the simulation: stores the objects and carries the operator's actions out, as strictly as it."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping
from typing import Any

from model_operator.api import names
from model_operator.domain.objects import Kind
from model_operator.domain.plan import Action, Adopt, Apply, Create, Delete, RecordVerdict, Scale
from model_operator.planner.manifests import admission_patch
from model_operator.planner.state import verdict_annotation

Json = dict[str, Any]


class ApiServer:
    """The objects of one ModelDeployment by kind and name, and how each write is told."""

    def __init__(self) -> None:
        self.objects: dict[tuple[Kind, str], Json] = {}
        self.numbers = itertools.count(1)
        self.admission: Callable[[Kind, Json], None] = lambda kind, body: None
        """Changes each object that somebody writes, as a mutating webhook does."""

    def all(self, kind: Kind) -> tuple[Json, ...]:
        """Every object of that kind."""
        return tuple(obj for (k, _), obj in self.objects.items() if k is kind)

    def carry_out(self, action: Action) -> str:
        """Does it and tells it in one line; AssertionError for what a real API server would refuse."""
        key = (action.ref.kind, action.ref.name)
        match action:
            case Create(ref, body):
                assert key not in self.objects, f"{ref} is created twice"
                self.objects[key] = self._stored(ref.kind, body, f"uid-{next(self.numbers)}")
                if ref.kind is Kind.DEPLOYMENT:
                    return f"create {ref}: {_revision(body)}, {body['spec']['replicas']} replicas"
                return f"create {anonymous(ref.kind, ref.name)}{_elsewhere(ref.name, body)}"
            case Apply(ref, body, uid, version):
                return self._apply(ref.kind, key, body, (uid, version))
            case Adopt(ref, uid, owner):
                assert self.objects[key]["metadata"]["uid"] == uid
                self.objects[key]["metadata"]["ownerReferences"] = [dict(owner)]
                return f"adopt {anonymous(ref.kind, ref.name)}"
            case Scale(ref, replicas, version):
                self._expect(key, version)
                self.objects[key]["spec"]["replicas"] = replicas
                self._changed(key)
                return f"scale {ref} to {replicas}"
            case Delete(ref, uid, version):
                self._expect(key, version)
                assert self.objects.pop(key)["metadata"]["uid"] == uid
                return f"delete {anonymous(ref.kind, ref.name)}"
            case RecordVerdict(ref, verdict, version):
                self._expect(key, version)
                annotations = self.objects[key]["metadata"].setdefault("annotations", {})
                annotations |= verdict_annotation(verdict)
                shown = anonymous(ref.kind, ref.name)
                if verdict is None:
                    return f"forget the verdict of {shown}"
                settled = " settled" if verdict.settled else ""
                return f"remember {shown}: {verdict.state} {verdict.reason}".rstrip() + settled

    def _apply(self, kind: Kind, key: tuple[Kind, str], body: Any, seen: tuple[str, str]) -> str:
        uid, version = seen
        before = self.objects[key]
        assert before["metadata"]["uid"] == uid
        self._expect(key, version)
        stored = self._stored(kind, body, uid)
        stored["status"] = before["status"]
        stored["metadata"]["generation"] = before["metadata"]["generation"] + 1
        self.objects[key] = stored
        if kind is Kind.DEPLOYMENT:
            assert stored["spec"]["selector"] == before["spec"]["selector"], "a selector can't be changed"
            stored["spec"]["replicas"] = before["spec"]["replicas"]
            return f"apply {kind} {key[1]}: {_revision(body)}"
        moved = _track(before) != _track(body)
        return f"apply {kind} {key[1]}" + (f" -> {_track(body)}" if moved else "")

    def _expect(self, key: tuple[Kind, str], version: str) -> None:
        live = self.objects[key]["metadata"]["resourceVersion"]
        assert version in ("", live), f"{key} is written with a resourceVersion that is stale by now"

    def _changed(self, key: tuple[Kind, str]) -> None:
        metadata = self.objects[key]["metadata"]
        metadata["generation"] += 1
        metadata["resourceVersion"] = str(next(self.numbers))

    def _stored(self, kind: Kind, body: Mapping[str, Any], uid: str) -> Json:
        stored = copy.deepcopy(dict(body))
        self.admission(kind, stored)
        if patch := admission_patch(body, stored):
            stored["metadata"].setdefault("annotations", {}).update(patch["metadata"]["annotations"])
        stored["metadata"] |= {"uid": uid, "resourceVersion": str(next(self.numbers)), "generation": 1}
        stored.setdefault("status", {})
        return stored


def anonymous(kind: Kind, name: str) -> str:
    """The name without its hash, so that a transcript does not change with every default."""
    return f"{kind} {name.rsplit('-', 1)[0] if kind in (Kind.REVISION, Kind.CONFIG_MAP) else name}"


def _template(body: Mapping[str, Any]) -> Any:
    return body["spec"]["template"]


def _revision(body: Mapping[str, Any]) -> str:
    return str(_template(body)["metadata"]["labels"][names.LABEL_REVISION]).split("-")[0]


def _track(body: Mapping[str, Any]) -> str:
    """The track that a Service, an autoscaler or a disruption budget is for; empty when it is for none."""
    spec = body.get("spec", {})
    if "scaleTargetRef" in spec:
        return str(spec["scaleTargetRef"]["name"])
    selector = spec.get("selector", {})
    return str(selector.get("matchLabels", selector).get(names.LABEL_TRACK, ""))


def _elsewhere(name: str, body: Mapping[str, Any]) -> str:
    """Where it leads, when that is not the track of its own name."""
    track = _track(body)
    return f" -> {track}" if track not in ("", name) else ""
