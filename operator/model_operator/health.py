"""Whose fault is it? What a candidate's pods say, turned into a phase or a failure with a side.

One table (``EXIT_CODES`` and the rules of ``_pod_failure``), one pure function (``judge``). A *definite*
failure is judged when it is first seen; an environment's fault only at the deadline of its phase, since it
may pass; a bare exit when it has happened twice, which is long before any deadline.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from model_operator.api import names
from model_operator.api.spec import RolloutSpec
from model_operator.memory import Phase, applied_revision, read_time
from model_operator.world import Object, Side

FETCH = names.CONTAINER_FETCH
SERVER = names.CONTAINER_SERVER
MESSAGE_LIMIT = 1024
LOG_LIMIT = 768
"""Of a container's log, where it left no message of ours."""
BARE_EXITS = 2
"""How many exits without one of our codes make a crash loop."""
CONFIG_GRACE = timedelta(seconds=60)
"""A Secret or ConfigMap of the same GitOps sync may arrive a little after the ModelDeployment."""

EXIT_CODES: Mapping[int, tuple[str, Side]] = {
    40: ("DigestMismatch", Side.MODEL),
    41: ("ArtifactMissing", Side.MODEL),
    42: ("StoreUnreachable", Side.ENVIRONMENT),
    43: ("StoreRefused", Side.CONFIGURATION),
    44: ("FetchMisconfigured", Side.CONFIGURATION),
    50: ("LoadFailed", Side.MODEL),
    51: ("RequirementMissing", Side.CONFIGURATION),
    52: ("SelfTestFailed", Side.MODEL),
    53: ("SelfTestMissing", Side.CONFIGURATION),
    54: ("ServeMisconfigured", Side.CONFIGURATION),
}
"""Exit codes of the scripts in ``pod/``; a test compares the two lists."""

_IMAGE_WAITS = frozenset({"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError"})
_IMAGE_FINAL = frozenset({"InvalidImageName", "ErrImageNeverPull"})
_IMAGE_MISSING_SIGNS = ("not found", "manifest unknown", "does not exist", "name unknown")
_CONFIG_WAITS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_NEVER_STARTED = frozenset({"StartError", "ContainerCannotRun"})
_UNFIT_PODS = frozenset({"Evicted", "NodeLost", "Shutdown", "NodeShutdown", "NodeAffinity", "OutOfcpu"})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a candidate can't go on."""

    side: Side
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the candidate's pods say now.

    ``live`` and ``failure`` exclude each other; with neither the rollout goes on in ``phase``. ``hint`` is the
    reason of a trouble that may still pass (``InsufficientCapacity``); ``deadline`` is when it no longer may.
    """

    phase: Phase
    message: str = ""
    hint: str = ""
    live: bool = False
    failure: Failure | None = None
    deadline: datetime | None = None
    self_test: str = ""


@dataclass(frozen=True, slots=True)
class _PodState:
    """One pod: how far it came, since when, what troubles it."""

    phase: Phase
    since: datetime
    ready: bool = False
    failure: Failure | None = None
    trouble: Failure | None = None
    """A failure once the phase's deadline has passed."""
    patience: timedelta | None = None
    """How long the trouble may last, where that is less than the phase's limit."""

    def deadline(self, limits: RolloutSpec) -> datetime:
        """When this pod must have left its phase."""
        limit = _limit(self.phase, limits)
        return self.since + (limit if self.patience is None else min(limit, self.patience))


