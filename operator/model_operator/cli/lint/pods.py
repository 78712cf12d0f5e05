"""Kubernetes' own parts of the spec, as the API server judges them in the pods that the operator makes of them.

The CRD passes these parts on. The API server rejects the Deployment in a dry run before a rollout, and an autoscaler
when it is made. Each part is checked for its structure first, then for the rules between its fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from model_operator.api import names
from model_operator.api.choices import RUNTIMES
from model_operator.cli.lint import texts
from model_operator.cli.lint.autoscaling import behavior_problems, metric_problems
from model_operator.cli.lint.containers import (
    mount_problems,
    probe_problems,
    security_problems,
    variable_problems,
    variables_from_problems,
)
from model_operator.cli.lint.documents import Path
from model_operator.cli.lint.pod_fields import EmptyItem, own_field_problems
from model_operator.cli.lint.resources import resource_problems, worker_problems
from model_operator.cli.lint.scheduling import affinity_problems, spread_problems, toleration_problems
from model_operator.cli.lint.structure import FieldProblem, Severity
from model_operator.cli.lint.volumes import source_problems, volume_problems
from model_operator.planner.manifests import merge_probe, mounted_by_us, pod_security, server_security

_SPEC: Path = ("spec",)
_PROBES = ("startup", "readiness", "liveness")
_CONTAINER_LISTS = {"env": "EnvVar", "envFrom": "EnvFromSource", "volumeMounts": "VolumeMount"}
_POD_PARTS = {
    "tolerations": "[]#Toleration",
    "affinity": "#Affinity",
    "topologySpreadConstraints": "[]#TopologySpreadConstraint",
    "volumes": "[]#Volume",
    "imagePullSecrets": "[]#LocalObjectReference",
}
# the operator's configuration decides whether the pods have them
_MAYBE_MOUNTED = (names.VOLUME_REGISTRY_CA, names.VOLUME_REGISTRY_CLIENT)


_SET_BY_US: Mapping[str, Sequence[str]] = {
    "fetch": ("MODEL_NAME", "MODEL_VERSION", "MODEL_DIR"),
    "server": ("MODEL_NAME", "MODEL_VERSION", "MODEL_DIR", "SERVER_PORT"),
}
_SET_FOR_OUR_SCRIPT = ("SELF_TEST_MODE", "SELF_TEST_TIMEOUT_SECONDS", "SELF_TEST_PATH", "DRAIN_SECONDS")
_OF_FIELDS = {
    "SERVER_WORKERS": "workers",
    "MAX_CONCURRENCY": "maxConcurrency",
    "MAX_QUEUE": "maxQueue",
    "BATCH_MAX_ROWS": "batch",
    "BATCH_MAX_WAIT_MILLISECONDS": "batch",
}


def pod_problems(spec: Any, broken: Sequence[Path]) -> Iterator[FieldProblem]:
    """Yields the problems of Kubernetes' own parts of a spec with its defaults. ``broken`` fields are skipped."""
    if not isinstance(spec, Mapping):
        return
    parts = _Parts(_as_read(spec))
    for container in ("fetch", "server"):
        yield from _replace_left_out(parts, container)
    faults = [problem for problem in _structure(parts) if not _is_within(problem.path, broken)]
    yield from faults
    wrong = [*broken, *(problem.path for problem in faults if problem.severity is Severity.ERROR)]
    for path, problems in _rules(parts):
        if not any(fault[: len(path)] == path or path[: len(fault)] == fault for fault in wrong):
            yield from problems


def _as_read(value: Any) -> Any:
    """A copy, with the nulls in lists as the API server reads them."""
    if isinstance(value, Mapping):
        return {key: _as_read(item) for key, item in value.items()}
    if isinstance(value, list):
        return [EmptyItem() if item is None else _as_read(item) for item in value]
    return value


