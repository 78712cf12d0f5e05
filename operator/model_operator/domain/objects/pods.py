"""Pods: their progress, and the ends of their containers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from model_operator.api import names
from model_operator.api.choices import DEFAULT_RUNTIME, RUNTIMES
from model_operator.domain.objects.children import is_leaving
from model_operator.domain.objects.conditions import MISSING, Condition, read_conditions
from model_operator.domain.objects.fields import (
    Object,
    count,
    mapping,
    metadata,
    objects,
    part,
    read_time,
    spec,
    status,
    text,
)


@dataclass(frozen=True, slots=True)
class ContainerEnd:
    """The end of one run of a container."""

    exit_code: int | None
    reason: str
    message: str
    """The termination message: a JSON line of our scripts, or the end of the log."""
    started: datetime | None
    finished: datetime | None
    said: str = ""
    """The text in our scripts' termination message."""
    input_example: bool | None = None
    """Whether the model has an input example. None if our scripts' termination message doesn't have it."""
    blamed: str = ""
    """The reason in the last words of our scripts."""


@dataclass(frozen=True, slots=True)
class Container:
    """The status of one container. All fields are empty while it has none."""

    name: str
    image: str = ""
    ready: bool | None = None
    restarts: int = 0
    running: bool = False
    running_since: datetime | None = None
    waiting_for: str = ""
    """The reason of its state Waiting."""
    waiting_message: str = ""
    end: ContainerEnd | None = None
    """Its end, if it isn't running now."""
    last_end: ContainerEnd | None = None
    """The end of its previous run."""


@dataclass(frozen=True, slots=True)
class Volumes:
    """The volumes that a pod's author added. A pod can't start before all of them are mounted."""

    files: Sequence[str] = ()
    """Its Secrets and ConfigMaps that must exist, such as ``Secret tls``."""
    disks: Sequence[str] = ()
    """Its volumes of other kinds, such as ``persistentVolumeClaim cache``. Attaching one may take minutes."""

    def __bool__(self) -> bool:
        return bool(self.files or self.disks)


@dataclass(frozen=True, slots=True)
class ContainerRequests:
    """The resource requests of one container."""

    container: str
    amounts: Mapping[str, str]
    """Quantities by resource, as they were written."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of ours."""

    name: str
    uid: str
    revision: str
    """The revision in its label. Empty without the label."""
    track: str
    """The track in its label. Empty without the label."""
    runtime: str
    created: datetime | None
    leaving: bool
    """Whether it is being deleted."""
    phase: str
    reason: str
    message: str
    started: datetime | None
    """When a kubelet accepted it."""
    conditions: Mapping[str, Condition]
    fetch: Container
    server: Container
    others: Sequence[Container]
    """Init containers that are not ours. An admission webhook added them."""
    sidecars: Sequence[Container]
    """Containers beside the server that are not ours, including init containers that keep running."""
    containers_ready: bool
    """Whether the status has containers and all of them are ready."""
    volumes: Volumes
    requests: Sequence[ContainerRequests]
    ip: str
    ports: Mapping[str, int]
    """The ports of its containers by name."""

    def condition(self, kind: str) -> Condition:
        """The condition of that type. An empty one if there is none."""
        return self.conditions.get(kind, MISSING)

    @property
    def is_ready(self) -> bool:
        """Whether its condition Ready is true, so that it can get requests."""
        return self.condition("Ready").is_true

    @property
    def runs_our_script(self) -> bool:
        """Whether the server is our script, so that its exit codes have our meaning."""
        runtime = RUNTIMES.get(self.runtime)
        return runtime is not None and runtime.our_script


def read_pod(raw: Object) -> Pod:
    """The view of a pod."""
    meta, wanted, seen = metadata(raw), spec(raw), status(raw)
    labels = part(meta, "labels")
    fetches, servers = objects(seen.get("initContainerStatuses")), objects(seen.get("containerStatuses"))
    statuses = [*fetches, *servers]
    containers, inits = objects(wanted.get("containers")), objects(wanted.get("initContainers"))
    lasting = {text(found.get("name")) for found in inits if found.get("restartPolicy") == "Always"}
    known = [_read_status(found) for found in statuses if text(found.get("name")) not in _OURS]
    before = {text(found.get("name")) for found in fetches} - lasting
    return Pod(
        name=text(meta.get("name")),
        uid=text(meta.get("uid")),
        revision=text(labels.get(names.LABEL_REVISION)),
        track=text(labels.get(names.LABEL_TRACK)),
        runtime=str(part(meta, "annotations").get(names.ANNOTATION_RUNTIME, DEFAULT_RUNTIME)),
        created=read_time(meta.get("creationTimestamp")),
        leaving=is_leaving(meta),
        phase=text(seen.get("phase")),
        reason=text(seen.get("reason")),
        message=text(seen.get("message")),
        started=read_time(seen.get("startTime")),
        conditions=read_conditions(seen),
        fetch=_read_container(statuses, names.CONTAINER_FETCH),
        server=_read_container(statuses, names.CONTAINER_SERVER),
        others=tuple(found for found in known if found.name in before),
        sidecars=tuple(found for found in known if found.name not in before),
        containers_ready=bool(servers) and all(found.get("ready") is True for found in servers),
        volumes=_read_volumes(objects(wanted.get("volumes"))),
        requests=tuple(map(_read_requests, [*inits, *containers])),
        ip=text(seen.get("podIP")),
        ports=_read_ports(containers),
    )