def judge(
    revision: str, deployment: Object | None, pods: Sequence[Object], limits: RolloutSpec, now: datetime
) -> Judgement:
    """Judges the rollout of ``revision`` by its Deployment and pods.

    ``limits`` holds the seconds per pod and phase. Raises nothing: whatever is missing in the objects counts as
    not there yet.
    """
    if deployment is None or applied_revision(deployment) != revision or not _observed(deployment):
        return Judgement(Phase.APPLYING, "waiting for the Deployment to take the new pod template")
    mine = [pod for pod in pods if _belongs(pod, revision)]
    states = [_pod_state(pod, now) for pod in mine]
    if _all_live(deployment):
        return Judgement(Phase.ROLLING, live=True, self_test=self_test_outcome(mine))
    if failure := _worst([s.failure for s in states]):
        return Judgement(Phase.FAILED, failure.message, failure=failure)
    unready = sorted((s for s in states if not s.ready), key=lambda s: (_ORDER[s.phase], s.since))
    if not unready:
        return _without_unready_pods(deployment, states, limits, now)
    slowest = unready[0]
    # a pod in a later phase may be the first to miss its deadline
    deadline = min(s.deadline(limits) for s in unready)
    late = [s.trouble or _missed(s.phase, limits) for s in unready if now >= s.deadline(limits)]
    if failure := _worst(late):
        return Judgement(slowest.phase, failure.message, failure=failure, deadline=deadline)
    ready = sum(s.ready for s in states)
    message = slowest.trouble.message if slowest.trouble else _PROGRESS[slowest.phase]
    return Judgement(
        Phase.ROLLING if ready else slowest.phase,
        f"{_replicas_text(deployment, ready)}; {message}" if ready else message,
        hint=slowest.trouble.reason if slowest.trouble else "",
        deadline=deadline,
    )


def self_test_outcome(pods: Sequence[Object]) -> str:
    """What the self-test of ready pods was: ``Passed``, ``NoExample``, or empty when the pods don't tell.

    The port opens only after a passed test, so a ready pod proves it; whether there was anything to test with is
    in the last words of its init container.
    """
    for pod in pods:
        words = _last_words(_mapping(_mapping(_container(pod, FETCH).get("state")).get("terminated")))
        if isinstance(example := words.get("inputExample"), bool):
            return "Passed" if example else "NoExample"
    return ""


_ORDER = {Phase.SCHEDULING: 0, Phase.FETCHING: 1, Phase.STARTING: 2}
_PROGRESS = {
    Phase.SCHEDULING: "waiting for a node",
    Phase.FETCHING: "fetching the model",
    Phase.STARTING: "loading and self-testing the model",
}


def _limit(phase: Phase, limits: RolloutSpec) -> timedelta:
    seconds = {
        Phase.SCHEDULING: limits.scheduling_seconds,
        Phase.FETCHING: limits.fetch_seconds,
        Phase.STARTING: limits.startup_seconds,
    }
    return timedelta(seconds=seconds[phase])


def _missed(phase: Phase, limits: RolloutSpec) -> Failure:
    seconds = int(_limit(phase, limits).total_seconds())
    if phase is Phase.SCHEDULING:
        return Failure(Side.ENVIRONMENT, "SchedulingDeadline", f"no node took the pod within {seconds} s")
    if phase is Phase.FETCHING:
        return Failure(
            Side.ENVIRONMENT,
            "FetchDeadline",
            f"the model was not fetched within {seconds} s; rollout.fetchSeconds sets this limit",
        )
    return Failure(
        Side.CONFIGURATION,
        "StartupDeadline",
        f"the server was not ready within {seconds} s of its start; if the model needs longer to load, raise "
        "rollout.startupSeconds",
    )


def _without_unready_pods(
    deployment: Object, states: Sequence[_PodState], limits: RolloutSpec, now: datetime
) -> Judgement:
    """Every pod that exists is ready, or none exists: the Deployment itself may be held up."""
    for condition in _conditions(deployment):
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            text = _cut(str(condition.get("message", "")))
            quota = "exceeded quota" in text
            failure = Failure(
                Side.ENVIRONMENT,
                "QuotaExceeded" if quota else "PodsRefused",
                f"the API server refuses the new pods: {text}",
            )
            since = read_time(condition.get("lastTransitionTime")) or now
            deadline = since + _limit(Phase.SCHEDULING, limits)
            if now >= deadline:
                return Judgement(Phase.SCHEDULING, failure.message, failure=failure, deadline=deadline)
            return Judgement(Phase.SCHEDULING, failure.message, hint=failure.reason, deadline=deadline)
    if _mapping(deployment.get("spec")).get("paused") is True:
        text = "the Deployment is paused by hand; kubectl rollout resume lets it go on"
        return Judgement(Phase.SCHEDULING, text, hint="DeploymentPaused")
    if states:
        return Judgement(Phase.ROLLING, _replicas_text(deployment, len(states)))
    return Judgement(Phase.SCHEDULING, "waiting for the first pod")