def _replace_left_out(parts: _Parts, container: str) -> Iterator[FieldProblem]:
    """Yields a warning for each entry that the pods don't get, and puts a valid one in its place."""
    variables = parts.list(container, "env")
    scripted = container == "server" and _runs_our_script(parts)
    reserved = (*_SET_BY_US[container], *(_SET_FOR_OUR_SCRIPT if scripted else ()))
    for index, variable in enumerate(variables):
        name = variable.get("name") if isinstance(variable, Mapping) else None
        path = (*_SPEC, container, "env", index)
        if name in reserved:
            message = "is set by the operator: remove it, since the pods don't get yours"
            yield FieldProblem(path, message, Severity.WARNING)
            variables[index] = {"name": "A"}
        elif scripted and isinstance(name, str) and (field := _OF_FIELDS.get(name)):
            message = f"is the variable of server.{field}: remove it, and set that field"
            yield FieldProblem(path, message, Severity.WARNING)
    mounts = parts.list(container, "volumeMounts")
    for index, mount in enumerate(mounts):
        taken = str(mount.get("mountPath")).rstrip("/") if isinstance(mount, Mapping) else ""
        if taken in _our_paths(parts, container):
            message = "is at a path of the operator: use another path, since the pods don't get this mount"
            yield FieldProblem((*_SPEC, container, "volumeMounts", index), message, Severity.WARNING)
            mounts[index] = {"name": names.VOLUME_TMP, "mountPath": taken}


def _runs_our_script(parts: _Parts) -> bool:
    runtime = RUNTIMES.get(parts.text("server", "runtime"))
    return runtime is None or runtime.our_script


def _is_within(path: Path, broken: Sequence[Path]) -> bool:
    return any(path[: len(fault)] == fault for fault in broken)


