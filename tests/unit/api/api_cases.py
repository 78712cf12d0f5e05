"""Specs that must be refused, each with the words that the refusal has to hold.

They are fed to the models (unit) and to a real API server (integration), so that both agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_EXAMPLES = Path(__file__).parents[3] / "examples"

ALIAS = {"model": {"name": "churn", "alias": "champion"}}
CUSTOM = {"runtime": "Custom", "image": "registry.example.com/server:1"}


@dataclass(frozen=True)
class Refused:
    """A spec, what the message must say, and whether only the API server or the models know of it."""

    because: str
    spec: dict[str, Any]
    says: tuple[str, ...]

    def __str__(self) -> str:
        return self.because


def examples() -> dict[str, dict[str, Any]]:
    """The ModelDeployments of examples/ and below, by path; other kinds are left out."""
    return {
        path.relative_to(_EXAMPLES).as_posix(): manifest
        for path in sorted(_EXAMPLES.rglob("*.yaml"))
        for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8"))
        if manifest["kind"] == "ModelDeployment"
    }


def _uri(uri: str) -> dict[str, Any]:
    return {"model": {"uri": uri}}


def _with(**parts: Any) -> dict[str, Any]:
    return {**ALIAS, **parts}


def _approval(**fields: Any) -> dict[str, Any]:
    return _with(gates={"approval": fields})


_URI_FORMS = ("spec.model.uri", "models:/NAME@ALIAS", "models:/NAME/VERSION", "models:/NAME/latest")
_ONE_OF = ("spec.model", "exactly one of")

MALFORMED_URIS = (
    "",
    "churn",
    "churn@champion",
    "models:churn@champion",
    "models://churn@champion",
    "model:/churn@champion",
    "MODELS:/churn@champion",
    "runs:/0123456789abcdef/model",
    "s3://bucket/churn",
    "models:/",
    "models:/churn",
    "models:/churn@",
    "models:/churn/",
    "models:/@champion",
    "models:/ @champion",
    "models:/.@champion",
    "models:/..@champion",
    "models:/../3",
    "models:/m-0123456789abcdef",
    "models:/churn/0",
    "models:/churn/007",
    "models:/churn/-1",
    "models:/churn/1.5",
    "models:/churn/٣",
    "models:/churn/99999999999",
    "models:/churn/Nightly",
    "models:/churn/3/model",
    "models:/team/churn@champion",
    "models:/churn:3",
    "models:/a:b@champion",
    "models:/churn@the best",
    "models:/churn@champion ",
    "models:/churn@champion\n",
    "models:/chu\nrn@champion",
    "models:/chu\x00rn@champion",
)

REFUSED = (
    *(Refused(f"the URI {uri!r} is malformed", _uri(uri), _URI_FORMS) for uri in MALFORMED_URIS),
    *(
        Refused(f"the alias of {uri} is reserved", _uri(uri), ("spec.model.uri", "reserves"))
        for uri in ("models:/churn@latest", "models:/churn@Latest", "models:/churn@v3", "models:/churn@V12")
    ),
    Refused("there is no model", {}, ("spec.model",)),
    Refused("the model is empty", {"model": {}}, ("model.uri or model.name is missing",)),
    Refused(
        "a URI stands beside a name",
        {"model": {"uri": "models:/churn@champion", "name": "churn", "alias": "champion"}},
        ("spec.model", "model.uri cannot be used together with model.name"),
    ),
    Refused(
        "a URI stands beside an alias",
        {"model": {"uri": "models:/churn@champion", "alias": "champion"}},
        ("spec.model", "model.uri cannot be used together"),
    ),
    Refused("an alias has no name", {"model": {"alias": "champion"}}, ("model.name is missing",)),
    Refused("a name stands alone", {"model": {"name": "churn"}}, _ONE_OF),
    Refused(
        "alias and version stand together",
        {"model": {"name": "churn", "alias": "champion", "version": "3"}},
        _ONE_OF,
    ),
    Refused(
        "alias and stage stand together",
        {"model": {"name": "churn", "alias": "champion", "stage": "Staging"}},
        _ONE_OF,
    ),
    Refused(
        "version and stage stand together",
        {"model": {"name": "churn", "version": 3, "stage": "Staging"}},
        _ONE_OF,
    ),
    *(
        Refused(f"{name!r} can't be a model's name", {"model": {"name": name, "alias": "a"}}, ("model.name",))
        for name in ("", " ", ".", "..", "../churn", "team/churn", "a:b", "a\tb", "x" * 257)
    ),
    *(
        Refused(
            f"{alias!r} can't be an alias", {"model": {"name": "churn", "alias": alias}}, ("model.alias",)
        )
        for alias in ("", "@champion", "the best", "a.b", "a/b", "latest", "LATEST", "v3", "x" * 256)
    ),
    *(
        Refused(
            f"{version!r} can't be a version",
            {"model": {"name": "churn", "version": version}},
            ("model.version", "whole number from 1"),
        )
        for version in ("", "0", 0, -1, "03", "v3", "3.0", "newest", 10**10)
    ),
    Refused(
        "a stage is unknown", {"model": {"name": "churn", "stage": "Nightly"}}, ("model.stage", "Staging")
    ),
    Refused(
        "replicas and autoscaling stand together",
        _with(replicas=2, autoscaling={"maxReplicas": 3}),
        ("spec.replicas and spec.autoscaling",),
    ),
    Refused("replicas are negative", _with(replicas=-1), ("spec.replicas", "greater than or equal to 0")),
    Refused("replicas are a text", _with(replicas="2"), ("spec.replicas", "integer")),
    Refused("autoscaling has no maximum", _with(autoscaling={}), ("spec.autoscaling.maxReplicas",)),
    Refused(
        "the fewest pods are more than the most",
        _with(autoscaling={"minReplicas": 4, "maxReplicas": 3}),
        ("autoscaling.minReplicas", "autoscaling.maxReplicas"),
    ),
    Refused(
        "the fewest pods are none",
        _with(autoscaling={"minReplicas": 0, "maxReplicas": 3}),
        ("spec.autoscaling.minReplicas",),
    ),
    Refused(
        "a rollout has no room because maxUnavailable is 0 by default",
        _with(rollout={"maxSurge": 0}),
        ("rollout.maxSurge", "rollout.maxUnavailable", "cannot both be 0"),
    ),
    Refused(
        "a rollout has no room in percent",
        _with(rollout={"maxSurge": "0%", "maxUnavailable": "0%"}),
        ("cannot both be 0",),
    ),
    *(
        Refused(
            f"maxSurge is {value!r}", _with(rollout={"maxSurge": value}), ("rollout.maxSurge", "percentage")
        )
        for value in (-1, "1", "a%", "-1%", "1000%", "")
    ),
    *(
        Refused(
            f"maxUnavailable is {value!r}",
            _with(rollout={"maxUnavailable": value}),
            ("rollout.maxUnavailable", "percentage"),
        )
        for value in (-1, "1", "101%")
    ),
    *(
        Refused(f"{field} is 0", _with(rollout={field: 0}), (f"spec.rollout.{field}",))
        for field in ("schedulingSeconds", "fetchSeconds", "startupSeconds")
    ),
    Refused(
        "a custom runtime has no image",
        _with(server={"runtime": "Custom"}),
        ("server.runtime Custom", "server.image", "server.imageFrom"),
    ),
    Refused(
        "a custom runtime has an empty image",
        _with(server={"runtime": "Custom", "image": ""}),
        ("server.runtime Custom", "server.image"),
    ),
    Refused(
        "an image stands beside imageFrom",
        _with(server={"image": "a:1", "imageFrom": {"tag": "image", "allowedPrefixes": ["a/"]}}),
        ("server.image and server.imageFrom",),
    ),
    Refused(
        "imageFrom allows no prefix",
        _with(server={"imageFrom": {"tag": "image", "allowedPrefixes": []}}),
        ("server.imageFrom.allowedPrefixes", "at least one"),
    ),
    Refused(
        "imageFrom has no prefixes",
        _with(server={"imageFrom": {"tag": "image"}}),
        ("spec.server.imageFrom.allowedPrefixes",),
    ),
    Refused(
        "imageFrom allows everything by an empty prefix",
        _with(server={"imageFrom": {"tag": "image", "allowedPrefixes": [""]}}),
        ("spec.server.imageFrom.allowedPrefixes[0]",),
    ),
    Refused("the runtime is unknown", _with(server={"runtime": "Triton"}), ("server.runtime", "Custom")),
    Refused(
        "a command is given to the MLflow runtime",
        _with(server={"command": ["serve"]}),
        ("server.command", "need server.runtime Custom"),
    ),
    Refused(
        "arguments are given to the MLflow runtime",
        _with(server={"args": ["--fast"]}),
        ("server.args", "need server.runtime Custom"),
    ),
    *(
        Refused(
            f"{field} is given to a custom runtime",
            _with(server=CUSTOM | {field: 4}),
            (f"server.{field} needs server.runtime MLflow", "server.command"),
        )
        for field in ("workers", "maxConcurrency", "maxQueue")
    ),
    Refused(
        "a batch is given to a custom runtime",
        _with(server=CUSTOM | {"batch": {"maxRows": 8}}),
        ("server.batch needs server.runtime MLflow", "server.command"),
    ),
    *(
        Refused(f"a batch is {batch}", _with(server={"batch": batch}), (f"spec.server.batch{at}",))
        for batch, at in (
            ({}, ""),
            ({"maxRows": 1}, ".maxRows"),
            ({"maxRows": 10001}, ".maxRows"),
            ({"maxRows": 8, "maxWaitMilliseconds": -1}, ".maxWaitMilliseconds"),
            ({"maxRows": 8, "maxWaitMilliseconds": 1001}, ".maxWaitMilliseconds"),
        )
    ),
    *(
        Refused(f"{field} is {value}", _with(server={field: value}), (f"spec.server.{field}",))
        for field, values in {
            "workers": (0, 65, "2", 1.5),
            "maxConcurrency": (0, 1001),
            "maxQueue": (-1, 10001),
        }.items()
        for value in values
    ),
    Refused("a port is 0", _with(server={"port": 0}), ("spec.server.port",)),
    Refused("a port is too high", _with(service={"port": 65536}), ("spec.service.port",)),
    Refused("a Service's type is unknown", _with(service={"type": "ExternalName"}), ("spec.service.type",)),
    Refused(
        "the model's files go to two places",
        _with(fetch={"volume": {"emptyDir": {}, "ephemeral": {}}}),
        ("fetch.volume", "emptyDir", "ephemeral"),
    ),
    Refused(
        "a payload is never used",
        _with(selfTest={"mode": "LoadOnly", "payload": {"configMap": {"name": "smoke", "key": "a.json"}}}),
        ("selfTest.payload", "LoadOnly"),
    ),
    Refused(
        "a payload names no key",
        _with(selfTest={"payload": {"configMap": {"name": "smoke"}}}),
        ("spec.selfTest.payload.configMap.key",),
    ),
    Refused(
        "a custom runtime can't be made to test itself",
        _with(server=CUSTOM, selfTest={"mode": "Required"}),
        ("selfTest.mode Required", "server.runtime MLflow"),
    ),
    Refused(
        "the path of the self-test is relative", _with(selfTest={"path": "invocations"}), ("selfTest.path",)
    ),
    Refused(
        "the self-test may take no time", _with(selfTest={"timeoutSeconds": 0}), ("selfTest.timeoutSeconds",)
    ),
    Refused("the registry has no name", _with(registry={"name": ""}), ("spec.registry.name",)),
    Refused(
        "the registry has a name and a URL",
        _with(registry={"name": "prod", "url": "http://mlflow:5000"}),
        ("spec.registry", "registry.name cannot be used together with registry.url"),
    ),
    Refused(
        "a configured registry is given a Secret",
        _with(registry={"name": "prod", "credentialsSecret": "mine"}),
        ("spec.registry", "need registry.url"),
    ),
    Refused(
        "a configured registry is given another type",
        _with(registry={"type": "UnityCatalog"}),
        ("spec.registry", "need registry.url"),
    ),
    Refused("the URL has a password", _with(registry={"url": "http://a:b@mlflow"}), ("spec.registry.url",)),
    Refused("the URL has a query", _with(registry={"url": "http://mlflow/?x=1"}), ("spec.registry.url",)),
    Refused("the URL is a file", _with(registry={"url": "file:///etc/passwd"}), ("spec.registry.url",)),
    Refused(
        "the registry's Secret is in another namespace",
        _with(registry={"url": "http://mlflow", "credentialsSecret": "kube-system/token"}),
        ("spec.registry.credentialsSecret",),
    ),
    Refused("no history is kept", _with(revert={"historyLimit": 0}), ("spec.revert.historyLimit",)),
    Refused(
        "a revert policy is unknown", _with(revert={"policy": "Sometimes"}), ("spec.revert.policy", "Never")
    ),
    Refused(
        "a policy after the watch is unknown",
        _with(revert={"afterWatch": "Sometimes"}),
        ("spec.revert.afterWatch", "Never"),
    ),
    Refused(
        "a policy of tags is unknown",
        _with(revert={"tagVersion": "Always"}),
        ("spec.revert.tagVersion", "Auto"),
    ),
    Refused(
        "a strategy is unknown",
        _with(rollout={"strategy": "Recreate"}),
        ("spec.rollout.strategy", "RollingUpdate", "BlueGreen"),
    ),
    *(
        Refused(f"{field} is {value!r}", _with(rollout={field: value}), (f"spec.rollout.{field}",))
        for field, most in (("watchSeconds", 604800), ("warmSeconds", 604800), ("warmReplicas", 10000))
        for value in (-1, most + 1, "60", 1.5)
    ),
    Refused("suspend is a text", _with(suspend="yes"), ("spec.suspend", "boolean")),
    Refused("the gates are a list", _with(gates=[]), ("spec.gates", "object")),
    *(
        Refused(f"a metric gate {what}", _with(gates={"metrics": [{"name": "auc", **fields}]}), words)
        for what, fields, words in (
            ("has no bound", {}, ("needs a bound", "noWorseThanServingBy")),
            (
                "compares without saying which is better",
                {"noWorseThanServingBy": 0.1},
                ("must be set together",),
            ),
            (
                "says which is better and compares nothing",
                {"min": 1, "better": "Lower"},
                ("must be set together",),
            ),
            ("lets nothing pass", {"min": 2, "max": 1}, ("is greater than max",)),
            (
                "allows less than nothing",
                {"noWorseThanServingBy": -1, "better": "Lower"},
                ("noWorseThanServingBy",),
            ),
            (
                "is better in some other way",
                {"noWorseThanServingBy": 1, "better": "Newer"},
                ("better", "Lower"),
            ),
            ("has a bound that is a text", {"min": "0.8"}, ("gates.metrics[0].min",)),
        )
    ),
    Refused(
        "a metric with a control character",
        _with(gates={"metrics": [{"name": "a\nb", "min": 1}]}),
        ("gates.metrics[].name must not contain control characters",),
    ),
    Refused(
        "a tag gate without a test",
        _with(gates={"tags": [{"key": "ok"}]}),
        ("exactly one of value, notValue",),
    ),
    Refused(
        "a tag gate with two tests",
        _with(gates={"tags": [{"key": "ok", "value": "a", "exists": True}]}),
        ("exactly one of value, notValue",),
    ),
    Refused(
        "too many tag gates",
        _with(gates={"tags": [{"key": "ok", "exists": True}] * 33}),
        ("gates.tags", "32"),
    ),
    Refused(
        "a signature mode is unknown", _with(gates={"signature": "Strict"}), ("gates.signature", "Compatible")
    ),
    *(
        Refused(f"a size of {size!r}", _with(gates={"maxModelBytes": size}), ("gates.maxModelBytes",))
        for size in (0, "0", "-1Gi", "big", "1.5Gi")
    ),
    Refused(
        "an override of approval",
        _with(gates={"overrides": [{"gate": "Approval", "approved": "8"}]}),
        ("gates.overrides[0].gate",),
    ),
    Refused(
        "an override that names no version",
        _with(gates={"overrides": [{"gate": "Tags", "approved": "all"}]}),
        ("gates.overrides[].approved must be a version number",),
    ),
    Refused("an approval is no object", _with(gates={"approval": "Manual"}), ("spec.gates.approval",)),
    Refused("a way to approve is unknown", _approval(mode="Always"), ("spec.gates.approval.mode", "Manual")),
    Refused(
        "a place to approve is unknown", _approval(at="AfterTraffic"), ("gates.approval.at", "BeforeTraffic")
    ),
    *(
        Refused(
            f"{approved!r} can't be approved",
            _approval(mode="Manual", approved=approved),
            ("gates.approval.approved must be a version number", "v8-5d9f8a2b1c"),
        )
        for approved in (
            *(
                "0",
                "08",
                "-1",
                "8.0",
                "8 ",
                " 8",
                "8\n",
                "v8",
                "@champion",
                "latest",
                "٣",
                "1" * 11,
                0,
                -8,
                10**10,
            ),
            *("v8-5d9f8a2b1", "v8-5d9f8a2b1cc", "v8-5D9F8A2B1C", "V8-5d9f8a2b1c", "8-5d9f8a2b1c", "8,9"),
        )
    ),
    Refused(
        "an approved revision has too long a name",
        _approval(approved=f"v{'8' * 53}-5d9f8a2b1c"),
        ("spec.gates.approval.approved",),
    ),
    *(
        Refused(
            f"traffic waits for approval with {strategy or 'the default strategy'}",
            _with(
                gates={"approval": {"mode": "Manual", "at": "BeforeTraffic"}},
                rollout={"strategy": strategy} if strategy else {},
            ),
            ("gates.approval.at BeforeTraffic needs rollout.strategy BlueGreen", "set", "to BeforeStart"),
        )
        for strategy in ("", "RollingUpdate")
    ),
    *(
        Refused(
            f"{key!r} can't be the digest's tag",
            _with(gates={"integrity": {"digestTag": key}}),
            ("gates.integrity.digestTag",),
        )
        for key in ("", "x" * 251, "a\nb", "a\x00", "\x7f", "\x85", 256)
    ),
    Refused(
        "whether a digest is required is a text",
        _with(gates={"integrity": {"required": "true"}}),
        ("spec.gates.integrity.required", "boolean"),
    ),
    Refused(
        "a pod's label is the operator's",
        _with(pod={"labels": {"model-operator.io/track": "other"}}),
        ("pod.labels", "model-operator.io/"),
    ),
    Refused(
        "a pod's label tells another manager",
        _with(pod={"labels": {"app.kubernetes.io/managed-by": "me"}}),
        ("pod.labels", "app.kubernetes.io/managed-by"),
    ),
    Refused(
        "a pod's annotation is the operator's",
        _with(pod={"annotations": {"model-operator.io/version": "3"}}),
        ("pod.annotations", "model-operator.io/"),
    ),
    Refused(
        "a volume has the operator's name",
        _with(pod={"volumes": [{"name": "model", "emptyDir": {}}]}),
        ("pod.volumes", "another name"),
    ),
    Refused(
        "a pod has no time to stop",
        _with(pod={"terminationGracePeriodSeconds": 0}),
        ("spec.pod.terminationGracePeriodSeconds",),
    ),
)

# Only strict validation (kubectl's default) tells unknown fields; without it they are dropped before storage.
UNKNOWN_FIELDS = (
    ("a gate of fairness", _with(gates={"fairness": []}), "spec.gates.fairness"),
    ("an approver", _with(gates={"approval": {"by": "me"}}), "spec.gates.approval.by"),
    ("a misspelt suspend", _with(suspended=True), "spec.suspended"),
    ("a misspelt replicas", _with(replica=2), "spec.replica"),
    ("steps of a rollout", _with(rollout={"steps": []}), "spec.rollout.steps"),
    ("a target of reverts", _with(revert={"to": "7"}), "spec.revert.to"),
    ("a registry's password", _with(registry={"password": "x"}), "spec.registry.password"),
    ("a hostPath for the model", _with(fetch={"volume": {"hostPath": {}}}), "spec.fetch.volume.hostPath"),
)

ACCEPTED: dict[str, dict[str, Any]] = {
    "a registry of one's own": _with(
        registry={
            "url": "https://mlflow.ml.svc:5000/team-a",
            "type": "MLflow",
            "credentialsSecret": "mlflow",
            "caConfigMap": "mlflow-ca",
        }
    ),
    "a registry by an IPv6 address": _with(registry={"url": "http://[2001:db8::7]:5000"}),
    "an alias as URI": _uri("models:/churn@champion"),
    "a version as URI": _uri("models:/churn/3"),
    "latest as URI": _uri("models:/churn/latest"),
    "a stage as URI": _uri("models:/churn/Production"),
    "a stage in small letters as URI": _uri("models:/churn/production"),
    "a name with spaces and signs as URI": _uri("models:/Kunden Abwanderung 100% #1 ä@champion"),
    "a name with an at sign as URI": _uri("models:/churn@home@champion"),
    "a version of a name with an at sign as URI": _uri("models:/churn@champion/3"),
    "a three-part name as URI": _uri("models:/main.crm.churn@champion"),
    "an alias in another script as URI": _uri("models:/churn@чемпион"),
    "an alias": ALIAS,
    "a version as text": {"model": {"name": "churn", "version": "3"}},
    "a version as number": {"model": {"name": "churn", "version": 3}},
    "the latest version": {"model": {"name": "churn", "version": "latest"}},
    "a stage": {"model": {"name": "churn", "stage": "None"}},
    "no replicas": _with(replicas=0),
    "the lowest workers, concurrency and queue": _with(
        server={"workers": 1, "maxConcurrency": 1, "maxQueue": 0}
    ),
    "a batch": _with(server={"batch": {"maxRows": 2, "maxWaitMilliseconds": 0}}),
    "the highest workers, concurrency and queue": _with(
        server={"workers": 64, "maxConcurrency": 1000, "maxQueue": 10000}
    ),
    "autoscaling with one bound": _with(autoscaling={"maxReplicas": 1}),
    "a rollout without surge": _with(rollout={"maxSurge": 0, "maxUnavailable": 1}),
    "a blue-green rollout": _with(
        rollout={
            "strategy": "BlueGreen",
            "watchSeconds": 604800,
            "warmSeconds": 604800,
            "warmReplicas": 10000,
        }
    ),
    "a rollout without watch and warm pods": _with(
        rollout={"strategy": "BlueGreen", "watchSeconds": 0, "warmSeconds": 0, "warmReplicas": 0}
    ),
    "warm pods that a rolling update does not use": _with(rollout={"warmSeconds": 60, "warmReplicas": 2}),
    "a suspended deployment": _with(suspend=True),
    "reports instead of reverts": _with(revert={"policy": "Never", "tagVersion": "Never"}),
    "empty gates": _with(gates={"approval": {}, "integrity": {}}),
    "nothing approved": _approval(mode="Manual", approved=""),
    "an approved version as text": _approval(mode="Manual", at="BeforeStart", approved="8"),
    "an approved version as number": _approval(mode="Manual", approved=8),
    "the highest version approved": _approval(mode="Manual", approved="9999999999"),
    "an approved revision": _approval(mode="Manual", approved="v8-5d9f8a2b1c"),
    "an approved revision of a version without digits": _approval(mode="Manual", approved="v-5d9f8a2b1c"),
    "an approval that nobody asks for": _approval(mode="Automatic", approved="8"),
    "an approval before traffic that nobody asks for": _approval(mode="Automatic", at="BeforeTraffic"),
    "an approval before traffic of a blue-green rollout": _with(
        gates={"approval": {"mode": "Manual", "at": "BeforeTraffic"}}, rollout={"strategy": "BlueGreen"}
    ),
    "a digest that every version must have": _with(
        gates={"integrity": {"digestTag": "Prüfsumme der Dateien/sha-256", "required": True}}
    ),
    "a rollout in percent": _with(rollout={"maxSurge": "25%", "maxUnavailable": "100%"}),
    "a custom runtime": _with(server={**CUSTOM, "command": ["serve"], "args": ["--fast"]}),
    "an image from a tag": _with(
        server={"runtime": "Custom", "imageFrom": {"tag": "image", "allowedPrefixes": ["a.example.com/"]}}
    ),
    "texts left empty by a template": _with(
        fetch={"image": "", "env": []}, server={"image": "", "args": []}, pod={"serviceAccountName": ""}
    ),
    "a model volume of bounded size": _with(fetch={"volume": {"emptyDir": {"sizeLimit": "2Gi"}}}),
    "quantities as numbers": _with(
        server={"resources": {"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}}}
    ),
}
