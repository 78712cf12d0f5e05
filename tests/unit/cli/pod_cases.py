"""Kubernetes' own fields of a spec: what the API server refuses in the pods that the operator makes, and what not.

They are fed to ``kubectl model lint`` (unit) and to a real API server (integration), so that both agree.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from tests.unit.api.api_cases import ALIAS

RICH: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "rich.spec.yaml").read_text("utf-8"))
"""A valid spec that has every kind of Kubernetes' own fields."""

_GPU = "nvidia.com/gpu"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_CLAIM = {"spec": {"accessModes": ["ReadWriteOnce"]}}
_SNAPSHOT = {
    "spec": {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "dataSource": {"kind": "VolumeSnapshot", "name": "a"},
    }
}
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def _server(**fields: Any) -> dict[str, Any]:
    return {**ALIAS, "server": fields}


def _pod(**fields: Any) -> dict[str, Any]:
    return {**ALIAS, "pod": fields}


def _resources(
    requests: dict[str, Any] | None = None, limits: dict[str, Any] | None = None
) -> dict[str, Any]:
    return _server(resources={"requests": requests or {}, "limits": limits or {}})


def _env(**variable: Any) -> dict[str, Any]:
    return _server(env=[{"name": "A", **variable}])


def _node_affinity(**requirement: Any) -> dict[str, Any]:
    terms = {"nodeSelectorTerms": [{"matchExpressions": [requirement]}]}
    return _pod(affinity={"nodeAffinity": {_REQUIRED: terms}})


def _spread(**fields: Any) -> dict[str, Any]:
    whole = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", **fields}
    return _pod(topologySpreadConstraints=[whole])


