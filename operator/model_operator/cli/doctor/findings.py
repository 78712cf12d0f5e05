"""Turns facts into findings: one for each checked part, and a remedy for each problem. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from model_operator.api import names
from model_operator.api.crd import custom_resource_definition
from model_operator.cli.doctor.facts import OPERATORS, YOURS, Answer, Facts, Operator
from model_operator.cli.snapshot import Snapshot
from model_operator.cli.summary import Verdict, summarise
from model_operator.domain.objects import (
    Object,
    part,
    read_crd,
    read_modeldeployment,
    read_operator_deployment,
)
from model_operator.settings import RegistryConfig

OLDEST = (1, 31)
_SHOWN = 5
_AT_EASE = ("Serving", "ScaledToZero")
"""The reasons of a ModelDeployment that is ready and has no warning."""
_REGISTRY_TROUBLES = {
    "HostHeaderRefused": "start the MLflow server with --allowed-hosts and every host name that clients use",
    "Unauthorized": "correct the operator's credentials: registries.NAME.credentials in the chart's values",
    "RegistryUnreachable": "check the URL, DNS, network policies and the CA, as seen from the operator's pod",
    "RegistryMisconfigured": "correct the registry's entry in the chart's values",
    "UnknownRegistry": "add the entry to the chart's values, or correct spec.registry.name",
    "UnexpectedAnswer": "check the URL and its path: another server than MLflow answers",
    "RegistryError": "check the MLflow server's log",
    "Forbidden": "give the operator's user READ on the model",
}


class Level(StrEnum):
    """Severity of a finding."""

    GOOD = "good"
    NOTE = "note"
    UNKNOWN = "unknown"
    """The check could not be done."""
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """A checked part, the result, and the remedy."""

    level: Level
    subject: str
    message: str
    remedy: str = ""


def findings(facts: Facts) -> list[Finding]:
    """Returns all findings. A part comes after the parts that it depends on."""
    found = [_cluster(facts), _yours(facts), _crd(facts), *_operators(facts)]
    for operator in facts.operators or ():
        found += _rights(operator)
        found += _webhooks(operator)
    return [*found, *_registries(facts), *_pods_objects(facts), *_deployments(facts)]


def _cluster(facts: Facts) -> Finding:
    numbers = re.findall(r"\d+", facts.server_version)[:2]
    if len(numbers) == 2 and tuple(int(number) for number in numbers) < OLDEST:
        oldest = ".".join(str(number) for number in OLDEST)
        text = f"Kubernetes {facts.server_version} is older than {oldest}"
        return Finding(Level.PROBLEM, "cluster", text, f"use a cluster of {oldest} or newer")
    return Finding(Level.GOOD, "cluster", f"Kubernetes {facts.server_version} answers")


def _yours(facts: Facts) -> Finding:
    lacking = [YOURS[right] for right, allowed in facts.yours.items() if not allowed]
    if not facts.yours:
        return Finding(Level.UNKNOWN, "your rights", "they could not be checked")
    if lacking:
        text = f"in namespace {facts.namespace} you can't use: {'; '.join(lacking)}"
        return Finding(Level.WARNING, "your rights", text, "request a role with these rights")
    return Finding(Level.GOOD, "your rights", f"every command works for you in namespace {facts.namespace}")


# --- CRD -------------------------------------------------------------------------------------------


def _crd(facts: Facts) -> Finding:
    if not facts.crd_readable:
        return Finding(Level.UNKNOWN, "CRD", "you may not read CustomResourceDefinitions")
    if facts.crd is None:
        text = f"{names.CRD_NAME} is not installed"
        return Finding(Level.PROBLEM, "CRD", text, "install the chart, or kubectl apply -f crds/")
    installed = read_crd(facts.crd)
    if not installed.established:
        return Finding(
            Level.PROBLEM, "CRD", "it is not established", f"kubectl describe crd {names.CRD_NAME}"
        )
    theirs, ours = installed.fields, read_crd(custom_resource_definition()).fields
    if lacking := sorted(ours - theirs):
        text = f"it is older than this program and lacks {_some(lacking)}"
        remedy = "upgrade the CRD: helm upgrade, or kubectl apply --server-side -f crds/"
        return Finding(Level.WARNING, "CRD", text, remedy)
    if unknown := sorted(theirs - ours):
        text = f"it is newer than this program, which does not know {_some(unknown)}"
        return Finding(
            Level.WARNING, "CRD", text, "upgrade this program: pip install -U 'model-operator[cli]'"
        )
    return Finding(Level.GOOD, "CRD", f"{names.VERSION} is served and matches this program")


# --- the operator ----------------------------------------------------------------------------------


def _operators(facts: Facts) -> Iterator[Finding]:
    if facts.operators is None:
        yield Finding(Level.UNKNOWN, "operator", "you may not list Deployments, so it could not be checked")
        return
    if not facts.operators:
        yield Finding(
            Level.PROBLEM,
            "operator",
            "no Deployment of an operator was found",
            "helm upgrade --install model-operator charts/model-operator -n model-operator-system",
        )
    for operator in facts.operators:
        yield _check_running(operator)
        if operator.settings_error:
            text = f"its configuration can't be read: {operator.settings_error}"
            yield Finding(Level.PROBLEM, _name(operator), text, "correct the chart's values")
    served = [set(o.settings.watch_namespaces) for o in facts.operators if o.settings]
    for index, one in enumerate(served):
        for other in served[:index]:
            if not one or not other or one & other:
                text = "two operators manage the same namespaces and undo each other's changes"
                yield Finding(
                    Level.PROBLEM, "operator", text, "give each its own watchNamespaces, or remove one"
                )
                return


def _check_running(operator: Operator) -> Finding:
    seen = read_operator_deployment(operator.deployment)
    if seen.ready:
        text = f"{seen.ready} of {seen.replicas} pods ready, image {seen.image}"
        return Finding(Level.GOOD, _name(operator), text)
    where = f"-n {seen.namespace} deployment/{seen.name}"
    remedy = f"run kubectl describe {where} and kubectl logs {where}"
    text = f"none of {seen.replicas} pods is ready, image {seen.image}"
    return Finding(Level.PROBLEM, _name(operator), text, remedy)


def _name(operator: Operator) -> str:
    seen = read_operator_deployment(operator.deployment)
    return f"operator {seen.namespace}/{seen.name}"


def _rights(operator: Operator) -> Iterator[Finding]:
    if operator.denied is None:
        yield Finding(
            Level.UNKNOWN, _name(operator), "its rights could not be checked: you may not review access"
        )
    elif operator.denied:
        lacking = [
            f"{verb} {resource}{f'.{group}' if group else ''} {f'in {space}' if space else 'in the cluster'}"
            for space, (group, resource, verb) in operator.denied
        ]
        text = f"it may not {_some(lacking, '; ')}"
        yield Finding(Level.PROBLEM, _name(operator), text, "update its role with helm upgrade (rbac.create)")
    else:
        yield Finding(
            Level.GOOD, _name(operator), f"it has the rights that it needs ({len(OPERATORS)} checked)"
        )


def _webhooks(operator: Operator) -> Iterator[Finding]:
    settings = operator.settings
    if settings is None:
        return
    subject = f"webhooks of {read_operator_deployment(operator.deployment).name}"
    if not settings.webhooks.port:
        text = f"off: a moved alias is seen within {settings.poll_seconds:g} s, by polling"
        yield Finding(Level.NOTE, subject, text)
        return
    if operator.webhook_service is False:
        text = "the Service that MLflow delivers to is missing"
        yield Finding(Level.PROBLEM, subject, text, "create it with helm upgrade (webhooks.enabled)")
    if operator.webhook_secret_keys == 0:
        text = "there is no secret to check deliveries with, so all are rejected"
        yield Finding(Level.PROBLEM, subject, text, "create the Secret that webhooks.secretName names")
    if not settings.webhooks.certificate_dir:
        text = "deliveries come over plain http"
        yield Finding(
            Level.WARNING, subject, text, "set webhooks.tls.secretName, or terminate TLS at an ingress"
        )
    if operator.webhook_service and operator.webhook_secret_keys:
        yield Finding(Level.GOOD, subject, f"on, port {settings.webhooks.port}")


# --- registries ------------------------------------------------------------------------------------


def _registries(facts: Facts) -> Iterator[Finding]:
    for entry, config in _entries(facts).items():
        yield from _from_here(facts, entry)
        yield from _as_the_operator_sees_it(facts, entry, config)


def _entries(facts: Facts) -> dict[str, RegistryConfig | None]:
    entries: dict[str, RegistryConfig | None] = {}
    for operator in facts.operators or ():
        entries |= dict(operator.settings.registries) if operator.settings else {}
    for deployment in facts.deployments or ():
        entries.setdefault(registry_of(deployment), None)
    return entries


def registry_of(deployment: Object) -> str:
    """Returns the entry of a ModelDeployment's registry, or the URL if it has its own."""
    registry = part(read_modeldeployment(deployment).spec, "registry")
    return str(registry.get("url") or registry.get("name") or names.DEFAULT_REGISTRY)


