"""Gathers facts about a cluster for the doctor. Changes nothing. Facts that the user may not read stay unknown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from model_operator.api import names
from model_operator.cli.cluster import Cluster
from model_operator.cli.doctor.facts import OPERATORS, YOURS, Answer, Backend, Facts, Operator, Probe, Right
from model_operator.cli.doctor.findings import registry_of
from model_operator.domain.objects import (
    Object,
    OperatorDeployment,
    read_data,
    read_endpoint_slice,
    read_is_allowed,
    read_modeldeployment,
    read_operator_deployment,
)
from model_operator.kube.errors import ApiError, Forbidden, NotFound
from model_operator.settings import Settings, SettingsError, parse

if TYPE_CHECKING:
    import httpx

PARALLEL = 8
NAMESPACES_REVIEWED = 10
PROBE_SECONDS = 5.0
_ACCESS = "/apis/authorization.k8s.io/v1"
_CRD = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{names.CRD_NAME}"
_DEPLOYMENTS = "/apis/apps/v1/{}deployments"
_HOST_REFUSED = "Invalid Host header"
_MAX_BODY = 64 * 1024


async def examine(cluster: Cluster, registry_at: str = "") -> Facts:
    """Gathers all facts. ``registry_at`` is the URL of a registry from this machine. If empty, its own URL is tried.

    Raises ApiError if the API server does not even return its version.
    """
    version = str((await cluster.get("/version")).get("gitVersion", "?"))
    yours, (crd, crd_readable), deployments, operators = await asyncio.gather(
        _yours(cluster), _read_crd(cluster), _all_of(cluster), _operators(cluster)
    )
    settings = [operator.settings for operator in operators or () if operator.settings]
    secrets, config_maps = await _pods_objects(cluster, deployments or (), settings)
    return Facts(
        server_version=version,
        yours=yours,
        namespace=cluster.namespace,
        crd=crd,
        crd_readable=crd_readable,
        operators=operators,
        deployments=deployments,
        secrets=secrets,
        config_maps=config_maps,
        probes=await _probes(settings, registry_at),
        backends=await _backends(cluster, settings),
    )


# --- rights ----------------------------------------------------------------------------------------


async def _yours(cluster: Cluster) -> dict[Right, bool]:
    async def may(right: Right) -> bool:
        body = {"spec": {"resourceAttributes": _attributes(right, cluster.namespace)}}
        return _is_allowed(await cluster.create(f"{_ACCESS}/selfsubjectaccessreviews", body))

    try:
        return dict(zip(YOURS, await _in_turn(may(right) for right in YOURS), strict=True))
    except Forbidden:
        return {}


async def _find_denied(
    cluster: Cluster, user: str, namespaces: Sequence[str]
) -> list[tuple[str, Right]] | None:
    asked = [(space, right) for space in namespaces for right in OPERATORS]

    async def may(space: str, right: Right) -> bool:
        body = {
            "spec": {"user": user, "groups": _groups(user), "resourceAttributes": _attributes(right, space)}
        }
        return _is_allowed(await cluster.create(f"{_ACCESS}/subjectaccessreviews", body))

    try:
        answers = await _in_turn(may(*question) for question in asked)
    except Forbidden:
        return None
    return [question for question, allowed in zip(asked, answers, strict=True) if not allowed]


def _groups(user: str) -> list[str]:
    space = user.split(":")[2]
    return ["system:serviceaccounts", f"system:serviceaccounts:{space}", "system:authenticated"]


def _attributes(right: Right, namespace: str) -> dict[str, str]:
    group, resource, verb = right
    resource, _, part = resource.partition("/")
    found = {"group": group, "resource": resource, "verb": verb, "namespace": namespace}
    return found | ({"subresource": part} if part else {})


def _is_allowed(answer: Object) -> bool:
    return read_is_allowed(answer)


async def _in_turn(calls: Iterable[Awaitable[bool]]) -> list[bool]:
    """Returns all answers, with at most PARALLEL calls at once."""
    turn = asyncio.Semaphore(PARALLEL)

    async def one(call: Awaitable[bool]) -> bool:
        async with turn:
            return await call

    return await asyncio.gather(*(one(call) for call in calls))


# --- objects ---------------------------------------------------------------------------------------


async def _read_crd(cluster: Cluster) -> tuple[Mapping[str, Any] | None, bool]:
    try:
        return await cluster.get(_CRD), True
    except NotFound:
        return None, True
    except Forbidden:
        return None, False


async def _all_of(cluster: Cluster) -> list[dict[str, Any]] | None:
    try:
        return await cluster.deployments(None)
    except NotFound:
        return []  # the finding about the CRD reports it
    except Forbidden:
        return None


async def _operators(cluster: Cluster) -> list[Operator] | None:
    try:
        # a chart's nameOverride changes the labels, so the container's command identifies an operator
        found = await cluster.items(_DEPLOYMENTS.format(""))
    except Forbidden:
        try:
            found = await cluster.items(_DEPLOYMENTS.format(f"namespaces/{cluster.namespace}/"))
        except Forbidden:
            return None
    seen = [(deployment, read_operator_deployment(deployment)) for deployment in found]
    return [await _operator(cluster, raw, one) for raw, one in seen if one.runs_operator]


async def _operator(cluster: Cluster, raw: Object, seen: OperatorDeployment) -> Operator:
    settings, error = await _settings(cluster, seen)
    served = list(settings.watch_namespaces[:NAMESPACES_REVIEWED]) if settings else []
    keys, service = None, None
    if settings and settings.webhooks.port:
        with suppress(Forbidden):
            keys = len(await _keys(cluster, "secrets", seen.namespace, seen.webhook_secret) or ())
        service = await _exists(cluster, f"/api/v1/namespaces/{seen.namespace}/services/{seen.name}-webhooks")
    account = f"system:serviceaccount:{seen.namespace}:{seen.service_account}"
    return Operator(
        deployment=raw,
        settings=settings,
        settings_error=error,
        denied=await _find_denied(cluster, account, served or [""]),
        webhook_secret_keys=keys,
        webhook_service=service,
    )


async def _settings(cluster: Cluster, seen: OperatorDeployment) -> tuple[Settings | None, str]:
    name = seen.config_map
    if not name:
        return None, ""
    try:
        found = await cluster.get(f"/api/v1/namespaces/{seen.namespace}/configmaps/{quote(name)}")
    except Forbidden:
        return None, ""
    except NotFound:
        return None, f"there is no ConfigMap {name}"
    try:
        return parse(str(read_data(found).get("config.yaml", "")), f"ConfigMap {name}"), ""
    except SettingsError as error:
        return None, str(error)


async def _pods_objects(
    cluster: Cluster, deployments: Sequence[Object], settings: Sequence[Settings]
) -> tuple[dict[tuple[str, str], frozenset[str] | None], dict[tuple[str, str], frozenset[str] | None]]:
    """Returns the keys of the Secrets and ConfigMaps that the pods of the ModelDeployments need."""
    entries = {entry: config for one in settings for entry, config in one.registries.items()}
    secrets: dict[tuple[str, str], frozenset[str] | None] = {}
    config_maps: dict[tuple[str, str], frozenset[str] | None] = {}
    used = {(read_modeldeployment(d).namespace, registry_of(d)) for d in deployments}
    for space, entry in sorted(used):
        config = entries.get(entry)
        for plural, name, kept in (
            ("secrets", config.pod_credentials.secret if config else "", secrets),
            ("configmaps", config.pod_ca.config_map if config else "", config_maps),
        ):
            if name and (space, name) not in kept:
                with suppress(Forbidden):
                    kept[space, name] = await _keys(cluster, plural, space, name)
    return secrets, config_maps


async def _keys(cluster: Cluster, plural: str, space: str, name: str) -> frozenset[str] | None:
    """Returns the keys that have a value, or None if the object does not exist. Raises Forbidden."""
    try:
        found = await cluster.get(f"/api/v1/namespaces/{space}/{plural}/{quote(name)}")
    except NotFound:
        return None
    return frozenset(key for key, value in read_data(found).items() if value)


async def _exists(cluster: Cluster, path: str) -> bool | None:
    try:
        await cluster.get(path)
    except NotFound:
        return False
    except Forbidden:
        return None
    return True


# --- registries ------------------------------------------------------------------------------------


async def _backends(cluster: Cluster, settings: Sequence[Settings]) -> list[Backend]:
    """Returns the Services of this cluster that the registries' URLs name."""
    found = []
    for entry, url in _urls(settings):
        host = (urlsplit(url).hostname or "").split(".")
        if len(host) < 3 or host[2] != "svc":
            continue
        name, space = host[0], host[1]
        exists = await _exists(cluster, f"/api/v1/namespaces/{quote(space)}/services/{quote(name)}")
        if exists is None:
            continue
        try:
            slices = await cluster.items(
                f"/apis/discovery.k8s.io/v1/namespaces/{quote(space)}/endpointslices",
                {"labelSelector": f"kubernetes.io/service-name={name}"},
            )
        except ApiError:
            continue
        ready = sum(len(read_endpoint_slice(part).ready) for part in slices)
        found.append(Backend(entry, f"{space}/{name}", exists, ready))
    return found


