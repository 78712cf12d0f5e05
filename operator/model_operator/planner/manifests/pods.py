"""The serving pod: an init container fetches the model, a server container serves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from model_operator.api import names
from model_operator.api.spec import ModelDeploymentSpec, RunAs
from model_operator.domain.revision import Target
from model_operator.domain.world import PodRegistry
from model_operator.planner.manifests.containers import (
    MODEL_DIR,
    PAYLOAD_DIR,
    PAYLOAD_FILE,
    PRE_STOP_SECONDS,
    SCRIPTS_DIR,
    TMP_DIR,
    mount,
    variable,
)
from model_operator.planner.manifests.owner import (
    Owner,
    child_labels,
    child_metadata,
    short_hash,
    track_selector,
)
from model_operator.planner.manifests.registry_env import registry_env, registry_mounts, registry_volumes
from model_operator.planner.manifests.runtimes import RUNTIMES, Runtime

PORT_NAME = "http"
USER_ID = 65532

_STARTUP_PERIOD_SECONDS = 2
# The operator enforces rollout.startupSeconds itself. It is not part of the pod, so changing it restarts nothing.
# The kubelet must not kill a slow loader before that, so it waits longer than the largest startupSeconds (a week).
_STARTUP_WINDOW_SECONDS = 8 * 24 * 3600

# an unreachable registry ends the fetch after seconds instead of minutes, and the kubelet retries
_HTTP_RETRIES = "2"

_TIMES_AND_COUNTS_OF_PROBES: dict[str, dict[str, int]] = {
    "startup": {
        "periodSeconds": _STARTUP_PERIOD_SECONDS,
        "timeoutSeconds": 5,
        "failureThreshold": _STARTUP_WINDOW_SECONDS // _STARTUP_PERIOD_SECONDS,
    },
    "readiness": {"periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3},
    # a minute, because a busy server must not be restarted as dead
    "liveness": {"periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6},
}
_PROBE_HANDLERS = frozenset({"httpGet", "tcpSocket", "grpc", "exec"})

_POD_SECURITY: dict[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": USER_ID,
    "runAsGroup": USER_ID,
    "fsGroup": USER_ID,
    "seccompProfile": {"type": "RuntimeDefault"},
}
# left to a platform that assigns them, such as OpenShift. It accepts the other fields as they are
_IDS = frozenset({"runAsUser", "runAsGroup", "fsGroup"})
_CONTAINER_SECURITY: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}

_Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TemplateInputs:
    """The inputs of a pod template.

    ``images`` has the resolved image of each container, ``config_map`` is the name of the scripts' ConfigMap.
    """

    owner: Owner
    spec: ModelDeploymentSpec
    target: Target
    revision_name: str
    images: Mapping[str, str]
    config_map: str
    registry: PodRegistry


def scripts_config_map(owner: Owner, scripts: Mapping[str, str]) -> _Object:
    """The ConfigMap with the scripts. Its name has their hash, so pods of an older operator keep their own."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": child_metadata(owner, f"{owner.name}-scripts-{_hash_of(tuple(scripts.items()))}"),
        "immutable": True,
        "data": dict(scripts),
    }


@lru_cache(maxsize=4)
def _hash_of(scripts: tuple[tuple[str, str], ...]) -> str:
    # cached, because all ModelDeployments and reconciles have the same scripts
    return short_hash(dict(scripts))


def pod_template(inputs: TemplateInputs) -> _Object:
    """The pod template of a revision. The operator's value wins over the spec's, for example for MODEL_NAME."""
    pod = inputs.spec.pod
    optional: _Object = {
        "serviceAccountName": pod.service_account_name,
        # a model needs no API token, even if its service account has a cloud identity
        "automountServiceAccountToken": pod.automount_service_account_token,
        "priorityClassName": pod.priority_class_name,
        "runtimeClassName": pod.runtime_class_name,
        "imagePullSecrets": pod.image_pull_secrets,
        "nodeSelector": pod.node_selector,
        "tolerations": pod.tolerations,
        "affinity": pod.affinity,
        "topologySpreadConstraints": pod.topology_spread_constraints,
    }
    return {
        "metadata": {
            "labels": {
                **pod.labels,
                **child_labels(inputs.owner),
                **track_selector(inputs.owner),
                names.LABEL_REVISION: inputs.revision_name,
            },
            "annotations": {
                **pod.annotations,
                names.ANNOTATION_MODEL: inputs.target.model,
                names.ANNOTATION_VERSION: inputs.target.version,
                names.ANNOTATION_RUNTIME: inputs.spec.server.runtime,
            },
        },
        "spec": {
            "initContainers": [_fetch_container(inputs)],
            "containers": [_server_container(inputs)],
            "volumes": [*_volumes(inputs), *deepcopy(pod.volumes)],
            "securityContext": pod_security(pod.run_as, pod.security_context),
            "terminationGracePeriodSeconds": pod.termination_grace_period_seconds,
            # otherwise a namespace with many Services would fill the environment with their variables
            "enableServiceLinks": False,
            **_drop_empty(optional),
        },
    }