def _from_here(facts: Facts, entry: str) -> Iterator[Finding]:
    subject = f"registry {entry}"
    for backend in facts.backends:
        if backend.registry == entry and not backend.exists:
            text = f"its URL names the Service {backend.service}, which does not exist"
            yield Finding(Level.PROBLEM, subject, text, "correct registries.NAME.url in the chart's values")
        elif backend.registry == entry and not backend.ready:
            text = f"no pod is ready behind its Service {backend.service}"
            yield Finding(Level.PROBLEM, subject, text, "check the MLflow server")
    for probe in facts.probes:
        if probe.registry != entry:
            continue
        if probe.answer is Answer.HOST_REFUSED:
            text = f"MLflow rejects the host name {probe.host} (its check of the Host header)"
            yield Finding(
                Level.PROBLEM, subject, text, f"start MLflow with --allowed-hosts and {probe.host} in it"
            )
        elif probe.answer is Answer.ANSWERED:
            yield Finding(Level.GOOD, subject, f"answers to the host name {probe.host}")
        else:
            text = f"{probe.host} can't be reached from your machine, but maybe from the cluster ({probe.detail})"
            remedy = (
                "run kubectl port-forward to the MLflow server, and pass --registry-at http://127.0.0.1:PORT"
            )
            yield Finding(Level.UNKNOWN, subject, text, remedy)


