"""A cluster in memory that carries out plans, so that whole lives can be told in milliseconds.

What is stored stands in ``api_server.py``, what Kubernetes does with it in ``controllers.py``, and pods live as
``Behaviour`` says. The clock moves only by ``pass_time``. As in a real cluster the operator sleeps until something
changes or the time comes that its plan named. Everything worth telling becomes a line of the transcript.
"""

from __future__ import annotations

import copy
import json
import marshal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.stories.api_server import ApiServer
from tests.stories.controllers import Kubernetes
from tests.stories.pods import GOOD, Behaviour, Pod

from model_operator.api import SpecError, names, parse
from model_operator.api.spec import ModelDeploymentSpec
from model_operator.controller.observe import assemble
from model_operator.domain.objects import Kind, ObjectRef
from model_operator.domain.plan import Apply, Create, Plan
from model_operator.domain.registry import (
    FactsWanted,
    ModelDescription,
    Resolution,
    ResolutionReason,
    ResolvedVersion,
    VersionFacts,
    VersionId,
)
from model_operator.domain.world import Defaults, PodRegistry, RefusalKind, RefusedWrite, World
from model_operator.planner.plan import plan
from model_operator.planner.status.events import event_for_repair

START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
NAMESPACE, NAME = "crm", "churn"
ALIAS = "champion"
WATCH_SECONDS = 600
WARM_SECONDS = 600