# --- one pod ---------------------------------------------------------------------------------------


def _pod_state(pod: Object, now: datetime) -> _PodState:
    created = read_time(_mapping(pod.get("metadata")).get("creationTimestamp")) or now
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") != "True":
        trouble = None
        if scheduled.get("reason") == "Unschedulable":
            text = _cut(str(scheduled.get("message", "")))
            trouble = Failure(
                Side.ENVIRONMENT, "InsufficientCapacity", f"no node has room for the pod: {text}"
            )
        return _PodState(Phase.SCHEDULING, created, trouble=trouble)
    since = read_time(scheduled.get("lastTransitionTime")) or created
    readiness = _condition(pod, "Ready")
    if readiness.get("status") == "True":
        return _PodState(Phase.STARTING, since, ready=True)
    initialized = _condition(pod, "Initialized")
    if initialized.get("status") != "True":
        return _container_state(_container(pod, FETCH), _PodState(Phase.FETCHING, since), ours=True)
    since = read_time(initialized.get("lastTransitionTime")) or since
    # a pod that was ready and no longer is has its time again: it did start
    since = max(since, read_time(readiness.get("lastTransitionTime")) or since)
    server = _container(pod, SERVER)
    return _container_state(server, _PodState(Phase.STARTING, since), ours=_runs_our_script(pod))


def _container_state(status: Object, state: _PodState, *, ours: bool) -> _PodState:
    """Adds to ``state`` what the container's status tells; ``ours`` says that the exit codes are our own."""
    waiting = _mapping(_mapping(status.get("state")).get("waiting"))
    reason, text = str(waiting.get("reason", "")), _cut(str(waiting.get("message", "")))
    image = str(status.get("image", ""))
    if reason in _IMAGE_FINAL or (
        reason in _IMAGE_WAITS and any(sign in text.lower() for sign in _IMAGE_MISSING_SIGNS)
    ):
        return _failed(state, Side.CONFIGURATION, "ImageMissing", f"the image {image} can't be had: {text}")
    if reason in _IMAGE_WAITS:
        return _troubled(
            state, Side.ENVIRONMENT, "ImageUnreachable", f"the image {image} can't be pulled: {text}"
        )
    if reason in _CONFIG_WAITS:
        message = f"the container can't be made: {text}"
        return replace(
            _troubled(state, Side.CONFIGURATION, "ContainerConfigError", message), patience=CONFIG_GRACE
        )
    ended = _ended(status)
    if not ended:
        return state
    return _exited(status, state, ended, ours=ours)


def _exited(status: Object, state: _PodState, ended: Object, *, ours: bool) -> _PodState:
    """Judges a container by the way in which it last ended."""
    code = ended.get("exitCode")
    words = _last_words(ended)
    said = _cut(str(words.get("message") or _end_of(str(ended.get("message") or ""))).strip())
    name = str(status.get("name", ""))
    if ended.get("reason") == "OOMKilled":
        return _out_of_memory(state, name)
    if ours and isinstance(code, int) and code in EXIT_CODES:
        reason, side = EXIT_CODES[code]
        message = said or f"the {name} container ended with code {code}"
        if side is Side.ENVIRONMENT:
            return _troubled(state, side, reason, message)
        return _failed(state, side, reason, message)
    runs_again = isinstance(_mapping(status.get("state")).get("running"), Mapping)
    exits = _count(status) + (0 if runs_again else 1)
    if exits < BARE_EXITS:
        return state
    quoted = f"; its last words: {said}" if said else ""
    if str(ended.get("reason")) in _NEVER_STARTED:
        message = f"the {name} container can't be started{quoted}"
        return _failed(state, Side.CONFIGURATION, "ContainerCannotStart", message)
    message = f"the {name} container ended {exits} times, last with code {code}{quoted}"
    return _failed(state, Side.MODEL, "CrashLoop", message)


def _out_of_memory(state: _PodState, container: str) -> _PodState:
    text = f"the {container} container was killed for using more memory than its limit; "
    if container == FETCH:
        text += "raise fetch.resources.limits.memory, or give /model a volume that is not in memory"
        return _failed(state, Side.CONFIGURATION, "OutOfMemory", text)
    text += "the model needs more than server.resources.limits.memory allows"
    return _failed(state, Side.MODEL, "OutOfMemory", text)