class _Parts:
    """The parts of a spec. A part of another type than the CRD's is an empty one: the CRD's problem is reported."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self._spec = spec

    def object(self, *path: str) -> Mapping[str, Any]:
        found = self._at(path)
        return found if isinstance(found, Mapping) else {}

    def list(self, *path: str) -> list[Any]:
        found = self._at(path)
        return found if isinstance(found, list) else []

    def number(self, *path: str) -> int:
        found = self._at(path)
        return found if isinstance(found, int) else 0

    def text(self, *path: str) -> str:
        found = self._at(path)
        return found if isinstance(found, str) else ""

    def _at(self, path: Sequence[str]) -> Any:
        found: Any = self._spec
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    def probe(self, which: str) -> dict[str, Any]:
        return merge_probe(which, "/", self.object("server", "probes", which))

    def pod_security(self) -> dict[str, Any]:
        return pod_security("Fixed", self.object("pod", "securityContext"))

    def server_security(self) -> dict[str, Any]:
        return server_security(self.object("server", "securityContext"))


def _structure(parts: _Parts) -> Iterator[FieldProblem]:
    for container in ("fetch", "server"):
        for name, kind in _CONTAINER_LISTS.items():
            yield from own_field_problems(
                parts.list(container, name), f"[]#{kind}", (*_SPEC, container, name)
            )
        here = (*_SPEC, container, "resources")
        yield from own_field_problems(parts.object(container, "resources"), "#ResourceRequirements", here)
    volume = {"name": "model", **parts.object("fetch", "volume")}
    yield from own_field_problems(volume, "#Volume", (*_SPEC, "fetch", "volume"))
    for which in _PROBES:
        yield from own_field_problems(parts.probe(which), "#Probe", (*_SPEC, "server", "probes", which))
    here = (*_SPEC, "server", "securityContext")
    yield from own_field_problems(parts.server_security(), "#SecurityContext", here)
    here = (*_SPEC, "pod", "securityContext")
    yield from own_field_problems(parts.pod_security(), "#PodSecurityContext", here)
    for name, kind in _POD_PARTS.items():
        yield from own_field_problems(parts.object("pod").get(name), kind, (*_SPEC, "pod", name))
    autoscaling = parts.object("autoscaling")
    yield from own_field_problems(
        autoscaling.get("metrics"), "[]#MetricSpec", (*_SPEC, "autoscaling", "metrics")
    )
    yield from own_field_problems(
        autoscaling.get("behavior"), "#HorizontalPodAutoscalerBehavior", (*_SPEC, "autoscaling", "behavior")
    )


_Checked = tuple[Path, Iterator[FieldProblem]]


def _rules(parts: _Parts) -> Iterator[_Checked]:
    """Yields the path of each part and the problems between its fields, which need a valid structure."""
    yield from _container_rules(parts, "fetch")
    yield from _container_rules(parts, "server")
    limit = parts.object("server", "resources", "limits").get("cpu")
    path = (*_SPEC, "server", "workers")
    yield path, worker_problems(parts.number("server", "workers"), limit, path)
    for kind, source in parts.object("fetch", "volume").items():
        path = (*_SPEC, "fetch", "volume", kind)
        yield path, source_problems(kind, source, path)
    for which in _PROBES:
        path = (*_SPEC, "server", "probes", which)
        yield path, probe_problems(which, parts.probe(which), path)
    path = (*_SPEC, "server", "securityContext")
    yield path, security_problems(parts.server_security(), path)
    path = (*_SPEC, "pod", "securityContext")
    yield path, security_problems(parts.pod_security(), path)
    yield from _pod_rules(parts)
    path = (*_SPEC, "autoscaling", "metrics")
    yield path, metric_problems(parts.list("autoscaling", "metrics"), path)
    path = (*_SPEC, "autoscaling", "behavior")
    yield path, behavior_problems(parts.object("autoscaling", "behavior"), path)


def _container_rules(parts: _Parts, container: str) -> Iterator[_Checked]:
    path = (*_SPEC, container, "env")
    yield path, variable_problems(parts.list(container, "env"), path)
    path = (*_SPEC, container, "envFrom")
    yield path, variables_from_problems(parts.list(container, "envFrom"), path)
    path = (*_SPEC, container, "volumeMounts")
    privileged = container == "server" and parts.server_security().get("privileged") is True
    yield path, mount_problems(parts.list(container, "volumeMounts"), path, _volumes(parts), privileged)
    path = (*_SPEC, container, "resources")
    yield path, resource_problems(parts.object(container, "resources"), path)


def _our_paths(parts: _Parts, container: str) -> frozenset[str]:
    our_script = container == "fetch" or _runs_our_script(parts)
    return mounted_by_us(container, our_script, bool(parts.object("selfTest", "payload")))


def _volumes(parts: _Parts) -> frozenset[str]:
    ours = {names.VOLUME_MODEL, names.VOLUME_TMP, names.VOLUME_SCRIPTS, *_MAYBE_MOUNTED}
    if parts.object("selfTest", "payload"):
        ours.add(names.VOLUME_PAYLOAD)
    theirs = (volume.get("name") for volume in parts.list("pod", "volumes") if isinstance(volume, Mapping))
    return frozenset(ours | {name for name in theirs if isinstance(name, str)})


def _pod_rules(parts: _Parts) -> Iterator[_Checked]:
    path: Path = (*_SPEC, "pod")
    for name, judge in (
        ("tolerations", toleration_problems),
        ("topologySpreadConstraints", spread_problems),
        ("volumes", volume_problems),
    ):
        yield (*path, name), judge(parts.list("pod", name), (*path, name))
    yield (*path, "affinity"), affinity_problems(parts.object("pod", "affinity"), (*path, "affinity"))
    for name in ("labels", "annotations", "nodeSelector"):
        yield (*path, name), _key_problems(parts.object("pod", name), (*path, name))
    for name in ("serviceAccountName", "priorityClassName", "runtimeClassName"):
        yield (*path, name), _name_problems(parts.text("pod", name), (*path, name))
    path = (*_SPEC, "service", "annotations")
    yield path, _key_problems(parts.object("service", "annotations"), path)


def _key_problems(entries: Mapping[str, Any], path: Path) -> Iterator[FieldProblem]:
    for key in entries:
        # the keys of annotations may have capitals anywhere
        if not texts.is_label_name(key.lower() if path[-1] == "annotations" else key):
            yield FieldProblem((*path, key), f"{texts.LABEL_NAME}, on the left side")


def _name_problems(text: str, path: Path) -> Iterator[FieldProblem]:
    if text and not texts.is_subdomain(text):
        yield FieldProblem(path, texts.SUBDOMAIN)
