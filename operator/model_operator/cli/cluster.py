"""Reads and patches objects for the commands, as the user of the kubeconfig."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from model_operator.api import names
from model_operator.cli.context import Context
from model_operator.cli.errors import CommandError, ExitCode
from model_operator.domain.objects import Kind, Object, ObjectRef, read_continue, read_modeldeployment
from model_operator.kube.resources import collection_path, object_path

if TYPE_CHECKING:  # loading Kubernetes' client is slow, and help, lint and digest don't need it
    from model_operator.kube.transport import Transport

FIELD_MANAGER = "model-operator-cli"
"""Not a name with the prefix ``kubectl``: Flux removes the fields of those managers with its next sync."""
TIMEOUT_SECONDS = 10.0
PAGE = 500
ATTEMPTS, GIVE_UP_SECONDS = 3, 15.0
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_DEFAULT_KUBECONFIG = "~/.kube/config"


class Cluster:
    """Reads and patches objects as plain JSON. Every method may raise a subclass of ApiError."""

    def __init__(self, transport: Transport, namespace: str) -> None:
        self._transport = transport
        self.namespace = namespace
        """The namespace of the options, or else of the kubeconfig's context."""

    async def deployment(self, name: str) -> dict[str, Any]:
        """Returns one ModelDeployment."""
        return await self.get(object_path(self._ref(name)))

    async def deployments(self, namespace: str | None, fresh: bool = True) -> list[dict[str, Any]]:
        """Returns all ModelDeployments of a namespace, or (None) of the cluster.

        If not ``fresh``, they come from the API server's cache.
        """
        return await self.items(collection_path(Kind.MODEL_DEPLOYMENT, namespace), fresh=fresh)

    async def pods(self, name: str) -> list[dict[str, Any]]:
        """Returns the pods of a ModelDeployment."""
        return await self._children(Kind.POD, name)

    async def revisions(self, name: str) -> list[dict[str, Any]]:
        """Returns the kept ControllerRevisions of a ModelDeployment."""
        return await self._children(Kind.REVISION, name)

    async def namespaces_with(self, name: str) -> list[str]:
        """Returns the namespaces that have a ModelDeployment of this name."""
        path = collection_path(Kind.MODEL_DEPLOYMENT, None)
        found = await self.items(path, {"fieldSelector": f"metadata.name={name}"})
        return sorted(read_modeldeployment(item).namespace for item in found)

    async def patch(self, name: str, patch: Object, *, dry_run: bool = False) -> dict[str, Any]:
        """Merge-patches a ModelDeployment as the user."""
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"} | (
            {"dryRun": "All"} if dry_run else {}
        )
        return await self._send(
            "PATCH", object_path(self._ref(name)), query, patch, "application/merge-patch+json"
        )

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Returns the JSON object at a path of the API."""
        return await self._send("GET", path, query or {})

    async def items(
        self, path: str, query: Mapping[str, str] | None = None, *, fresh: bool = True
    ) -> list[dict[str, Any]]:
        """Returns all objects of a collection: in pages if ``fresh``, otherwise at once from the API server's cache."""
        asked = {**(query or {}), **({"limit": str(PAGE)} if fresh else {"resourceVersion": "0"})}
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            page = await self.get(path, asked | ({"continue": token} if token else {}))
            found += page.get("items") or []
            token = read_continue(page)
            if not token:
                return found

    async def create(self, path: str, body: Object) -> dict[str, Any]:
        """POSTs a review of access and returns the answer. The API server does not store it."""
        return await self._send("POST", path, {}, body)

    async def _children(self, kind: Kind, name: str) -> list[dict[str, Any]]:
        path = collection_path(kind, self.namespace)
        return await self.items(path, {"labelSelector": f"{names.LABEL_DEPLOYMENT}={name}"})

    def _ref(self, name: str) -> ObjectRef:
        return ObjectRef(Kind.MODEL_DEPLOYMENT, self.namespace, name)

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        from model_operator.kube.transport import Call

        call = Call(method.lower(), path, method, path, query, body, content_type)
        answer: dict[str, Any] = await self._transport.send(call)
        return answer


@asynccontextmanager
async def connect(context: Context) -> AsyncIterator[Cluster]:
    """Connects to the cluster of the options. Raises CommandError if the kubeconfig can't be used."""
    from kubernetes.aio import config

    from model_operator.kube.transport import RetryPolicy, Transport, load_configuration

    try:
        namespace = _namespace_of_context(context)
        load = partial(load_configuration, context.kubeconfig, context.kube_context)
        configuration = await load()
    except (config.ConfigException, OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        # the client raises TypeError or AttributeError for a file that is empty or a list
        odd = isinstance(error, TypeError | AttributeError)
        raise CommandError(
            ExitCode.USAGE,
            f"the kubeconfig can't be used: {'it is empty or no mapping' if odd else ' '.join(str(error).split())}",
            "check it with kubectl config view, or choose another with --kubeconfig",
        ) from None
    transport = Transport(
        configuration,
        reload=load,
        retry=RetryPolicy(ATTEMPTS, TIMEOUT_SECONDS, give_up_after=GIVE_UP_SECONDS),
    )
    try:
        yield Cluster(transport, context.namespace or namespace)
    finally:
        await transport.close()


def _namespace_of_context(context: Context) -> str:
    """Returns the namespace for a command without -n. Raises CommandError if context or kubeconfig is missing."""
    from kubernetes.aio import config

    from model_operator.kube.transport import in_pod

    chosen = context.kubeconfig or os.environ.get("KUBECONFIG")
    if not chosen and not context.kube_context and in_pod():
        return _POD_NAMESPACE.read_text(encoding="utf-8").strip() if _POD_NAMESPACE.is_file() else "default"
    files = str(chosen or _DEFAULT_KUBECONFIG)
    if not any(Path(file).expanduser().is_file() for file in files.split(os.pathsep)):
        raise CommandError(
            ExitCode.USAGE,
            f"no cluster is configured: there is no kubeconfig {files}",
            "set KUBECONFIG, or name a file with --kubeconfig",
        )
    contexts, active = config.list_kube_config_contexts(config_file=files)  # type: ignore[no-untyped-call]
    if context.kube_context:
        active = next((found for found in contexts if found["name"] == context.kube_context), None)
    if active is None:
        there = ", ".join(sorted(found["name"] for found in contexts)) or "no context"
        raise CommandError(
            ExitCode.USAGE,
            f"there is no context {context.kube_context or '(none is current)'} in {files}",
            f"it has {there}: choose with --context",
        )
    return str(active.get("context", {}).get("namespace") or "default")