def _failed(state: _PodState, side: Side, reason: str, message: str) -> _PodState:
    return _PodState(state.phase, state.since, failure=Failure(side, reason, _cut(message)))


def _troubled(state: _PodState, side: Side, reason: str, message: str) -> _PodState:
    return _PodState(state.phase, state.since, trouble=Failure(side, reason, _cut(message)))


def _worst(failures: Sequence[Failure | None]) -> Failure | None:
    order = [Side.MODEL, Side.CONFIGURATION, Side.ENVIRONMENT]
    found = [f for f in failures if f]
    return min(found, key=lambda f: (order.index(f.side), f.reason)) if found else None


# --- reading objects -------------------------------------------------------------------------------


def _observed(deployment: Object) -> bool:
    generation = _mapping(deployment.get("metadata")).get("generation", 0)
    observed = _mapping(deployment.get("status")).get("observedGeneration", 0)
    if not isinstance(generation, int) or not isinstance(observed, int):
        return False
    return observed >= generation


def _all_live(deployment: Object) -> bool:
    """Kubernetes' own test of a complete rollout: everything updated, available, and nothing old left."""
    wanted = _mapping(deployment.get("spec")).get("replicas", 1)
    status = _mapping(deployment.get("status"))
    counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    return all(count == wanted for count in counts)


def _replicas_text(deployment: Object, ready: int) -> str:
    wanted = _mapping(deployment.get("spec")).get("replicas", 1)
    return f"{ready} of {wanted} replicas are ready on the new version"


def _belongs(pod: Object, revision: str) -> bool:
    metadata = _mapping(pod.get("metadata"))
    status = _mapping(pod.get("status"))
    if metadata.get("deletionTimestamp") or str(status.get("reason")) in _UNFIT_PODS:
        return False
    if status.get("phase") in ("Failed", "Succeeded"):
        return False
    return _mapping(metadata.get("labels")).get(names.LABEL_REVISION) == revision


def _runs_our_script(pod: Object) -> bool:
    annotations = _mapping(_mapping(pod.get("metadata")).get("annotations"))
    return str(annotations.get(names.ANNOTATION_RUNTIME, "MLflow")) == "MLflow"


def _ended(status: Object) -> Object:
    """The last end of the container, where it should not have ended: only a fetch may end well."""
    for name in ("state", "lastState"):
        ended = _mapping(_mapping(status.get(name)).get("terminated"))
        if ended and (ended.get("exitCode") != 0 or status.get("name") != FETCH):
            return ended
    return {}


def _last_words(ended: Object) -> Object:
    """The JSON line that our scripts leave; empty for anything else."""
    try:
        words = json.loads(str(ended.get("message", "")))
    except (ValueError, RecursionError):
        return {}
    return _mapping(words)


def _containers(pod: Object, name: str) -> list[Object]:
    value = _mapping(pod.get("status")).get(name)
    return [_mapping(v) for v in value] if isinstance(value, list) else []


def _container(pod: Object, name: str) -> Object:
    for field in ("initContainerStatuses", "containerStatuses"):
        for status in _containers(pod, field):
            if status.get("name") == name:
                return status
    return {}


def _conditions(obj: Object) -> list[Object]:
    value = _mapping(obj.get("status")).get("conditions")
    return [_mapping(v) for v in value] if isinstance(value, list) else []


def _condition(obj: Object, kind: str) -> Object:
    return next((c for c in _conditions(obj) if c.get("type") == kind), {})


def _count(status: Object) -> int:
    value = status.get("restartCount", 0)
    return value if isinstance(value, int) else 0


def _mapping(value: Any) -> Object:
    return value if isinstance(value, Mapping) else {}


def _end_of(log: str) -> str:
    """What a traceback says stands at its end."""
    text = log.strip()
    return text if len(text) <= LOG_LIMIT else "…" + text[1 - LOG_LIMIT :]


def _cut(text: str) -> str:
    return text if len(text) <= MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 1] + "…"
