"""The operator's calls to the API server, with plain JSON objects."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from model_operator.api.names import FIELD_MANAGER
from model_operator.domain.objects import Kind, Object, ObjectRef
from model_operator.kube.errors import ApiError, Conflict, NotFound
from model_operator.kube.ownership import hand_over
from model_operator.kube.resources import accept_header, collection_path, object_path, read_items
from model_operator.kube.transport import (
    APPLY,
    JSON,
    YAML,
    Call,
    CallObserver,
    Connection,
    MayWrite,
    RetryPolicy,
    Transport,
    json_for_yaml,
    load_configuration,
)

_PAGE = 500
_LIST_BEGINNINGS = 4
_LIST_PAUSE_SECONDS = 0.5
_HAND_OVER_ATTEMPTS = 10
"""A Deployment's controller writes its status many times in the seconds after a change, and each write conflicts."""
_HAND_OVER_PAUSE_SECONDS = 0.1


T = TypeVar("T")


class WriteObserver(Protocol):
    """Gets the API server's answers to writes. The next read of the cache then includes the write."""

    def put(self, kind: Kind, body: Object) -> object:
        """Receives the object after the write."""

    def forget(self, ref: ObjectRef, uid: str | None = None) -> object:
        """Receives the name of an object that is gone. With ``uid``, only that object is."""


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """The result of a list: the converted objects, and the resourceVersion of their common state."""

    items: list[T]
    resource_version: str