UNSIGNED = VersionFacts(description=ModelDescription())
"""The facts of a version that a story says nothing about: its model was logged without a signature."""


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
    refused: dict[Kind, tuple[RefusalKind, str]] = field(default_factory=dict)
    """Kinds whose creation and apply the API server refuses."""
    taken: frozenset[ObjectRef] = frozenset()
    """Names that another ModelDeployment has or needs."""
    uid: str = "uid-md"
    code_generation: str = "1"
    """A newer operator has other scripts, so it would render pods differently."""
    name: str = NAME
    endpoints_lag: float = 0.0
    """Seconds by which the proxies learn late of pods and selectors."""

    def __post_init__(self) -> None:
        self.now = self.origin = START
        self.status: dict[str, Any] = {}
        self.generation = 1
        self.annotations: dict[str, str] = {}
        self.api = ApiServer()
        self.kubernetes = Kubernetes(self.name, self.api.objects, self.api.numbers, self._behaviour)
        self.kubernetes.endpoints_lag = self.endpoints_lag
        self.version_tags: dict[str, dict[str, str]] = {}
        """The tags that versions have in the registry, such as a digest."""
        self.facts: dict[str, VersionFacts] = {}
        """By version: what the registry tells the gates; nothing of a version that is not in here."""
        self.facts_wanted: tuple[FactsWanted, ...] = ()
        self.facts_read: set[VersionId] = set()
        self.deleted_versions: set[str] = set()
        self.written_tags: dict[str, str] = {}
        """By version: what the operator wrote back to the registry."""
        self.refused_writes: tuple[RefusedWrite, ...] = ()
        self.transcript: list[str] = []
        self.announced: list[str] = []
        self.writes = 0
        self.status_writes = 0
        self.actions_are_lost = False
        """The operator dies after it has written the status, again and again."""
        self.dies_after_actions = -1
        """The operator dies once, when it has carried out that many actions from now on."""
        self.deaths = 0
        self.wakes_always = False
        """The operator looks again at every step of time, whatever its plan said."""
        self._seen = b""
        self._wakes_at: datetime | None = None
        self._shown = ""
        self._clients = False
        self._outage_since: datetime | None = None
        self._parsed: tuple[str, ModelDeploymentSpec | None, str] = ("", None, "")

    @property
    def objects(self) -> dict[tuple[Kind, str], dict[str, Any]]:
        """The stored children, by kind and name."""
        return self.api.objects

    @property
    def pods(self) -> list[Pod]:
        """The pods that exist, also those that are about to go."""
        return self.kubernetes.pods

    @property
    def fewest_ready(self) -> int:
        """The lowest number of pods that the Service reached since ``watch_ready``."""
        return self.kubernetes.fewest_ready

    @property
    def requests_lost(self) -> int:
        """How many requests found no pod that could answer, since the first one did or since ``watch_ready``."""
        return self.kubernetes.requests_lost

    # --- what a person or the outside does ------------------------------------------------------

    def tell(self, text: str) -> None:
        """A line of the story that is not the operator's doing."""
        self.transcript.append(f"{self._clock()} > {text}")

    def move_alias(self, alias: str, version: str) -> None:
        """Somebody moves the alias in the registry; the operator hears of it at once."""
        self.tell(f"@{alias} moves to version {version}")
        self.aliases[alias] = version
        self.settle()

    def tag(self, version: str, **tags: str) -> None:
        """Somebody tags a version in the registry."""
        self.version_tags[version] = {**self.version_tags.get(version, {}), **tags}
        self.transcript.append(f"{self._clock()} > tag version {version}: {tags}")
        self.settle()

    def learn(self, version: str, text: str, facts: VersionFacts) -> None:
        """The registry knows this of a version from now on."""
        self.facts[version] = facts
        self.transcript.append(f"{self._clock()} > {text}")
        self.settle()

    def delete_version(self, version: str) -> None:
        """Somebody deletes a version, and with it the aliases that name it."""
        self.tell(f"version {version} is deleted in the registry")
        self.deleted_versions.add(version)
        for alias in [alias for alias, named in self.aliases.items() if named == version]:
            del self.aliases[alias]
        self.settle()

    def commit(self, text: str, change: Callable[[dict[str, Any]], None]) -> None:
        """A commit changes the manifest's spec."""
        self.tell(f"commit: {text}")
        change(self.spec)
        self.generation += 1
        self.settle()

    def pass_time(self, seconds: float, step: float = 1) -> None:
        """Lets the clock, the pods, the clients and the operator run."""
        end = self.now + timedelta(seconds=seconds)
        while self.now < end:
            before, self.now = self.now, min(self.now + timedelta(seconds=step), end)
            self.settle()
            self._send_requests((self.now - before).total_seconds())

    def pass_until(self, what: Callable[[], bool], within: float = 900) -> None:
        """Lets time pass until ``what`` is true; AssertionError when it does not come true."""
        end = self.now + timedelta(seconds=within)
        while not what():
            assert self.now < end, "this never happened:\n" + "\n".join(self.transcript[-20:])
            self.pass_time(1)

    def pass_watch(self, step: float = 10) -> None:
        """Lets pass what the watch and the warm track last at most."""
        rollout = self.spec.get("rollout", {})
        watch, warm = rollout.get("watchSeconds", WATCH_SECONDS), rollout.get("warmSeconds", WARM_SECONDS)
        self.pass_time(max(watch, warm) + 60, step)

    def mend(self, version: str, life: Behaviour = GOOD) -> None:
        """From now on pods of that version live like this, also those that exist."""
        self.behaviours[version] = life
        self._befall([pod for pod in self.pods if pod.version == version], life)

    def befall(self, text: str, pods: int, **changes: Any) -> None:
        """Something happens to that many pods behind the Service; moments in the past mean now."""
        self.tell(text)
        for pod in self.kubernetes.reached(self.now)[:pods]:
            self._befall([pod], replace(pod.life, **changes))
        self.settle()

    def _befall(self, pods: list[Pod], life: Behaviour) -> None:
        for pod in pods:
            pod.fare(life, self.now)

    def autoscale(self, replicas: int) -> None:
        """From now on the autoscaler wants that many replicas."""
        self.tell(f"the autoscaler wants {replicas} pods")
        self.kubernetes.autoscaled = replicas
        self.settle()

    def watch_ready(self) -> None:
        """Starts to count anew how few pods are reached and how many requests are lost."""
        self.kubernetes.fewest_ready = len(self.kubernetes.reached(self.now))
        self.kubernetes.requests_lost = 0

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

    def annotate(self, request: str, value: str | None) -> None:
        """A person's request such as ``restart``; None takes it away."""
        key = f"{names.GROUP}/{request}"
        if value is None:
            self.tell(f"somebody takes the annotation {request} away")
            del self.annotations[key]
        else:
            shown = value.rsplit("-", 1)[0] if request == "revert" else value
            self.tell(f"somebody annotates {request}={shown}")
            self.annotations[key] = value
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
        self.refused_writes, self._seen = (), b""
        self.facts_wanted, self.facts_read = (), set()
        self.kubernetes.watch("")
        self.tell("the operator is restarted" + (" with a newer build" if code_generation else ""))
        self.settle()

    # --- running --------------------------------------------------------------------------------

    def settle(self) -> None:
        """Reconciles and lets the controllers work until neither has anything left to do."""
        for _ in range(50):
            moved = self.kubernetes.step(self.now)
            wrote = self._reconcile()
            if not moved and not wrote:
                return
        raise AssertionError("the operator does not come to rest:\n" + "\n".join(self.transcript[-20:]))

    def world(self) -> World:
        """What the operator sees now."""
        spec, spec_error = self._parse()
        return World(
            now=self.now,
            namespace=NAMESPACE,
            name=self.name,
            uid=self.uid,
            generation=self.generation,
            parsed_spec=spec,
            spec_raw=self.spec,
            status=self.status,
            resolution=self._resolve(),
            children=assemble(self._snapshot(), self.name),
            defaults=Defaults(
                "server:1", "fetch:1", {"fetch.py": self.code_generation, "serve.py": self.code_generation}
            ),
            pod_registry=PodRegistry("http://mlflow:5000"),
            annotations=self.annotations,
            spec_error=spec_error,
            credentials_error=self.credentials_error,
            slot_free=self.slot_free,
            taken=self.taken,
            refused_writes=self.refused_writes,
            traffic=self.kubernetes.traffic,
            facts=self._known_facts(),
        )

    def _snapshot(self) -> dict[Kind, list[dict[str, Any]]]:
        """Every object that carries the ModelDeployment's labels, as the operator's cache has them."""
        found: dict[Kind, list[dict[str, Any]]] = {
            Kind.POD: [pod.as_object(self.now) for pod in self.pods],
            Kind.ENDPOINT_SLICE: [*self.kubernetes.slices()],
        }
        for (kind, _), obj in self.objects.items():
            found.setdefault(kind, []).append(obj)
        return found

    def live(self, kind: Kind, name: str = "") -> dict[str, Any]:
        """The child of that kind; KeyError when there is none."""
        return self.objects[(kind, name or self.name)]

    def serving_versions(self) -> dict[str, int]:
        """How many pods the Service reaches, by model version."""
        return _by_version(self.kubernetes.reached(self.now))

    def previewed_versions(self) -> dict[str, int]:
        """How many pods the Service that shows a candidate reaches, by model version."""
        previews = [name for kind, name in self.objects if kind is Kind.SERVICE and name != self.name]
        assert len(previews) < 2
        return _by_version(self.kubernetes.reached(self.now, *previews)) if previews else {}

    def sizes(self) -> dict[str, int]:
        """The wanted replicas of every track."""
        return {n: obj["spec"]["replicas"] for (k, n), obj in self.objects.items() if k is Kind.DEPLOYMENT}

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of a condition; ("", "") when it is absent."""
        for condition in self.status.get("conditions", []):
            if condition["type"] == kind:
                return condition["status"], condition["reason"]
        return "", ""

    # --- the operator's side --------------------------------------------------------------------

    def _parse(self) -> tuple[ModelDeploymentSpec | None, str]:
        text = json.dumps([self.spec, self.generation])
        if self._parsed[0] != text:
            metadata = {
                "name": self.name,
                "namespace": NAMESPACE,
                "uid": self.uid,
                "generation": self.generation,
            }
            try:
                self._parsed = text, parse({"metadata": metadata, "spec": self.spec}).spec, ""
            except SpecError as error:
                self._parsed = text, None, str(error)
        return self._parsed[1], self._parsed[2]

    def _resolve(self) -> Resolution:
        if self.registry_failure:
            return self.registry_failure
        try:
            model = self.spec["model"]
            alias = model["uri"].split("@")[1] if "uri" in model else model.get("alias")
            version = self.aliases[alias] if alias else model["version"]
        except KeyError:
            return Resolution(ResolutionReason.ALIAS_NOT_FOUND, f"model churn has no alias {alias}")
        if version in self.deleted_versions:
            return Resolution(ResolutionReason.VERSION_NOT_FOUND, f"model churn has no version {version}")
        shown = f"@{alias}" if alias else version
        tags = self.version_tags.get(version, {})
        found = ResolvedVersion("churn", version, shown, f"run-{version}", f"models:/m-{version}", tags)
        return Resolution(ResolutionReason.RESOLVED, "", "http://mlflow:5000", found)

    def _known_facts(self) -> dict[VersionId, VersionFacts]:
        return {w.id: self._facts_of(w.id.version) for w in self.facts_wanted}

    def _facts_of(self, version: str) -> VersionFacts:
        known = self.facts.get(version, UNSIGNED)
        if known.description or known.description_problem:
            return known
        return replace(known, description=UNSIGNED.description)

    def _plan(self) -> Plan:
        """The operator's plan. Like its reader of facts, it remembers the versions that it read before."""
        world = self.world()
        decided = plan(world)
        asked = {wanted.id for wanted in decided.facts}
        if asked and asked <= self.facts_read and not asked <= world.facts.keys():
            self.facts_wanted = tuple(decided.facts)
            decided = plan(self.world())
        self.facts_read |= asked
        return decided

    def _wakes(self) -> bool:
        """Whether something that the operator can see changed, or the time has come that it named."""
        # the format without references: equal values give equal bytes, faster than JSON
        seen = marshal.dumps(
            [
                list(self.objects.values()),
                [pod.as_object(self.now) for pod in self.pods],
                self.kubernetes.slices(),
                [self.status, self.spec, self.generation, self.annotations, self.uid, self.slot_free],
                [repr(sorted(map(str, self.taken)))],
                [self.credentials_error, self.code_generation],
                [repr(self._resolve()), repr(self.refused_writes), repr(self.kubernetes.traffic)],
                [repr(self._known_facts())],
            ],
            0,
        )
        due = self._wakes_at is not None and self.now >= self._wakes_at
        news = seen != self._seen
        self._seen = seen
        return news or due or self.wakes_always

    def _reconcile(self) -> bool:
        if not self._wakes():
            return False
        decided = self._plan()
        self._wakes_at = self.now + decided.look_again if decided.look_again else None
        wrote = decided.status != self.status
        self.status_writes += wrote
        self.status = copy.deepcopy(dict(decided.status))
        for news in decided.events:
            self.announced.append(news.reason)
            self.transcript.append(
                f"{self._clock()}   {'!' if news.warning else '*'} {news.reason}: {news.message}"
            )
        if self.actions_are_lost:
            self._seen = b""
            return wrote
        done, refused_writes = self._act(decided)
        if done is None:
            return True
        changed = refused_writes != self.refused_writes
        self.refused_writes = refused_writes
        self.kubernetes.watch(decided.watched)
        self.facts_wanted = tuple(decided.facts)
        self._write_back(decided)
        self._show_status()
        return wrote or changed or bool(done)

    def _act(self, decided: Plan) -> tuple[int | None, tuple[RefusedWrite, ...]]:
        """How many actions were carried out, None when the operator died on the way; and what was refused."""
        done, refused_writes = 0, list[RefusedWrite]()
        for action in decided.actions:
            if self.dies_after_actions == 0:
                self.dies_after_actions, self.deaths = -1, self.deaths + 1
                self.restart_operator()
                return None, ()
            self.dies_after_actions -= self.dies_after_actions > 0
            if refused_writes and refused_writes[-1].ref.kind in (
                Kind.REVISION,
                Kind.CONFIG_MAP,
                Kind.DEPLOYMENT,
            ):
                break
            refusal = self.refused.get(action.ref.kind)
            if (
                refusal
                and refusal[0] is RefusalKind.NAME_TAKEN
                and isinstance(action, Create)
                and action.adopt
            ):
                del self.refused[action.ref.kind]
            elif refusal and isinstance(action, Create | Apply):
                refused_writes.append(RefusedWrite(action.ref, *refusal))
                continue
            self.transcript.append(f"{self._clock()}     {self.api.carry_out(action)}")
            if isinstance(action, Apply):
                self._tell_repair(action)
            self.writes += 1
            done += 1
        return done, tuple(refused_writes)

    def _tell_repair(self, action: Apply) -> None:
        news = event_for_repair(action, self.objects[(action.ref.kind, action.ref.name)])
        if news:
            self.announced.append(news.reason)
            self.transcript.append(f"{self._clock()}   * {news.reason}: {news.message}")

    def _write_back(self, decided: Plan) -> None:
        """The tags of the versions in the registry, as far as it answers."""
        for tag in decided.tags if self.registry_failure is None else ():
            if self.written_tags.get(tag.version) != tag.value:
                self.written_tags[tag.version] = tag.value
                self.transcript.append(f"{self._clock()}     tag version {tag.version}: {tag.value}")

    # --- Kubernetes' side -----------------------------------------------------------------------

    def _behaviour(self, image: str, version: str) -> Behaviour:
        return self.behaviours.get(image, self.behaviours.get(version, GOOD))

    def _send_requests(self, seconds: float) -> None:
        """Clients begin to ask when they were answered once."""
        self._clients = self._clients or bool(self.kubernetes.reached(self.now))
        if not self._clients:
            return
        before = self.requests_lost
        self.kubernetes.send_requests(self.now, seconds)
        if self.requests_lost > before and self._outage_since is None:
            self._outage_since = self.now
            self.transcript.append(f"{self._clock()}   ~ requests are lost")
        elif self.requests_lost == before and self._outage_since is not None:
            took = int((self.now - self._outage_since).total_seconds())
            self.transcript.append(f"{self._clock()}   ~ requests are answered again, after {took} s")
            self._outage_since = None

    # --- telling --------------------------------------------------------------------------------

    def _show_status(self) -> None:
        shown = []
        for condition in self.status.get("conditions", []):
            if condition["type"] == "Resolved" and condition["status"] == "True":
                continue
            text = "" if condition["status"] == "True" else f"={condition['status']}"
            shown.append(f"{condition['type']}{text}({condition['reason']})")
        serving, candidate = self.status.get("serving", {}), self.status.get("candidate", {})
        line = f"serving {serving.get('version', '-')}{self._where(serving)}"
        line += " (watched)" if serving.get("settled") is False and "watchEnds" in serving else ""
        if candidate:
            line += f", candidate {candidate['version']}{self._where(candidate)} {candidate['phase']}"
        line += f" | {' '.join(shown)}"
        if line != self._shown:
            self._shown = line
            self.transcript.append(f"{self._clock()}   = {line}")

    def _where(self, part: dict[str, Any]) -> str:
        """The track, when it is not the first one."""
        return f" on {part['track']}" if part.get("track", self.name) != self.name else ""

    def _clock(self) -> str:
        return f"{int((self.now - self.origin).total_seconds()):5d}s"