def _urls(settings: Sequence[Settings]) -> list[tuple[str, str]]:
    """Returns entry and URL of every registry: the operator's URL and the pods'."""
    pairs = [
        (entry, url)
        for one in settings
        for entry, config in one.registries.items()
        for url in (config.url, config.url_for_pods)
    ]
    return list(dict.fromkeys(pairs))


async def _probes(settings: Sequence[Settings], registry_at: str) -> list[Probe]:
    import httpx  # not at the top: the other commands don't need it

    async with httpx.AsyncClient(timeout=PROBE_SECONDS, verify=False, trust_env=False) as client:  # noqa: S501
        # the request has no credentials and only tests the check of the Host header. Through a port-forward, the name
        # in the certificate can't match
        return [await _probe(client, entry, url, registry_at) for entry, url in _urls(settings)]


async def _probe(client: httpx.AsyncClient, entry: str, url: str, registry_at: str) -> Probe:
    import httpx

    host = urlsplit(url).netloc
    try:
        async with client.stream(
            "GET",
            f"{(registry_at or url).rstrip('/')}/api/2.0/mlflow/registered-models/search",
            headers={"Host": host},
        ) as answer:
            body = b""
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > _MAX_BODY:
                    break
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Probe(entry, host, Answer.SILENT, str(error) or type(error).__name__)
    if answer.status_code == 403 and _HOST_REFUSED.encode() in body:
        return Probe(entry, host, Answer.HOST_REFUSED)
    return Probe(entry, host, Answer.ANSWERED)
