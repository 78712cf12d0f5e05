"""A cluster in memory that carries out plans, so that whole lives can be told in milliseconds.

It knows just enough of Kubernetes: objects with uids and versions, a Deployment controller that replaces one pod
after the other (one above the wanted number, none below), and pods that live as ``Behaviour`` says. The clock moves
only by ``pass_time``. Everything worth telling becomes a line of the transcript.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from model_operator.api import SpecError, names, parse
from model_operator.lifecycle import plan
from model_operator.manifests import read_revision, verdict_annotation
from model_operator.memory import rfc3339
from model_operator.world import (
    Apply,
    Children,
    Create,
    Defaults,
    Delete,
    Fault,
    FaultKind,
    Kind,
    PodRegistry,
    RecordVerdict,
    Resolution,
    ResolutionReason,
    ResolvedVersion,
    Scale,
    World,
)

START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
NAMESPACE, NAME = "crm", "churn"


@dataclass(frozen=True)
class Behaviour:
    """How pods of a version live: seconds after their creation at which things happen; None is never."""

    scheduled: float | None = 1
    fetched: float | None = 6
    ready: float | None = 14
    exit_code: int | None = None
    """With it, the server (or, when ``fetched`` is None, the fetch container) ends at ``exits``, again and again."""
    exits: float = 10
    last_words: str = ""
    unschedulable: str = "0/1 nodes are available: 1 Insufficient cpu."


GOOD = Behaviour()


@dataclass
class SimulatedCluster:
    """One ModelDeployment and everything around it. ``spec`` is the manifest's, as Git has it."""

    spec: dict[str, Any]
    aliases: dict[str, str] = field(default_factory=dict)
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    """By model version; versions not in here are good."""
    slot_free: bool = True
    credentials_error: str = ""
    registry_failure: Resolution | None = None
    refused: dict[Kind, tuple[FaultKind, str]] = field(default_factory=dict)
    """Kinds whose creation and apply the API server refuses."""
    code_generation: str = "1"
    """A newer operator has other scripts, so it would render pods differently."""

    def __post_init__(self) -> None:
        self.now = START
        self.status: dict[str, Any] = {}
        self.generation = 1
        self.objects: dict[tuple[Kind, str], dict[str, Any]] = {}
        self.pods: list[dict[str, Any]] = []
        self.faults: tuple[Fault, ...] = ()
        self.transcript: list[str] = []
        self.writes = 0
        self._numbers = itertools.count(1)
        self._shown = ""

    # --- what a person or the outside does ------------------------------------------------------

    def tell(self, text: str) -> None:
        """A line of the story that is not the operator's doing."""
        self.transcript.append(f"{self._clock()} > {text}")

    def move_alias(self, alias: str, version: str) -> None:
        """Somebody moves the alias in the registry; the operator hears of it at once."""
        self.tell(f"@{alias} moves to version {version}")
        self.aliases[alias] = version
        self.settle()

    def commit(self, text: str, change: Callable[[dict[str, Any]], None]) -> None:
        """A commit changes the manifest's spec."""
        self.tell(f"commit: {text}")
        change(self.spec)
        self.generation += 1
        self.settle()

    def pass_time(self, seconds: float, step: float = 1) -> None:
        """Lets the clock, the pods and the operator run."""
        end = self.now + timedelta(seconds=seconds)
        while self.now < end:
            self.now = min(self.now + timedelta(seconds=step), end)
            self.settle()

    def lose_status(self) -> None:
        """A restore from backup brings the object back without its status."""
        self.tell("the status is lost")
        self.status = {}
        self.settle()

    def restart_operator(self, code_generation: str = "") -> None:
        """A new operator process knows only what the cluster says; perhaps it is a newer build."""
        self.code_generation = code_generation or self.code_generation
        self.faults = ()
        self.tell("the operator is restarted" + (" with a newer build" if code_generation else ""))
        self.settle()

    # --- running --------------------------------------------------------------------------------

    def settle(self) -> None:
        """Reconciles and lets the controllers work until neither has anything left to do."""
        for _ in range(50):
            moved = self._control_deployment()
            wrote = self._reconcile()
            if not moved and not wrote:
                return
        raise AssertionError("the operator does not come to rest:\n" + "\n".join(self.transcript[-20:]))

    def world(self) -> World:
        """What the operator sees now."""
        raw = {
            "metadata": {
                "name": NAME,
                "namespace": NAMESPACE,
                "uid": "uid-md",
                "generation": self.generation,
            },
            "spec": self.spec,
        }
        try:
            spec, spec_error = parse(raw).spec, ""
        except SpecError as error:
            spec, spec_error = None, str(error)
        revisions = [
            r for (kind, _), o in self.objects.items() if kind is Kind.REVISION and (r := read_revision(o))
        ]
        return World(
            now=self.now,
            namespace=NAMESPACE,
            name=NAME,
            uid="uid-md",
            generation=self.generation,
            spec=spec,
            spec_raw=self.spec,
            status=self.status,
            resolution=self._resolve(),
            children=Children(
                deployment=self.objects.get((Kind.DEPLOYMENT, NAME)),
                service=self.objects.get((Kind.SERVICE, NAME)),
                autoscaler=self.objects.get((Kind.AUTOSCALER, NAME)),
                disruption_budget=self.objects.get((Kind.DISRUPTION_BUDGET, NAME)),
                config_maps=self._all(Kind.CONFIG_MAP),
                revisions=tuple(sorted(revisions, key=lambda r: r.number)),
                revision_objects=self._all(Kind.REVISION),
                pods=tuple(self._pod_object(p) for p in self.pods),
            ),
            defaults=Defaults(
                "server:1", "fetch:1", {"fetch.py": self.code_generation, "serve.py": self.code_generation}
            ),
            pod_registry=PodRegistry("http://mlflow:5000"),
            spec_error=spec_error,
            credentials_error=self.credentials_error,
            slot_free=self.slot_free,
            faults=self.faults,
        )

    def live(self, kind: Kind) -> dict[str, Any]:
        """The child of that kind; KeyError when there is none."""
        return self.objects[(kind, NAME)]

    def serving_versions(self) -> dict[str, int]:
        """How many ready pods there are by model version."""
        counts: dict[str, int] = {}
        for pod in self.pods:
            if self._is_ready(pod):
                counts[pod["version"]] = counts.get(pod["version"], 0) + 1
        return counts

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of a condition; ("", "") when it is absent."""
        for condition in self.status.get("conditions", []):
            if condition["type"] == kind:
                return condition["status"], condition["reason"]
        return "", ""

    # --- the operator's side --------------------------------------------------------------------

    def _resolve(self) -> Resolution:
        if self.registry_failure:
            return self.registry_failure
        try:
            model = self.spec["model"]
            alias = model["uri"].split("@")[1] if "uri" in model else model.get("alias")
            version = self.aliases[alias] if alias else model["version"]
        except KeyError:
            return Resolution(ResolutionReason.ALIAS_NOT_FOUND, f"model churn has no alias {alias}")
        shown = f"@{alias}" if alias else version
        found = ResolvedVersion("churn", version, shown, f"run-{version}", f"models:/m-{version}")
        return Resolution(ResolutionReason.RESOLVED, "", "http://mlflow:5000", found)

    def _reconcile(self) -> bool:
        decided = plan(self.world())
        wrote = decided.status != self.status
        self.status = copy.deepcopy(dict(decided.status))
        for news in decided.announcements:
            self.transcript.append(
                f"{self._clock()}   {'!' if news.warning else '*'} {news.reason}: {news.message}"
            )
        faults: list[Fault] = []
        for action in decided.actions:
            refusal = self.refused.get(action.ref.kind)
            if refusal and isinstance(action, Create | Apply):
                faults.append(Fault(action.ref, *refusal))
                continue
            self.transcript.append(f"{self._clock()}     {self._carry_out(action)}")
            self.writes += 1
            wrote = True
        changed = tuple(faults) != self.faults
        self.faults = tuple(faults)
        self._show_status()
        return wrote or changed

    def _carry_out(self, action: Any) -> str:
        key = (action.ref.kind, action.ref.name)
        match action:
            case Create(ref, body):
                assert key not in self.objects, f"{ref} is created twice"
                self.objects[key] = self._stored(body, f"uid-{next(self._numbers)}")
                if ref.kind is Kind.DEPLOYMENT:
                    return f"create {ref}: {self._revision(body)}, {body['spec']['replicas']} replicas"
                return f"create {self._anonymous(ref.kind, ref.name)}"
            case Apply(ref, body, uid, _):
                before = self.objects[key]
                assert before["metadata"]["uid"] == uid
                stored = self._stored(body, uid)
                if ref.kind is Kind.DEPLOYMENT:
                    stored["spec"]["replicas"] = before["spec"]["replicas"]
                    stored["status"] = before["status"]
                    stored["metadata"]["generation"] = before["metadata"]["generation"] + 1
                    self.objects[key] = stored
                    return f"apply {ref}: {self._revision(body)}"
                self.objects[key] = stored
                return f"apply {ref}"
            case Scale(ref, replicas, _):
                self.objects[key]["spec"]["replicas"] = replicas
                self.objects[key]["metadata"]["generation"] += 1
                return f"scale {ref} to {replicas}"
            case Delete(ref, uid):
                assert self.objects.pop(key)["metadata"]["uid"] == uid
                return f"delete {self._anonymous(ref.kind, ref.name)}"
            case RecordVerdict(ref, verdict):
                annotations = self.objects[key]["metadata"].setdefault("annotations", {})
                annotations |= verdict_annotation(verdict)
                return f"remember {self._anonymous(ref.kind, ref.name)}: {verdict.state} {verdict.reason}".rstrip()
        raise AssertionError(action)

    def _stored(self, body: Mapping[str, Any], uid: str) -> dict[str, Any]:
        stored = copy.deepcopy(dict(body))
        stored["metadata"] |= {"uid": uid, "resourceVersion": str(next(self._numbers)), "generation": 1}
        stored.setdefault("status", {})
        return stored

    # --- Kubernetes' side -----------------------------------------------------------------------

    def _control_deployment(self) -> bool:
        deployment = self.objects.get((Kind.DEPLOYMENT, NAME))
        if deployment is None:
            gone, self.pods = bool(self.pods), []
            return gone
        wanted = deployment["spec"]["replicas"]
        revision = deployment["spec"]["template"]["metadata"]["labels"][names.LABEL_REVISION]
        before = [p["name"] for p in self.pods], copy.deepcopy(deployment["status"])
        old_unready = [p for p in self.pods if p["revision"] != revision and not self._is_ready(p)]
        self.pods = [p for p in self.pods if p not in old_unready]
        new = [p for p in self.pods if p["revision"] == revision]
        old = [p for p in self.pods if p["revision"] != revision]
        available = sum(self._is_ready(p) for p in self.pods)
        while old and available > wanted:
            self.pods.remove(old.pop(0))
            available -= 1
        while len(new) > wanted:
            self.pods.remove(new.pop())
        if len(new) < wanted and len(self.pods) < wanted + 1:
            template = deployment["spec"]["template"]
            version = template["metadata"]["annotations"][names.ANNOTATION_VERSION]
            name = f"{NAME}-{next(self._numbers)}"
            self.pods.append({"name": name, "revision": revision, "version": version, "created": self.now})
        ready = sum(self._is_ready(p) for p in self.pods)
        updated = sum(p["revision"] == revision for p in self.pods)
        deployment["status"] = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": len(self.pods),
            "updatedReplicas": updated,
            "readyReplicas": ready,
            "availableReplicas": ready,
        }
        return before != ([p["name"] for p in self.pods], deployment["status"])

    def _is_ready(self, pod: Mapping[str, Any]) -> bool:
        life = self._behaviour(pod)
        if life.scheduled is None or life.fetched is None or life.ready is None or life.exit_code is not None:
            return False
        return self._age(pod) >= life.ready

    def _behaviour(self, pod: Mapping[str, Any]) -> Behaviour:
        return self.behaviours.get(pod["version"], GOOD)

    def _age(self, pod: Mapping[str, Any]) -> float:
        return (self.now - pod["created"]).total_seconds()

    def _pod_object(self, pod: Mapping[str, Any]) -> dict[str, Any]:
        life, age = self._behaviour(pod), self._age(pod)
        conditions: list[dict[str, Any]] = []
        containers: dict[str, list[dict[str, Any]]] = {"initContainerStatuses": [], "containerStatuses": []}

        def happened(kind: str, after: float | None, **fields: Any) -> bool:
            true = after is not None and age >= after
            since = pod["created"] + timedelta(seconds=after or 0) if true else pod["created"]
            status = {
                "type": kind,
                "status": "True" if true else "False",
                "lastTransitionTime": rfc3339(since),
            }
            conditions.append(status | ({} if true else fields))
            return true

        waits = {"reason": "Unschedulable", "message": life.unschedulable}
        if happened("PodScheduled", life.scheduled, **(waits if life.scheduled is None else {})):
            fetched = happened("Initialized", life.fetched)
            words = {"exitCode": 0, "message": '{"inputExample": true}'}
            state = {"terminated": words} if fetched else {"running": {}}
            fetch = {"name": "fetch", "state": state, "restartCount": 0}
            server = {"name": "server", "state": {"running": {}}, "restartCount": 0}
            if life.exit_code is not None and age >= life.exits:
                (server if fetched else fetch).update(self._exited(life, age))
            containers["initContainerStatuses"].append(fetch)
            if fetched:
                containers["containerStatuses"].append(server)
            happened("Ready", life.ready if self._is_ready(pod) else None)
        return {
            "metadata": {
                "name": pod["name"],
                "namespace": NAMESPACE,
                "creationTimestamp": rfc3339(pod["created"]),
                "labels": {names.LABEL_REVISION: pod["revision"]},
            },
            "status": {"phase": "Running", "conditions": conditions, **containers},
        }

    def _exited(self, life: Behaviour, age: float) -> dict[str, Any]:
        ended = {"terminated": {"exitCode": life.exit_code, "message": life.last_words, "reason": "Error"}}
        waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
        if age < 2 * life.exits:
            return {"restartCount": 1, "state": {"running": {}}, "lastState": ended}
        return {"restartCount": 1, "state": waiting, "lastState": ended}

    # --- telling --------------------------------------------------------------------------------

    def _show_status(self) -> None:
        shown = []
        for condition in self.status.get("conditions", []):
            if condition["type"] == "Resolved" and condition["status"] == "True":
                continue
            text = "" if condition["status"] == "True" else f"={condition['status']}"
            shown.append(f"{condition['type']}{text}({condition['reason']})")
        serving, candidate = self.status.get("serving", {}), self.status.get("candidate", {})
        line = f"serving {serving.get('version', '-')}"
        line += f", candidate {candidate['version']} {candidate['phase']}" if candidate else ""
        line += f" | {' '.join(shown)}"
        if line != self._shown:
            self._shown = line
            self.transcript.append(f"{self._clock()}   = {line}")

    def _clock(self) -> str:
        return f"{int((self.now - START).total_seconds()):5d}s"

    def _all(self, kind: Kind) -> tuple[dict[str, Any], ...]:
        return tuple(obj for (k, _), obj in self.objects.items() if k is kind)

    @staticmethod
    def _revision(body: Mapping[str, Any]) -> str:
        return str(body["spec"]["template"]["metadata"]["labels"][names.LABEL_REVISION]).split("-")[0]

    @staticmethod
    def _anonymous(kind: Kind, name: str) -> str:
        """The name without its hash, so that a transcript does not change with every default."""
        return f"{kind} {name.rsplit('-', 1)[0] if kind in (Kind.REVISION, Kind.CONFIG_MAP) else name}"


def outage() -> Resolution:
    """What the registry's poller says while nothing answers."""
    return Resolution(ResolutionReason.UNREACHABLE, "no answer from http://mlflow:5000: connection refused")


def with_last_good(resolution: Resolution, version: str) -> Resolution:
    """The same, remembering the last good version."""
    return replace(resolution, version=ResolvedVersion("churn", version, "@champion"))