def _by_version(pods: list[Pod]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for pod in pods:
        counts[pod.version] = counts.get(pod.version, 0) + 1
    return counts


def outage() -> Resolution:
    """What the registry's poller says while nothing answers."""
    return Resolution(ResolutionReason.UNREACHABLE, "no answer from http://mlflow:5000: connection refused")


def with_last_good(resolution: Resolution, version: str) -> Resolution:
    """The same, remembering the last good version."""
    return replace(resolution, version=ResolvedVersion("churn", version, "@champion"))


def serving(spec: dict[str, Any], version: str, **more: Any) -> SimulatedCluster:
    """A cluster in which the alias's version has served for so long that it is settled; the story begins here."""
    cluster = SimulatedCluster(spec, **more)
    settle_on(cluster, version)
    return cluster


def settle_on(cluster: SimulatedCluster, version: str) -> None:
    """The alias names that version for so long that it is settled; the story begins here."""
    cluster.aliases[ALIAS] = version
    cluster.settle()
    cluster.pass_time(60)
    cluster.pass_watch(step=30)
    wanted = cluster.live(Kind.DEPLOYMENT)["spec"]["replicas"]
    assert cluster.serving_versions() == ({version: wanted} if wanted else {})
    # the clock of a story shows 60 seconds when its first version has settled
    cluster.origin = cluster.now - timedelta(seconds=60)
    cluster.transcript = [f"{cluster._clock()} > version {version} serves"]
    cluster.watch_ready()