OWN_REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a number as a variable": (_env(value=8), "server.env[0].value"),
    "a truth value as a variable": (_env(value=True), "server.env[0].value"),
    "a misspelt field of a variable": (_env(valu="a"), "server.env[0].valu"),
    "a variable with '=' in its name": (_server(env=[{"name": "A=B"}]), "server.env[0].name"),
    "a variable of two sources": (
        _env(valueFrom={"secretKeyRef": {"name": "a", "key": "b"}, "fieldRef": {"fieldPath": "metadata.name"}}),
        "server.env[0].valueFrom",
    ),
    "a variable of no source": (_env(valueFrom={}), "server.env[0].valueFrom"),
    "a variable with a value and a source": (
        _env(value="a", valueFrom={"fieldRef": {"fieldPath": "metadata.name"}}),
        "server.env[0].valueFrom",
    ),
    "a variable of a Secret without a key": (
        _env(valueFrom={"secretKeyRef": {"name": "a"}}),
        "server.env[0].valueFrom.secretKeyRef.key",
    ),
    "a variable of a field that is none": (
        _env(valueFrom={"fieldRef": {"fieldPath": "status.phase"}}),
        "server.env[0].valueFrom.fieldRef.fieldPath",
    ),
    "a variable of a resource in odd units": (
        _env(valueFrom={"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1Mi"}}),
        "server.env[0].valueFrom.resourceFieldRef.divisor",
    ),
    "variables from nowhere": (_server(envFrom=[{"prefix": "A_"}]), "server.envFrom[0]"),
    "variables from a name that is none": (
        _server(envFrom=[{"secretRef": {"name": "My_Secret"}}]),
        "server.envFrom[0].secretRef.name",
    ),
    "a mount of a volume that is not there": (
        _server(volumeMounts=[{"name": "cache", "mountPath": "/cache"}]),
        "server.volumeMounts[0].name",
    ),
    "a mount that climbs out of its volume": (
        _server(volumeMounts=[{"name": "tmp", "mountPath": "/a", "subPath": "../b"}]),
        "server.volumeMounts[0].subPath",
    ),
    "a request above its limit": (_resources({"cpu": 2}, {"cpu": "500m"}), "server.resources.requests.cpu"),
    "memory above its limit": (
        {**ALIAS, "fetch": {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1G"}}}},
        "fetch.resources.requests.memory",
    ),
    "a device without a limit": (_resources({_GPU: 1}), f'server.resources.requests["{_GPU}"]'),
    "a device below its limit": (_resources({_GPU: 1}, {_GPU: 2}), f'server.resources.requests["{_GPU}"]'),
    "half a device": (_resources(limits={_GPU: 0.5}), f'server.resources.limits["{_GPU}"]'),
    "a resource that is none": (_resources({"gpu": 1}), "server.resources.requests.gpu"),
    "less than no memory": (_resources({"memory": "-1Gi"}), "server.resources.requests.memory"),
    "a truth value as an amount": (_resources({"cpu": True}), "server.resources.requests.cpu"),
    "an object as an amount": (_resources({"cpu": {}}), "server.resources.requests.cpu"),
    "a list as an amount": (_resources({"cpu": [1]}), "server.resources.requests.cpu"),
    "huge pages alone": (_resources(limits={"hugepages-2Mi": "4Mi"}), "server.resources"),
    "huge pages of another size": (
        _resources({"cpu": 1}, {"hugepages-2Mi": "3Mi"}),
        "server.resources.limits.hugepages-2Mi",
    ),
    "a claim of devices": (_server(resources={"claims": [{"name": "gpu"}]}), "server.resources.claims[0]"),
    "a probe that checks twice": (
        _server(probes={"liveness": {"tcpSocket": {"port": 1}, "grpc": {"port": 1}}}),
        "server.probes.liveness",
    ),
    "a probe less often than never": (
        _server(probes={"readiness": {"periodSeconds": -1}}),
        "server.probes.readiness.periodSeconds",
    ),
    "a liveness probe that must pass twice": (
        _server(probes={"liveness": {"successThreshold": 2}}),
        "server.probes.liveness.successThreshold",
    ),
    "a readiness probe that gives time to stop": (
        _server(probes={"readiness": {"terminationGracePeriodSeconds": 5}}),
        "server.probes.readiness.terminationGracePeriodSeconds",
    ),
    "a probe at a port in quotes": (
        _server(probes={"startup": {"httpGet": {"port": "8080"}}}),
        "server.probes.startup.httpGet.port",
    ),
    "a probe with seconds in quotes": (
        _server(probes={"startup": {"periodSeconds": "5"}}),
        "server.probes.startup.periodSeconds",
    ),
    "a privileged server that may not escalate": (
        _server(securityContext={"privileged": True}),
        "server.securityContext.privileged",
    ),
    "a user below zero": (_server(securityContext={"runAsUser": -1}), "server.securityContext.runAsUser"),
    "a local profile without its name": (
        _pod(securityContext={"seccompProfile": {"type": "Localhost"}}),
        "pod.securityContext.seccompProfile.localhostProfile",
    ),
    "a group in quotes": (_pod(securityContext={"fsGroup": "1000"}), "pod.securityContext.fsGroup"),
    "seconds of a toleration in quotes": (
        _pod(tolerations=[{"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": "60"}]),
        "pod.tolerations[0].tolerationSeconds",
    ),
    "an unknown operator of a toleration": (
        _pod(tolerations=[{"key": "a", "operator": "In"}]),
        "pod.tolerations[0].operator",
    ),
    "an unknown effect of a toleration": (
        _pod(tolerations=[{"key": "a", "effect": "NoRun"}]),
        "pod.tolerations[0].effect",
    ),
    "a toleration of every key that equals": (_pod(tolerations=[{"value": "a"}]), "pod.tolerations[0].operator"),
    "a toleration that exists and has a value": (
        _pod(tolerations=[{"key": "a", "operator": "Exists", "value": "b"}]),
        "pod.tolerations[0].value",
    ),
    "seconds of a toleration that evicts nothing": (
        _pod(tolerations=[{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 1}]),
        "pod.tolerations[0].effect",
    ),
    "an affinity without terms": (
        _pod(affinity={"nodeAffinity": {_REQUIRED: {"nodeSelectorTerms": []}}}),
        f"pod.affinity.nodeAffinity.{_REQUIRED}.nodeSelectorTerms",
    ),
    "an unknown field of the affinity": (_pod(affinity={"nodeAffinty": {}}), "pod.affinity.nodeAffinty"),
    "a node's label in no list": (
        _node_affinity(key="a", operator="In"),
        f"pod.affinity.nodeAffinity.{_REQUIRED}.nodeSelectorTerms[0].matchExpressions[0].values",
    ),
    "a node's label greater than two": (
        _node_affinity(key="a", operator="Gt", values=["1", "2"]),
        f"pod.affinity.nodeAffinity.{_REQUIRED}.nodeSelectorTerms[0].matchExpressions[0].values",
    ),
    "an affinity without a topology": (
        _pod(affinity={"podAffinity": {_REQUIRED: [{"labelSelector": {}}]}}),
        f"pod.affinity.podAffinity.{_REQUIRED}[0].topologyKey",
    ),
    "a weight above all": (
        _pod(affinity={"nodeAffinity": {_PREFERRED: [{"weight": 101, "preference": {}}]}}),
        f"pod.affinity.nodeAffinity.{_PREFERRED}[0].weight",
    ),
    "a spread without skew": (_spread(maxSkew=0), "pod.topologySpreadConstraints[0].maxSkew"),
    "a spread that does something else": (
        _spread(whenUnsatisfiable="Ignore"),
        "pod.topologySpreadConstraints[0].whenUnsatisfiable",
    ),
    "a spread over few domains at will": (
        _spread(whenUnsatisfiable="ScheduleAnyway", minDomains=2),
        "pod.topologySpreadConstraints[0].minDomains",
    ),
    "a spread twice": (
        _pod(
            topologySpreadConstraints=[
                {"maxSkew": skew, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"} for skew in (1, 2)
            ]
        ),
        "pod.topologySpreadConstraints[1]",
    ),
    "a spread with a wrong operator": (
        _spread(labelSelector={"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}),
        "pod.topologySpreadConstraints[0].labelSelector.matchExpressions[0].operator",
    ),
    "a volume of two types": (
        _pod(volumes=[{"name": "a", "emptyDir": {}, "secret": {"secretName": "a"}}]),
        "pod.volumes[0]",
    ),
    "a volume in capitals": (_pod(volumes=[{"name": "A_b", "emptyDir": {}}]), "pod.volumes[0].name"),
    "a volume of a nameless Secret": (
        _pod(volumes=[{"name": "a", "secret": {}}]),
        "pod.volumes[0].secret.secretName",
    ),
    "a volume of a Secret with the field of a ConfigMap": (
        _pod(volumes=[{"name": "a", "secret": {"name": "a"}}]),
        "pod.volumes[0].secret.name",
    ),
    "files that everybody may do too much with": (
        _pod(volumes=[{"name": "a", "configMap": {"name": "a", "defaultMode": 644}}]),
        "pod.volumes[0].configMap.defaultMode",
    ),
    "a claim without a size": (
        {**ALIAS, "fetch": {"volume": {"ephemeral": {"volumeClaimTemplate": _CLAIM}}}},
        "fetch.volume.ephemeral.volumeClaimTemplate.spec.resources.requests.storage",
    ),
    "a claim of a snapshot without its group": (
        {**ALIAS, "fetch": {"volume": {"ephemeral": {"volumeClaimTemplate": _SNAPSHOT}}}},
        "fetch.volume.ephemeral.volumeClaimTemplate.spec.dataSource.apiGroup",
    ),
    "a size that is none": (
        {**ALIAS, "fetch": {"volume": {"emptyDir": {"sizeLimit": "much"}}}},
        "fetch.volume.emptyDir.sizeLimit",
    ),
    "a label's key with a blank": (_pod(labels={"my team": "a"}), 'pod.labels["my team"]'),
    "a node's label with two slashes": (_pod(nodeSelector={"a/b/c": "d"}), 'pod.nodeSelector["a/b/c"]'),
    "a service account in capitals": (_pod(serviceAccountName="Churn"), "pod.serviceAccountName"),
    "a metric of another type": (
        {**ALIAS, "autoscaling": {"maxReplicas": 2, "metrics": [{"type": "Resource"}]}},
        "autoscaling.metrics[0].resource",
    ),
    "a behavior without policies": (
        {**ALIAS, "autoscaling": {"maxReplicas": 2, "behavior": {"scaleUp": {"policies": []}}}},
        "autoscaling.behavior.scaleUp.policies",
    ),
}  # fmt: skip

OWN_ACCEPTED: dict[str, dict[str, Any]] = {
    "everything": RICH,
    "a fraction as an amount": _resources({"cpu": 0.5}, {"cpu": 1.5}),
    "a whole number as an amount": _resources({"cpu": 1, "memory": 1073741824}),
    "a request that equals its limit in other words": _resources({"cpu": "1000m"}, {"cpu": 1}),
    "a device by its limit alone": _resources(limits={_GPU: 1}),
    "as many workers as CPUs, rounded up": _server(workers=3, resources={"limits": {"cpu": "2500m"}}),
    "workers without a CPU limit": _server(workers=8, resources={"requests": {"cpu": 1}}),
    "a custom server's own variable": _server(
        runtime="Custom", image="registry.example.com/server:1", env=[{"name": "MAX_QUEUE", "value": "5"}]
    ),
    "a server that may escalate": _server(
        securityContext={"privileged": None, "allowPrivilegeEscalation": True}
    ),
    "a probe of another kind": _server(probes={"readiness": {"tcpSocket": {"port": "http"}}}),
    "a part of a probe": _server(probes={"readiness": {"httpGet": {"path": "/ready"}}}),
    "a null among texts": _server(securityContext={"capabilities": {"drop": ["ALL", None]}}),
    "a volume that is an emptyDir by default": _pod(volumes=[{"name": "a"}]),
    "a mount of the operator's scratch space": _server(volumeMounts=[{"name": "tmp", "mountPath": "/var/tmp"}]),
    "a mount that is left out": _server(volumeMounts=[{"name": "nothing", "mountPath": "/model/"}]),
    "a variable that is left out": {**ALIAS, "server": {"env": [{"name": "MODEL_NAME", "value": 7}]}},
    "ids that the platform assigns": _pod(runAs="Platform", securityContext={"fsGroupChangePolicy": "Always"}),
    "half a byte": _resources({"memory": "512m"}),
    "a variable of a file": _env(
        valueFrom={"fileKeyRef": {"volumeName": "tmp", "path": "a.env", "key": "A"}}
    ),
}  # fmt: skip

OWN_WARNED: dict[str, tuple[dict[str, Any], str, str]] = {
    "half a byte of memory": (_resources({"memory": "512m"}), "server.resources.requests.memory", "512Mi"),
    "a few bytes of memory": (_resources(limits={"memory": 512}), "server.resources.limits.memory", "512 bytes"),
    "a few bytes of disk": (
        {**ALIAS, "fetch": {"volume": {"emptyDir": {"sizeLimit": "20"}}}},
        "fetch.volume.emptyDir.sizeLimit",
        "20 bytes",
    ),
    "a variable of the operator": (
        _server(env=[{"name": "MODEL_NAME", "value": "mine"}]),
        "server.env[0]",
        "set by the operator",
    ),
    "a variable of the operator's script": (
        _server(env=[{"name": "DRAIN_SECONDS", "value": "5"}]),
        "server.env[0]",
        "set by the operator",
    ),
    "a variable that is a field": (
        _server(env=[{"name": "MAX_QUEUE", "value": "5"}]),
        "server.env[0]",
        "server.maxQueue",
    ),
    "a variable beside its field": (
        _server(env=[{"name": "SERVER_WORKERS", "value": "5"}], workers=5),
        "server.env[0]",
        "server.workers",
    ),
    "more workers than CPUs": (
        _server(workers=4, resources={"limits": {"cpu": "2500m"}}),
        "server.workers",
        "lower it to 3",
    ),
    "two workers for a part of a CPU": (
        _server(workers=2, resources={"limits": {"cpu": 0.5}}),
        "server.workers",
        "lower it to 1",
    ),
    "a mount at a path of the operator": (
        _server(volumeMounts=[{"name": "tmp", "mountPath": "/model"}]),
        "server.volumeMounts[0]",
        "use another path",
    ),
    "a field that old servers lack": (
        _env(valueFrom={"fileKeyRef": {"volumeName": "tmp", "path": "a.env", "key": "A"}}),
        "server.env[0].valueFrom.fileKeyRef",
        "needs Kubernetes 1.34",
    ),
}  # fmt: skip