def _read_container(statuses: Sequence[Object], name: str) -> Container:
    for found in statuses:
        if found.get("name") == name:
            return _read_status(found)
    return Container(name)


def _read_status(found: Object) -> Container:
    state, ready = part(found, "state"), found.get("ready")
    running, waiting = state.get("running"), part(state, "waiting")
    return Container(
        text(found.get("name")),
        text(found.get("image")),
        ready if isinstance(ready, bool) else None,
        count(found.get("restartCount")),
        isinstance(running, Mapping),
        read_time(mapping(running).get("startedAt")) if running else None,
        text(waiting.get("reason")) if waiting else "",
        text(waiting.get("message")) if waiting else "",
        _read_end(part(state, "terminated")),
        _read_end(part(part(found, "lastState"), "terminated")),
    )


_OURS = frozenset({names.CONTAINER_FETCH, names.CONTAINER_SERVER})
_FILES = {"secret": ("Secret", "secretName"), "configMap": ("ConfigMap", "name")}
_ADDED = ("model-operator-", "kube-api-access-")
"""The names of the volumes that the operator and the API server add begin like this."""
_WITHOUT_WAIT = frozenset({"emptyDir", "downwardAPI", "projected", "hostPath"})
"""Kinds that name no Secret or ConfigMap of their own, and that the kubelet mounts without attaching anything."""


def _read_volumes(volumes: Sequence[Object]) -> Volumes:
    files: list[str] = []
    disks: list[str] = []
    for volume in volumes:
        name = text(volume.get("name"))
        if name in names.RESERVED_VOLUMES or name.startswith(_ADDED):
            if "ephemeral" in volume:
                disks.append(f"ephemeral {name}")
            continue
        sources = [volume, *objects(part(volume, "projected").get("sources"))]
        files += [found for source in sources for found in _read_files(source)]
        kinds = volume.keys() - {"name"} - _FILES.keys() - _WITHOUT_WAIT
        disks += [f"{kind} {name}" for kind in sorted(kinds)]
    return Volumes(tuple(files), tuple(disks))


def _read_files(source: Object) -> list[str]:
    """The Secret or ConfigMap of a volume, or of one source of a projected volume, unless it is optional."""
    found = []
    for field, (kind, key) in _FILES.items():
        named = part(source, field)
        name = text(named.get(key)) or text(named.get("name"))
        if name and named.get("optional") is not True:
            found.append(f"{kind} {name}")
    return found


def _read_end(ended: Object) -> ContainerEnd | None:
    if not ended:
        return None
    code, message = ended.get("exitCode"), text(ended.get("message"))
    words = _read_last_words(message)
    example = words.get("inputExample")
    return ContainerEnd(
        code if isinstance(code, int) else None,
        text(ended.get("reason")),
        message,
        read_time(ended.get("startedAt")),
        read_time(ended.get("finishedAt")),
        text(words.get("message")),
        example if isinstance(example, bool) else None,
        text(words.get("reason")),
    )


def _read_last_words(message: str) -> Object:
    """The JSON line that our scripts write as termination message. Empty for anything else."""
    try:
        return mapping(json.loads(message)) if message else {}
    except (ValueError, RecursionError):
        return {}


def _read_requests(container: Object) -> ContainerRequests:
    requested = part(part(container, "resources"), "requests")
    amounts = {name: str(amount) for name, amount in requested.items() if isinstance(amount, str | int)}
    return ContainerRequests(text(container.get("name")), amounts)


def _read_ports(containers: Sequence[Object]) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for container in containers:
        for port in objects(container.get("ports")):
            found.setdefault(text(port.get("name")), count(port.get("containerPort")))
    return found


def change_messages(pod: Object, change: Callable[[str], str]) -> Object:
    """The JSON of a pod with ``change`` applied to every message in its status.

    Only messages have foreign text. All other texts of a status are Kubernetes' own.
    """
    return {**pod, "status": _with_messages(pod.get("status") or {}, change)}


def _with_messages(value: Any, change: Callable[[str], str]) -> Any:
    match value:
        case Mapping():
            return {
                key: change(part)
                if key == "message" and isinstance(part, str)
                else _with_messages(part, change)
                for key, part in value.items()
            }
        case list() | tuple():
            return [_with_messages(part, change) for part in value]
        case _:
            return value


def read_pod_version(raw: Object) -> str:
    """The model's version in the pod's annotation. Empty without the annotation."""
    return str(part(metadata(raw), "annotations").get(names.ANNOTATION_VERSION, ""))


def read_restarts(raw: Object) -> int:
    """The number of restarts of all containers of the pod, including sidecars."""
    seen = status(raw)
    lists = (objects(seen.get(field)) for field in ("initContainerStatuses", "containerStatuses"))
    return sum(count(container.get("restartCount")) for found in lists for container in found)