def _as_the_operator_sees_it(facts: Facts, entry: str, config: RegistryConfig | None) -> Iterator[Finding]:
    """Yields the findings about a registry from the status of its ModelDeployments."""
    troubles: dict[tuple[str, str], int] = {}
    good = 0
    for deployment in facts.deployments or ():
        if registry_of(deployment) != entry:
            continue
        resolved = Snapshot(deployment, datetime.now(UTC)).condition("Resolved")
        if resolved and resolved.reason in _REGISTRY_TROUBLES and resolved.status != "True":
            key = (resolved.reason, resolved.message)
            troubles[key] = troubles.get(key, 0) + 1
        elif resolved and resolved.status == "True":
            good += 1
    subject = f"registry {entry}"
    for (reason, message), number in sorted(troubles.items()):
        text = f"{number} ModelDeployment{'' if number == 1 else 's'}: {reason}: {message}"
        yield Finding(Level.PROBLEM, subject, text, _REGISTRY_TROUBLES[reason])
    if good:
        text = f"the operator resolves {good} ModelDeployment{'' if good == 1 else 's'} there"
        yield Finding(Level.GOOD, subject, text)
    elif not troubles:
        url = f" {config.url}" if config else ""
        yield Finding(
            Level.NOTE, subject, f"no ModelDeployment shows yet whether the operator reaches it{url}"
        )


# --- the pods' Secrets, and the ModelDeployments ---------------------------------------------------


def _pods_objects(facts: Facts) -> Iterator[Finding]:
    present = 0
    for (space, name), keys in sorted(facts.secrets.items()):
        subject = f"pods' Secret {space}/{name}"
        if keys is None:
            keys_given = "--from-literal=username=… --from-literal=password=…"
            remedy = f"kubectl -n {space} create secret generic {name} {keys_given}"
            yield Finding(Level.PROBLEM, subject, "it does not exist, so no pod can fetch a model", remedy)
        elif not ("token" in keys or {"username", "password"} <= keys):
            text = f"it has {', '.join(sorted(keys)) or 'no key'}, but needs username and password, or token"
            yield Finding(Level.PROBLEM, subject, text, "create it again with these keys")
        else:
            present += 1
    for (space, name), keys in sorted(facts.config_maps.items()):
        if keys is None or "ca.crt" not in keys:
            text = "it does not exist" if keys is None else "it has no key ca.crt"
            remedy = f"kubectl -n {space} create configmap {name} --from-file=ca.crt"
            yield Finding(Level.PROBLEM, f"pods' CA {space}/{name}", text, remedy)
        else:
            present += 1
    if present:
        yield Finding(Level.GOOD, "pods' Secrets", f"{present} checked, without a problem")


def _deployments(facts: Facts) -> Iterator[Finding]:
    if facts.deployments is None:
        yield Finding(Level.UNKNOWN, "ModelDeployments", "you may not list them in all namespaces")
        return
    now = datetime.now(UTC)
    stuck, warned = [], []
    for deployment in facts.deployments:
        snapshot = Snapshot(deployment, now)
        found = summarise(snapshot)
        if found.verdict is Verdict.FAILED:
            stuck.append(f"{snapshot.namespace}/{snapshot.name} ({found.reason})")
        elif found.verdict is Verdict.CURRENT and found.reason not in _AT_EASE:
            warned.append(f"{snapshot.namespace}/{snapshot.name} ({found.reason})")
    total = len(facts.deployments)
    if stuck:
        text = f"{len(stuck)} of {total} need a person: {_some(stuck)}"
        yield Finding(
            Level.WARNING,
            "ModelDeployments",
            text,
            "run kubectl model status NAME -n NAMESPACE",
        )
    else:
        yield Finding(Level.GOOD, "ModelDeployments", f"{total}, and none needs a person")
    if warned:
        text = f"{len(warned)} of {total} serve with a warning: {_some(warned)}"
        yield Finding(Level.NOTE, "ModelDeployments", text, "run kubectl model status NAME -n NAMESPACE")


def _some(items: list[str], separator: str = ", ") -> str:
    more = f"{separator}and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return separator.join(items[:_SHOWN]) + more
