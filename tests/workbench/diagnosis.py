"""What a person would look at first when a step differs: status, events, pods, the operator's last words."""

from __future__ import annotations

from typing import Any

import httpx
import yaml

from tests.cluster.api import ApiClient
from tests.workbench.objects import path

LOG_LINES = 30
EVENTS = 20


def diagnosis(api: ApiClient, namespace: str, operator_namespace: str) -> str:
    """A few dozen lines of text. Raises nothing: what can't be read says so."""
    parts = [
        ("status", lambda: _statuses(api, namespace)),
        ("events", lambda: _events(api, namespace)),
        ("pods", lambda: _pods(api, namespace)),
        ("the operator's last lines", lambda: operator_log(api, operator_namespace)),
    ]
    text = []
    for title, read in parts:
        try:
            found = read()
        except (httpx.HTTPError, KeyError, TypeError) as error:
            found = f"can't be read: {error!r}"
        text.append(f"--- {title}\n{found.rstrip() or '(none)'}")
    return "\n".join(text)


def operator_log(api: ApiClient, namespace: str, lines: int = LOG_LINES) -> str:
    """The end of the log of the operator's pods. Raises httpx.HTTPError."""
    text = []
    for pod in _items(api, "Pod", namespace):
        name = pod["metadata"]["name"]
        answer = api.http.get(f"{path('Pod', namespace, name)}/log", params={"tailLines": lines})
        text.append(answer.text if answer.is_success else f"{name}: {pod_line(pod)}")
    return "\n".join(text)


def pod_line(pod: dict[str, Any]) -> str:
    """Name, phase and the containers' states in one line."""
    metadata, status = pod["metadata"], pod.get("status", {})
    containers = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    states = []
    for container in containers:
        (kind, state), *_ = container.get("state", {}).items() or [("unknown", {})]
        said = " ".join(str(state[k]) for k in ("reason", "exitCode", "message") if k in state)
        restarts = f", {container['restartCount']} restarts" if container.get("restartCount") else ""
        states.append(f"{container['name']}: {kind} {said}{restarts}".rstrip())
    unready = [
        f"{c['type']}: {c.get('reason', '')} {c.get('message', '')}".rstrip()
        for c in status.get("conditions", [])
        if c["status"] != "True" and c["type"] == "PodScheduled"
    ]
    leaving = " (going away)" if metadata.get("deletionTimestamp") else ""
    return f"{metadata['name']} {status.get('phase')}{leaving}: {'; '.join(states + unready)}"


def _items(api: ApiClient, kind: str, namespace: str) -> list[dict[str, Any]]:
    found = api.get(path(kind, namespace))
    return list(found["items"]) if found else []


def _statuses(api: ApiClient, namespace: str) -> str:
    found = {o["metadata"]["name"]: o.get("status", {}) for o in _items(api, "ModelDeployment", namespace)}
    return str(yaml.safe_dump(found, sort_keys=False, width=140)) if found else ""


def _events(api: ApiClient, namespace: str) -> str:
    found = _items(api, "Event", namespace)
    found.sort(key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or ""))
    return "\n".join(
        f"{e['involvedObject']['kind']} {e['involvedObject']['name']}: {e['reason']}: {e['message']}"
        for e in found[-EVENTS:]
    )


def _pods(api: ApiClient, namespace: str) -> str:
    return "\n".join(pod_line(pod) for pod in _items(api, "Pod", namespace))
