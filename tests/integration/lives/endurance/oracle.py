"""Looks at a cluster again and again, and tells which promise is broken."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.integration.lives.bench import Bench

Json = dict[str, Any]
DEPLOYMENT = "model-operator.io/deployment"
REVISION = "model-operator.io/revision"
VERSION = "model-operator.io/version"


@dataclass
class Sight:
    """What was last seen of one ModelDeployment, for as long as it has the same uid."""

    uid: str
    served: bool = False
    """Whether a ready pod has stood behind its Service."""
    templates: dict[str, str] = field(default_factory=dict)
    """The revision of each track."""
    rejected: set[str] = field(default_factory=set)
    """Revisions that only a changed wish or a person would have tried again."""
    tries: dict[str, int] = field(default_factory=dict)
    """How often each rejected revision had been tried while nothing served."""


class Oracle:
    """Checks the promises at every look. Writes nothing, and knows what was asked for and which versions are sick."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._sights: dict[str, Sight] = {}
        self.specs: dict[str, Json] = {}
        """What each ModelDeployment was last given for a spec, with the server's defaults."""
        self.sick: set[tuple[str, str]] = set()
        """Model and version of pods that die: whoever serves them is down until it is back on another one."""
        self.looks = 0

    def look(self) -> list[str]:
        """The promises that are broken now, one line each."""
        self.looks += 1
        # children first: what was given a spec meanwhile is then seen with it
        slices = self._by_owner("EndpointSlice", "kubernetes.io/service-name")
        services = self._by_owner("Service", DEPLOYMENT)
        tracks = self._by_owner("Deployment", DEPLOYMENT)
        pods = self._by_owner("Pod", DEPLOYMENT)
        broken: list[str] = []
        for obj in self._bench.items("ModelDeployment"):
            name = obj["metadata"]["name"]
            if obj["metadata"].get("deletionTimestamp") or name not in self.specs:
                continue
            sight = self._sights.get(name)
            if sight is None or sight.uid != obj["metadata"]["uid"]:
                sight = self._sights[name] = Sight(obj["metadata"]["uid"])
            # a namesake that is gone may have left objects that wait for the garbage collector
            tracks_of_it = [t for t in tracks.get(name, []) if _owned(t, sight.uid)]
            ours = pods.get(name, []) if tracks_of_it else []
            endpoints = [
                endpoint
                for service in services.get(name, [])
                for part in slices.get(name, [])
                if _owned(service, sight.uid) and _owned(part, service["metadata"]["uid"])
                for endpoint in part.get("endpoints") or []
            ]
            broken += [f"{name}: {line}" for line in self._spec(obj)]
            broken += [f"{name}: {line}" for line in _versions(ours)]
            broken += [f"{name}: {line}" for line in self._service(obj, sight, endpoints)]
            broken += [f"{name}: {line}" for line in _rejections(obj, sight, tracks_of_it)]
        return broken

    def _by_owner(self, kind: str, label: str) -> dict[str, list[Json]]:
        found: dict[str, list[Json]] = {}
        for obj in self._bench.items(kind):
            found.setdefault(obj["metadata"].get("labels", {}).get(label, ""), []).append(obj)
        return found

    def _spec(self, obj: Json) -> list[str]:
        """P6: the spec is the user's; no finalizer, no annotation."""
        broken = []
        if obj["spec"] != self.specs[obj["metadata"]["name"]]:
            broken.append(f"the spec is not what was written: {json.dumps(obj['spec'])}")
        broken += [f"has {key}" for key in ("finalizers", "annotations") if obj["metadata"].get(key)]
        return broken

    def _service(self, obj: Json, sight: Sight, endpoints: list[Json]) -> list[str]:
        """P1, P3, P4: who once served goes on, unless the version that serves has itself got sick."""
        if any(endpoint["conditions"].get("ready") for endpoint in endpoints):
            sight.served = True
            return []
        serving = (obj.get("status") or {}).get("serving") or {}
        history = (obj.get("status") or {}).get("history") or []
        model = obj["spec"]["model"]["name"]
        # also the one that it has just left: its new pods may not be ready yet
        recent = [serving.get("version"), *(past["version"] for past in history[:1])]
        if not sight.served or any((model, version) in self.sick for version in recent):
            return []
        return [f"nothing is behind the Service any more: {json.dumps(obj.get('status'))}"]


def _owned(obj: Json, uid: str) -> bool:
    return any(owner.get("uid") == uid for owner in obj["metadata"].get("ownerReferences", []))


def _versions(pods: list[Json]) -> list[str]:
    """P10: an exact version, and no alias anywhere in a pod."""
    broken = []
    for pod in pods:
        if not pod["metadata"]["annotations"].get(VERSION, "").isdigit():
            broken.append(f"pod {pod['metadata']['name']} has no exact version")
        if "champion" in json.dumps(pod["spec"]):
            broken.append(f"pod {pod['metadata']['name']} carries an alias")
    return broken


def _rejections(obj: Json, sight: Sight, tracks: list[Json]) -> list[str]:
    """P2: what was rejected for good does not come again; what can be told at once is tried once.

    While nothing serves there is nothing to go back to, and each change of the wish is worth a try.
    """
    broken = []
    status = obj.get("status") or {}
    rejected = [r for r in status.get("rejected", []) if not r.get("retryAt") and r.get("revision")]
    still = {r["revision"] for r in rejected}
    for track in tracks:
        name = track["metadata"]["name"]
        now = track["spec"]["template"]["metadata"]["labels"].get(REVISION, "")
        if now != sight.templates.get(name) and now in sight.rejected & still:
            broken.append(f"{name} runs {now}, which is rejected")
        sight.templates[name] = now
    for entry in rejected:
        revision, tries = entry["revision"], entry.get("attempts", 1)
        if not status.get("serving"):
            sight.tries[revision] = tries
        if entry.get("side") == "Model" and tries > max(1, sight.tries.get(revision, 1)):
            broken.append(f"{revision} was tried {tries} times: {entry.get('reason')}")
    sight.rejected = still
    return broken
