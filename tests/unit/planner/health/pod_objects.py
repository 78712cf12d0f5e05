"""Deployments and pods as the API server has them: of every condition, and of none that makes sense."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from model_operator.api import names
from model_operator.domain.objects import read_deployment, read_pod, rfc3339
from model_operator.domain.world import Track

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
REVISION = "v3-0123456789"

Json = dict[str, Any]


def deployment(replicas: int = 2, status: Json | None = None, **spec: Any) -> Json:
    template = {"metadata": {"labels": {names.LABEL_REVISION: REVISION}}}
    return {
        "metadata": {"generation": 2},
        "spec": {"replicas": replicas, "template": template, **spec},
        "status": {"observedGeneration": 2, **(status or {})},
    }


def track(carrier: Json | None, *pods: Json) -> Track:
    """The track with that Deployment and those pods."""
    return Track("churn", read_deployment(carrier) if carrier else None, tuple(map(read_pod, pods)))


def conditions(reached: str, seconds: float, **fields: Any) -> list[Json]:
    """The conditions of a pod that came as far as ``reached``, ``seconds`` ago."""
    order = ["PodScheduled", "Initialized", "Ready"]
    at = rfc3339(NOW - timedelta(seconds=seconds))
    done = order[: order.index(reached) + 1] if reached else []
    made = [{"type": kind, "status": "True", "lastTransitionTime": at} for kind in done]
    missing = [kind for kind in order if kind not in done][:1]
    return made + [{"type": k, "status": "False", "lastTransitionTime": at, **fields} for k in missing]


def pod(reached: str = "", seconds: float = 5, container: Json | None = None, **fields: Any) -> Json:
    statuses = "initContainerStatuses" if (container or {}).get("name") == "fetch" else "containerStatuses"
    return {
        "metadata": {
            "creationTimestamp": rfc3339(NOW - timedelta(seconds=seconds)),
            "labels": {names.LABEL_REVISION: REVISION},
            "annotations": {names.ANNOTATION_RUNTIME: fields.pop("runtime", "MLflow")},
        },
        "status": {
            "phase": "Pending",
            "conditions": conditions(reached, seconds, **fields),
            statuses: [container] if container else [],
        },
    }


def fetching(container: Json, seconds: float = 5) -> Json:
    return pod("PodScheduled", seconds, {"name": "fetch", "image": "fetch:1"} | container)


def starting(container: Json, seconds: float = 5, **fields: Any) -> Json:
    return pod("Initialized", seconds, {"name": "server", "image": "server:1"} | container, **fields)


def ended(code: int, restarts: int = 0, message: str = "", reason: str = "Error") -> Json:
    terminated = {"exitCode": code, "message": message, "reason": reason}
    return {"restartCount": restarts, "state": {"terminated": terminated}}


def waiting(reason: str, message: str = "") -> Json:
    return {"restartCount": 0, "state": {"waiting": {"reason": reason, "message": message}}}


# --- garbage

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 200) | st.sampled_from(["", "x" * 3000, rfc3339(NOW)]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.just("state"), inner),
    max_leaves=3,
)


def _run(code: int, reason: str) -> Json:
    times = {"startedAt": rfc3339(NOW - timedelta(seconds=90)), "finishedAt": rfc3339(NOW)}
    return {"terminated": {"exitCode": code, "reason": reason, "message": '{"message": "said"}', **times}}


def _server(state: Json, last: Json, ready: bool = False) -> Json:
    return {
        "name": "server",
        "image": "i:1",
        "ready": ready,
        "restartCount": 3,
        "state": state,
        "lastState": last,
    }


_ASKING = {"containers": [{"name": "server", "resources": {"requests": {"cpu": "64"}}}]}
_RUNNING = {"running": {"startedAt": rfc3339(NOW - timedelta(seconds=80))}}
_HOMELESS = "0/3 nodes are available: 1 Insufficient cpu, 2 Too many pods."
_SENSIBLE = (
    pod("", 90, reason="Unschedulable", message=_HOMELESS) | {"spec": _ASKING},
    fetching(waiting("ErrImagePull", "not found")),
    fetching(ended(42, 3)),
    starting(_server(waiting("CreateContainerConfigError")["state"], {}), 90),
    starting(_server(_run(50, "Error"), _run(1, "Error")), 90),
    starting(_server(_RUNNING, _run(137, "OOMKilled")), 90),
    starting(_server(_RUNNING, _run(1, "StartError")), 90),
    starting(_server(_RUNNING, {}), 60),
    starting(_server(_RUNNING, {}, ready=True), 60),
    pod("Ready", 90, _server(_RUNNING, _run(1, "Error"), ready=True)),
)


@st.composite
def spoilt_pods(draw: st.DrawFn) -> Json:
    """A sensible pod in which some fields are missing, or are something else."""
    spoilt = deepcopy(draw(st.sampled_from(_SENSIBLE)))
    spoilt["status"]["conditions"].append({"type": "DisruptionTarget", "status": "False", "reason": "x"})
    for _ in range(draw(st.integers(0, 3))):
        _spoil(draw, spoilt)
    return spoilt


def _spoil(draw: st.DrawFn, part: Any) -> None:
    while part:
        key = draw(st.sampled_from(sorted(part) if isinstance(part, dict) else range(len(part))))
        inner = part[key]
        if isinstance(inner, dict | list) and inner and draw(st.integers(0, 4)):
            part = inner
            continue
        if isinstance(part, dict) and draw(st.booleans()):
            del part[key]
        else:
            part[key] = draw(JSON)
        return