class KubeClient:
    """Reads and writes objects as JSON.

    Every call has a timeout. Idempotent calls are retried within bounds. All methods raise subclasses of ApiError and
    nothing else. The observer gets the answers of writes before the caller.
    """

    def __init__(self, transport: Transport, observer: WriteObserver | None = None) -> None:
        self._transport = transport
        self._observer = observer

    @classmethod
    async def connect(
        cls,
        *,
        kubeconfig: Path | None = None,
        observer: WriteObserver | None = None,
        on_call: CallObserver | None = None,
        retry: RetryPolicy | None = None,
        may_write: MayWrite = lambda: True,
    ) -> KubeClient:
        """Returns a client for the given kubeconfig file, else KUBECONFIG, else the pod's service account.

        While ``may_write`` returns False, writes raise Fenced. Raises ``kubernetes.aio.config.ConfigException`` if no
        credentials are found. Makes no call yet.
        """
        load = partial(load_configuration, kubeconfig)
        transport = Transport(
            await load(),
            reload=load,
            retry=retry or RetryPolicy(),
            observer=on_call,
            may_write=may_write,
        )
        return cls(transport, observer)

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.close()

    def may_write(self) -> bool:
        """Whether writes are sent at present."""
        return self._transport.may_write()

    async def connection(self) -> Connection:
        """Returns the address and the present credentials, for the watches, which have another client."""
        return await self._transport.connection()

    # --- reading -----------------------------------------------------------------------------------

    async def get(self, ref: ObjectRef) -> dict[str, Any]:
        """Returns the object. Raises NotFound."""
        return await self._send(Call("get", str(ref.kind), "GET", object_path(ref)))

    async def list(
        self,
        kind: Kind,
        take: Callable[[Object], T],
        *,
        namespace: str | None = None,
        label_selector: str = "",
    ) -> Listing[T]:
        """Lists all objects of a kind, in one namespace or (None) in all, in pages. Of ConfigMaps, only the metadata.

        ``take`` converts each object. No more than one page of whole objects is in memory at a time.
        """
        query = {"limit": str(_PAGE)} | ({"labelSelector": label_selector} if label_selector else {})
        path = collection_path(kind, namespace)
        items: list[T] = []
        token, beginnings = "", 1
        while True:
            try:
                page = await self._send(
                    Call(
                        "list",
                        str(kind),
                        "GET",
                        path,
                        query | ({"continue": token} if token else {}),
                        accept=accept_header(kind),
                    )
                )
            except ApiError as error:
                if error.status != 410 or beginnings == _LIST_BEGINNINGS:
                    raise
                # the listed snapshot has been compacted
                items, token, beginnings = [], "", beginnings + 1
                await asyncio.sleep(random.uniform(0.5, 1.5) * _LIST_PAUSE_SECONDS)  # noqa: S311
                continue
            items += [take(item) async for item in read_items(kind, page)]
            metadata = page.get("metadata") or {}
            token = metadata.get("continue") or ""
            if not token:
                return Listing(items, str(metadata.get("resourceVersion", "")))

    async def get_secret(self, namespace: str, name: str) -> dict[str, bytes] | None:
        """Returns the decoded values of a Secret, or None if it does not exist. Never log them."""
        try:
            secret = await self.get(ObjectRef(Kind.SECRET, namespace, name))
        except NotFound:
            return None
        return {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items() if value}

    # --- writing -----------------------------------------------------------------------------------

    async def create(self, ref: ObjectRef, body: Object, *, dry_run: bool = False) -> dict[str, Any]:
        """POSTs an object. Raises AlreadyExists, Invalid (also for unknown fields), QuotaExceeded, Forbidden.

        It is not retried if its result is unknown. A later try may therefore find the object of this one.
        """
        # A ControllerRevision's data is immutable to the byte, and a patch of its annotations writes it again with
        # sorted keys and no spaces. If the body is YAML (JSON is YAML), the server itself converts it to that form.
        as_yaml = ref.kind is Kind.REVISION
        answer = await self._send(
            Call(
                "create",
                str(ref.kind),
                "POST",
                collection_path(ref.kind, ref.namespace),
                _write_query(dry_run) | {"fieldValidation": "Strict"},
                json_for_yaml(body) if as_yaml else body,
                content_type=YAML if as_yaml else JSON,
                idempotent=False,
                accept=accept_header(ref.kind, single=True),
            )
        )
        return answer if dry_run else self._wrote(ref.kind, answer)

    async def apply(
        self,
        ref: ObjectRef,
        body: Object,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Applies the body (server-side apply, with force). Removes fields that it leaves out, even those of our POST.

        With ``uid`` and ``resource_version``, it applies only to that object in that state (else Conflict). Without
        ``uid``, it creates a missing object. Raises ValueError if a Deployment's body has ``spec.replicas``. A later
        apply without the field would set it to 1, and therefore only ``scale`` sets it.
        """
        if ref.kind is Kind.DEPLOYMENT and "replicas" in (body.get("spec") or {}):
            raise ValueError(f"spec.replicas must not be applied: {ref}")
        try:
            if not dry_run:
                # before the apply: an operator that dies between the two would otherwise leave fields that the apply
                # should have removed, and the next one would see no difference
                resource_version = await self._take_sole_ownership(ref, uid, resource_version)
            answer = await self._apply(ref, body, uid, resource_version, dry_run)
        except (Conflict, NotFound):
            await self._look_again(ref, uid)
            raise
        return answer if dry_run else self._wrote(ref.kind, answer)

    async def merge_patch(
        self,
        ref: ObjectRef,
        patch: Object,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        subresource: str = "",
    ) -> dict[str, Any]:
        """Sends a JSON merge patch: None removes a key, and lists are replaced. Preconditions as in ``apply``."""
        answer = await self._patch(ref, _bind(patch, uid, resource_version), subresource, uid)
        return answer if subresource == "scale" else self._wrote(ref.kind, answer)

    async def json_patch(self, ref: ObjectRef, operations: Sequence[Object]) -> dict[str, Any]:
        """Sends a JSON patch (RFC 6902). Raises Invalid if one of its tests fails."""
        return self._wrote(ref.kind, await self._patch(ref, operations, "", None))

    async def patch_status(
        self,
        ref: ObjectRef,
        status: Object,
        *,
        was: Object | None = None,
        resource_version: str | None = None,
    ) -> dict[str, Any]:
        """Writes ``status``. Fields that only ``was`` has are removed, at any depth.

        With ``resource_version``, a status that somebody else wrote meanwhile is not overwritten (Conflict).
        """
        patch = {"status": _diff(was or {}, status)}
        return await self.merge_patch(ref, patch, resource_version=resource_version, subresource="status")

    async def scale(
        self, ref: ObjectRef, replicas: int, *, resource_version: str | None = None
    ) -> dict[str, Any]:
        """Sets ``spec.replicas`` with the scale subresource. Returns the ``Scale`` object."""
        patch = {"spec": {"replicas": replicas}}
        return await self.merge_patch(ref, patch, resource_version=resource_version, subresource="scale")

    async def delete(
        self,
        ref: ObjectRef,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Literal["Background", "Foreground", "Orphan"] = "Background",
    ) -> bool:
        """Deletes the object with that uid in that state (else Conflict). Returns False if it did not exist."""
        options: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
        }
        bonds = {"uid": uid, "resourceVersion": resource_version}
        if preconditions := {key: value for key, value in bonds.items() if value}:
            options["preconditions"] = preconditions
        try:
            answer = await self._send(Call("delete", str(ref.kind), "DELETE", object_path(ref), body=options))
        except NotFound:
            self._gone(ref, uid)
            return False
        except Conflict:
            await self._look_again(ref, uid)
            raise
        if answer.get("kind") == str(ref.kind):
            self._wrote(ref.kind, answer)  # it still exists, because of finalizers or its grace period
        else:
            self._gone(ref, uid)
        return True

    # --- parts -------------------------------------------------------------------------------------

    async def _apply(
        self, ref: ObjectRef, body: Object, uid: str | None, resource_version: str | None, dry_run: bool
    ) -> dict[str, Any]:
        return await self._send(
            Call(
                "apply",
                str(ref.kind),
                "PATCH",
                object_path(ref),
                _write_query(dry_run) | {"fieldValidation": "Strict", "force": "true"},
                json_for_yaml(_bind(body, uid, resource_version)),
                content_type=APPLY,
            )
        )

    async def _take_sole_ownership(
        self, ref: ObjectRef, uid: str | None, resource_version: str | None
    ) -> str | None:
        """Moves the fields of our POST to our applies. Returns the ``resource_version`` after the given one.

        A missing object, or one in another state, is left alone. The apply then raises the error.
        """
        for attempt in range(_HAND_OVER_ATTEMPTS):
            try:
                metadata = (await self.get(ref))["metadata"]
            except NotFound:
                return resource_version
            seen = metadata["resourceVersion"]
            entries = hand_over(metadata.get("managedFields") or [], FIELD_MANAGER)
            if (
                entries is None
                or seen != (resource_version or seen)
                or metadata["uid"] != (uid or metadata["uid"])
            ):
                return resource_version
            operations = [
                # if the resourceVersion is replaced (not tested), a stale patch is a 409
                {"op": "replace", "path": "/metadata/resourceVersion", "value": seen},
                {"op": "replace", "path": "/metadata/managedFields", "value": entries},
            ]
            try:
                answer = await self._send_patch(ref, operations, "")
            except Conflict:
                if resource_version or attempt + 1 == _HAND_OVER_ATTEMPTS:
                    raise
                # jitter: the controller's writes and ours must not stay in step
                await asyncio.sleep(random.uniform(0.5, 1.5) * _HAND_OVER_PAUSE_SECONDS)  # noqa: S311
            else:
                return str(answer["metadata"]["resourceVersion"]) if resource_version else None
        return resource_version

    async def _patch(
        self, ref: ObjectRef, patch: Object | Sequence[Object], subresource: str, uid: str | None
    ) -> dict[str, Any]:
        try:
            return await self._send_patch(ref, patch, subresource)
        except (Conflict, NotFound):
            await self._look_again(ref, uid)
            raise

    async def _send_patch(
        self, ref: ObjectRef, patch: Object | Sequence[Object], subresource: str
    ) -> dict[str, Any]:
        is_list = not isinstance(patch, Mapping)
        return await self._send(
            Call(
                f"patch {subresource}".strip(),
                str(ref.kind),
                "PATCH",
                object_path(ref, subresource),
                _write_query(dry_run=False),
                patch,
                content_type="application/json-patch+json" if is_list else "application/merge-patch+json",
            )
        )

    async def _look_again(self, ref: ObjectRef, uid: str | None) -> None:
        """Reads the object for the observer, after an unexpected answer to a write."""
        try:
            self._wrote(ref.kind, await self.get(ref))
        except NotFound:
            self._gone(ref, uid)
        except ApiError:
            return  # the error of the write matters more, and a watch or the resync reports the object later

    def _wrote(self, kind: Kind, answer: dict[str, Any]) -> dict[str, Any]:
        if self._observer is not None:
            self._observer.put(kind, answer)
        return answer

    def _gone(self, ref: ObjectRef, uid: str | None) -> None:
        if self._observer is not None:
            self._observer.forget(ref, uid)

    async def _send(self, call: Call) -> dict[str, Any]:
        answer: dict[str, Any] = await self._transport.send(call)
        return answer


def _write_query(dry_run: bool) -> dict[str, str]:
    return {"fieldManager": FIELD_MANAGER} | ({"dryRun": "All"} if dry_run else {})


def _bind(body: Object, uid: str | None, resource_version: str | None) -> Object:
    """Returns the body with its preconditions in the metadata, where the API server reads them."""
    bonds = {"uid": uid, "resourceVersion": resource_version}
    given = {key: value for key, value in bonds.items() if value}
    return {**body, "metadata": {**(body.get("metadata") or {}), **given}} if given else body


def _diff(was: Object, wanted: Object) -> dict[str, Any]:
    """Returns a merge patch that sets all of ``wanted`` and removes the keys that only ``was`` has."""
    patch: dict[str, Any] = {key: None for key in was if key not in wanted}
    for key, value in wanted.items():
        before = was.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            patch[key] = _diff(before, value)
        else:
            patch[key] = value
    return patch