def _fetch_container(inputs: TemplateInputs) -> _Object:
    fetch = inputs.spec.fetch
    mounts = [mount(names.VOLUME_MODEL, MODEL_DIR), mount(names.VOLUME_TMP, TMP_DIR), _scripts_mount()]
    mounts += registry_mounts(inputs.registry)
    mounts += _elsewhere(fetch.volume_mounts, mounts)
    container: _Object = {
        "name": names.CONTAINER_FETCH,
        "image": inputs.images[names.CONTAINER_FETCH],
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", f"{SCRIPTS_DIR}/fetch.py"],
        "resources": fetch.resources,
        "env": _environment(
            fixed=[*_model_env(inputs), *_digest_env(inputs.target), *registry_env(inputs.registry)],
            defaults={"MLFLOW_HTTP_REQUEST_MAX_RETRIES": _HTTP_RETRIES},
            given=fetch.env,
        ),
        "envFrom": fetch.env_from,
        "volumeMounts": mounts,
        "securityContext": deepcopy(_CONTAINER_SECURITY),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    return _drop_empty(container)


def _server_container(inputs: TemplateInputs) -> _Object:
    server = inputs.spec.server
    runtime = RUNTIMES[server.runtime]
    ours = [mount(names.VOLUME_MODEL, MODEL_DIR)]
    if runtime.scripts:
        ours.append(_scripts_mount())
    if inputs.spec.self_test.payload:
        ours.append(mount(names.VOLUME_PAYLOAD, PAYLOAD_DIR, read_only=True))
    theirs = _elsewhere(server.volume_mounts, ours)
    # a /tmp of the user, bigger or faster, replaces ours
    if all(str(m.get("mountPath")).rstrip("/") != TMP_DIR for m in theirs):
        ours.append(mount(names.VOLUME_TMP, TMP_DIR))

    container: _Object = {
        "name": names.CONTAINER_SERVER,
        "image": inputs.images[names.CONTAINER_SERVER],
        "imagePullPolicy": "IfNotPresent",
        "command": list(runtime.command(inputs.spec)),
        "args": server.args,
        "resources": server.resources,
        "env": _environment(
            fixed=[*_model_env(inputs), *_server_env(inputs.spec, runtime)], defaults={}, given=server.env
        ),
        "envFrom": server.env_from,
        "ports": [{"name": PORT_NAME, "containerPort": server.port, "protocol": "TCP"}],
        "volumeMounts": [*ours, *theirs],
        "securityContext": server_security(server.security_context),
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **_probes(inputs.spec, runtime),
    }
    return _drop_empty(container)


def _server_env(spec: ModelDeploymentSpec, runtime: Runtime) -> list[_Object]:
    variables = {"SERVER_PORT": str(spec.server.port), **runtime.environment(spec)}
    return [variable(name, value) for name, value in variables.items()]


def _probes(spec: ModelDeploymentSpec, runtime: Runtime) -> _Object:
    given = spec.server.probes
    return {
        "startupProbe": merge_probe("startup", runtime.ready_path, given.startup),
        "readinessProbe": merge_probe("readiness", runtime.ready_path, given.readiness),
        "livenessProbe": merge_probe("liveness", runtime.alive_path, given.liveness),
    }


def pod_security(run_as: RunAs, given: Mapping[str, Any]) -> _Object:
    """The security context of the pods, with the fields of ``spec.pod.securityContext`` in ``given``."""
    ours = _POD_SECURITY if run_as == "Fixed" else {k: v for k, v in _POD_SECURITY.items() if k not in _IDS}
    return _merge(ours, given)


def server_security(given: Mapping[str, Any]) -> _Object:
    """The security context of the server, with the fields of ``spec.server.securityContext`` in ``given``."""
    return _merge(_CONTAINER_SECURITY, given)


def merge_probe(which: str, path: str, given: Mapping[str, Any]) -> _Object:
    """The probe ``which`` (startup, readiness or liveness) at ``path``, with the fields of the spec in ``given``."""
    handler = {"httpGet": {"path": path, "port": PORT_NAME, "scheme": "HTTP"}}
    # a probe has one handler: another one of the user replaces ours, parts of an httpGet are merged into it
    if "httpGet" not in given and _PROBE_HANDLERS & given.keys():
        handler = {}
    return _merge({**handler, **_TIMES_AND_COUNTS_OF_PROBES[which]}, given)


def _model_env(inputs: TemplateInputs) -> list[_Object]:
    return [
        variable("MODEL_NAME", inputs.target.model),
        variable("MODEL_VERSION", inputs.target.version),
        variable("MODEL_DIR", MODEL_DIR),
    ]


def _digest_env(target: Target) -> list[_Object]:
    # absent without a digest: a template must render as it did before this field existed
    return [variable("MODEL_DIGEST", target.digest)] if target.digest else []


def _environment(
    fixed: Sequence[_Object], defaults: Mapping[str, str], given: Sequence[Mapping[str, Any]]
) -> list[_Object]:
    """The variables of a container: ``fixed``, then the ``defaults`` that ``given`` lacks, then ``given``.

    A variable of ``given`` with a name of ``fixed`` is dropped.
    """
    reserved = {v["name"] for v in fixed}
    theirs = [dict(deepcopy(v)) for v in given if v.get("name") not in reserved]
    chosen = {v.get("name") for v in theirs}
    soft = [variable(name, value) for name, value in defaults.items() if name not in chosen]
    return [*fixed, *soft, *theirs]


def _volumes(inputs: TemplateInputs) -> list[_Object]:
    volumes: list[_Object] = [
        {"name": names.VOLUME_MODEL, **(deepcopy(inputs.spec.fetch.volume) or {"emptyDir": {}})},
        {"name": names.VOLUME_TMP, "emptyDir": {}},
        {"name": names.VOLUME_SCRIPTS, "configMap": {"name": inputs.config_map}},
    ]
    if inputs.spec.self_test.payload:
        source = inputs.spec.self_test.payload.config_map
        payload = {
            "name": source.name,
            "items": [{"key": source.key, "path": PAYLOAD_FILE.removeprefix(f"{PAYLOAD_DIR}/")}],
            # the server reports at once that it is missing. The kubelet would wait for it silently
            "optional": True,
        }
        volumes.append({"name": names.VOLUME_PAYLOAD, "configMap": payload})
    return [*volumes, *registry_volumes(inputs.registry)]


def _scripts_mount() -> _Object:
    return mount(names.VOLUME_SCRIPTS, SCRIPTS_DIR, read_only=True)


def mounted_by_us(container: str, our_script: bool, payload: bool) -> frozenset[str]:
    """The paths at which a mount of the spec is left out. ``payload`` is whether the spec has a self-test's payload."""
    if container == names.CONTAINER_FETCH:
        return frozenset({MODEL_DIR, TMP_DIR, SCRIPTS_DIR})
    return frozenset({MODEL_DIR, *([SCRIPTS_DIR] * our_script), *([PAYLOAD_DIR] * payload)})


def _elsewhere(theirs: Sequence[Mapping[str, Any]], ours: Sequence[_Object]) -> list[_Object]:
    """The user's mounts without those at a path of ours."""
    taken = {m["mountPath"] for m in ours}
    return [dict(deepcopy(m)) for m in theirs if str(m.get("mountPath")).rstrip("/") not in taken]


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> _Object:
    """``over`` merged into ``base``, maps recursively. A null removes a field of ``base``."""
    result: _Object = deepcopy(dict(base))
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = _merge(result[key], value)
        else:
            result[key] = deepcopy(value)
    return result


def _drop_empty(fields: Mapping[str, Any]) -> _Object:
    """The fields without None and empty values."""
    return {key: deepcopy(value) for key, value in fields.items() if value not in (None, [], {}, "")}
