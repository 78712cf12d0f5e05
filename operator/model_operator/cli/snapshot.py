"""One ModelDeployment and its pods at one moment, with their fields as the output needs them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from model_operator.api import ModelDeploymentStatus, SpecError, parse
from model_operator.api.spec import ModelDeploymentSpec
from model_operator.api.status import Condition
from model_operator.domain.objects import (
    ModelDeployment,
    Object,
    read_modeldeployment,
    read_pod,
    read_pod_version,
    read_restarts,
)
from model_operator.planner.health.pod_state import PodState, pod_state

_GITOPS = {
    "kustomize.toolkit.fluxcd.io/name": "the Flux Kustomization",
    "helm.toolkit.fluxcd.io/name": "the Flux HelmRelease",
    "argocd.argoproj.io/tracking-id": "the Argo CD Application",
    "argocd.argoproj.io/instance": "the Argo CD Application",
}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The object from the API server, the time of the read, and its pods (None if the user may not read them)."""

    raw: Mapping[str, Any]
    now: datetime
    pods: Sequence[Object] | None = None

    @property
    def seen(self) -> ModelDeployment:
        """The object's fields."""
        return read_modeldeployment(self.raw)

    @property
    def name(self) -> str:
        return self.seen.name

    @property
    def namespace(self) -> str:
        return self.seen.namespace

    @property
    def generation(self) -> int:
        return self.seen.generation

    @property
    def annotations(self) -> Mapping[str, Any]:
        return self.seen.annotations

    @property
    def status(self) -> ModelDeploymentStatus:
        return ModelDeploymentStatus.read(self.seen.status)

    @property
    def spec(self) -> ModelDeploymentSpec | None:
        """The spec, or None if this program can't read it."""
        try:
            return parse(self.raw).spec
        except SpecError:
            return None

    @property
    def reference(self) -> str:
        """The spec's reference, such as ``churn@champion``. From the status if the spec can't be read."""
        if spec := self.spec:
            found = spec.model.reference()
            shown = found.display
            return f"{found.name}{shown}" if shown.startswith("@") else f"{found.name}/{shown}"
        return f"{self.status.model_name or '?'}{self.status.alias or ''}"

    @property
    def suspended(self) -> bool:
        return self.seen.spec.get("suspend") is True

    @property
    def age(self) -> str:
        return age(self.seen.created, self.now, short=True)

    def condition(self, kind: str) -> Condition | None:
        return self.status.condition(kind)

    def is_true(self, kind: str) -> bool:
        found = self.condition(kind)
        return found is not None and found.status == "True"

    def manager(self) -> str:
        """Returns the GitOps object that manages this one, such as ``the Flux Kustomization apps``. May be empty."""
        for key, tool in _GITOPS.items():
            if found := self.seen.labels.get(key) or self.annotations.get(key):
                return f"{tool} {str(found).partition(':')[0]}"
        return ""


@dataclass(frozen=True, slots=True)
class PodLine:
    """One pod as the output shows it."""

    name: str
    track: str
    revision: str
    version: str
    phase: str
    """Scheduling, Fetching, Starting, Ready, Leaving or Gone."""
    since: datetime | None
    ready: bool
    restarts: int
    reason: str = ""
    message: str = ""


def pod_lines(snapshot: Snapshot) -> list[PodLine]:
    """Returns the pods: those that are not ready first, then the youngest."""
    lines = [_pod_line(pod, snapshot.now) for pod in snapshot.pods or ()]
    return sorted(lines, key=lambda line: (line.ready, -(line.since or snapshot.now).timestamp(), line.name))


def _pod_line(pod: Object, now: datetime) -> PodLine:
    seen = read_pod(pod)
    found = pod_state(seen, now)
    trouble = (found.failure or found.trouble) if found else None
    return PodLine(
        name=seen.name,
        track=seen.track,
        revision=seen.revision,
        version=read_pod_version(pod),
        phase=_phase(found),
        since=seen.created,
        ready=bool(found and found.ready),
        restarts=read_restarts(pod),
        reason=trouble.reason if trouble else "",
        message=trouble.message if trouble else "",
    )


def _phase(found: PodState | None) -> str:
    if found is None:
        return "Leaving"
    if found.gone:
        return "Gone"
    return "Ready" if found.ready else found.phase.value


def age(since: datetime | None, now: datetime, *, short: bool = False) -> str:
    """Returns the time between ``since`` and ``now`` as kubectl writes it, in two units or (``short``) one."""
    if since is None:
        return "?"
    seconds = int(abs((now - since).total_seconds()))
    for size, unit, below, lesser in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            # from ten units on, the smaller unit adds nothing
            return f"{whole}{unit}" + (
                f"{rest // below}{lesser}" if whole < 10 and rest // below and not short else ""
            )
    return f"{seconds}s"
