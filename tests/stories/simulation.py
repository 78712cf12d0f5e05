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

from tests.stories.pods import GOOD, Behaviour, Pod

from model_operator.api import SpecError, names, parse
from model_operator.lifecycle import plan
from model_operator.manifests import read_revision, verdict_annotation
from model_operator.world import (
    Adopt,
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


@dataclass
class SimulatedCluster:
    """One ModelDeployment and everything around it. ``spec`` is the manifest's, as Git has it."""

    spec: dict[str, Any]
    aliases: dict[str, str] = field(default_factory=dict)
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    """By model version or by the server's image; what is not in here is good."""
    slot_free: bool = True
    credentials_error: str = ""
    registry_failure: Resolution | None = None
    refused: dict[Kind, tuple[FaultKind, str]] = field(default_factory=dict)
    """Kinds whose creation and apply the API server refuses."""
    uid: str = "uid-md"
    code_generation: str = "1"
    """A newer operator has other scripts, so it would render pods differently."""

    def __post_init__(self) -> None:
        self.now = START
        self.status: dict[str, Any] = {}
        self.generation = 1
        self.annotations: dict[str, str] = {}
        self.objects: dict[tuple[Kind, str], dict[str, Any]] = {}
        self.pods: list[Pod] = []
        self.faults: tuple[Fault, ...] = ()
        self.transcript: list[str] = []
        self.announced: list[str] = []
        self.writes = 0
        self.status_writes = 0
        self.fewest_ready = 0
        """The lowest number of ready pods since ``watch_ready``."""
        self.actions_are_lost = False
        """The operator dies after it has written the status, again and again."""
        self.dies_after_actions = -1
        """The operator dies once, when it has carried out that many actions from now on."""
        self.deaths = 0
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

    def mend(self, version: str, life: Behaviour = GOOD) -> None:
        """From now on pods of that version live like this, also those that exist."""
        self.behaviours[version] = life
        for pod in self.pods:
            if pod.version == version:
                pod.life = life

    def watch_ready(self) -> None:
        """Starts to count anew how few pods are ready."""
        self.fewest_ready = sum(pod.is_ready(self.now) for pod in self.pods)

    def remove(self, kind: Kind) -> None:
        """Somebody deletes the objects of that kind."""
        self.tell(f"somebody deletes the {kind}")
        for key in [key for key in self.objects if key[0] is kind]:
            del self.objects[key]
        self.settle()

    def change(self, kind: Kind, text: str, how: Callable[[dict[str, Any]], None]) -> None:
        """Somebody changes a live child behind the operator's back."""
        self.tell(text)
        how(self.live(kind))
        self.live(kind)["metadata"]["generation"] += 1
        self.settle()

    def ask_to_retry(self, value: str) -> None:
        """A person annotates the ModelDeployment."""
        self.tell(f"somebody asks to try again ({value})")
        self.annotations[names.REQUEST_RETRY] = value
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
                "uid": self.uid,
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
            uid=self.uid,
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
                pods=tuple(p.as_object(self.now) for p in self.pods),
            ),
            defaults=Defaults(
                "server:1", "fetch:1", {"fetch.py": self.code_generation, "serve.py": self.code_generation}
            ),
            pod_registry=PodRegistry("http://mlflow:5000"),
            annotations=self.annotations,
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
            if pod.is_ready(self.now):
                counts[pod.version] = counts.get(pod.version, 0) + 1
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
        self.status_writes += wrote
        self.status = copy.deepcopy(dict(decided.status))
        for news in decided.announcements:
            self.announced.append(news.reason)
            self.transcript.append(
                f"{self._clock()}   {'!' if news.warning else '*'} {news.reason}: {news.message}"
            )
        if self.actions_are_lost:
            return wrote
        faults: list[Fault] = []
        for action in decided.actions:
            if self.dies_after_actions == 0:
                self.dies_after_actions, self.deaths = -1, self.deaths + 1
                self.restart_operator()
                return True
            self.dies_after_actions -= self.dies_after_actions > 0
            if faults and faults[-1].ref.kind in (Kind.REVISION, Kind.CONFIG_MAP, Kind.DEPLOYMENT):
                break
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
            case Adopt(ref, uid, owner):
                assert self.objects[key]["metadata"]["uid"] == uid
                self.objects[key]["metadata"]["ownerReferences"] = [dict(owner)]
                return f"adopt {self._anonymous(ref.kind, ref.name)}"
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
                shown = self._anonymous(ref.kind, ref.name)
                if verdict is None:
                    return f"forget the verdict of {shown}"
                return f"remember {shown}: {verdict.state} {verdict.reason}".rstrip()
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
        spec = deployment["spec"]
        wanted = spec["replicas"]
        limits = spec["strategy"]["rollingUpdate"]
        revision = spec["template"]["metadata"]["labels"][names.LABEL_REVISION]
        before = [p.name for p in self.pods], copy.deepcopy(deployment["status"])
        # pods that do not serve are the first to go
        self.pods = [p for p in self.pods if p.revision == revision or p.is_ready(self.now)]
        new = [p for p in self.pods if p.revision == revision]
        old = [p for p in self.pods if p.revision != revision]
        available = sum(p.is_ready(self.now) for p in self.pods)
        while old and available > wanted - limits["maxUnavailable"]:
            self.pods.remove(old.pop(0))
            available -= 1
        while len(new) > wanted:
            self.pods.remove(new.pop())
        if len(new) < wanted and len(self.pods) < wanted + limits["maxSurge"]:
            self.pods.append(self._new_pod(spec["template"]))
        ready = sum(p.is_ready(self.now) for p in self.pods)
        self.fewest_ready = min(self.fewest_ready, ready)
        deployment["status"] = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": len(self.pods),
            "updatedReplicas": sum(p.revision == revision for p in self.pods),
            "readyReplicas": ready,
            "availableReplicas": ready,
        }
        return before != ([p.name for p in self.pods], deployment["status"])

    def _new_pod(self, template: Mapping[str, Any]) -> Pod:
        version = template["metadata"]["annotations"][names.ANNOTATION_VERSION]
        revision = template["metadata"]["labels"][names.LABEL_REVISION]
        image = template["spec"]["containers"][0]["image"]
        life = self.behaviours.get(image, self.behaviours.get(version, GOOD))
        return Pod(f"{NAME}-{next(self._numbers)}", revision, version, image, self.now, life)

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


def serving(spec: dict[str, Any], version: str, **more: Any) -> SimulatedCluster:
    """A cluster in which the alias's version has served for a while; the story begins here."""
    cluster = SimulatedCluster(spec, {"champion": version}, **more)
    cluster.settle()
    cluster.pass_time(60)
    assert sum(cluster.serving_versions().values()) == cluster.live(Kind.DEPLOYMENT)["spec"]["replicas"]
    cluster.transcript = [f"{cluster._clock()} > version {version} serves"]
    cluster.watch_ready()
    return cluster
