"""Carries out what was planned, and tells what the API server refused."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import assert_never

from model_operator.api import names
from model_operator.controller.repair_limit import RepairLimit
from model_operator.domain.objects import Key, Kind, Object, ObjectRef
from model_operator.domain.plan import Action, Adopt, Apply, Create, Delete, RecordVerdict, Scale
from model_operator.domain.world import RefusalKind, RefusedWrite, World
from model_operator.kube import (
    AlreadyExists,
    ApiError,
    Forbidden,
    Invalid,
    KubeClient,
    NotFound,
    QuotaExceeded,
    Unavailable,
)
from model_operator.planner.state import verdict_annotation

log = logging.getLogger(__name__)

_BREAKDOWN = 500
"""The API server works, and this object is the trouble: an admission webhook that can't be called, no address left."""
_BREAKDOWNS = 3
"""So many in a row are told; one may be a hiccup, which the queue's next look fixes."""


class Executor:
    """Sends the actions of plans to the API server."""

    def __init__(self, kube: KubeClient) -> None:
        self._kube = kube
        self._repair_limit = RepairLimit()
        self._breakdowns: dict[Key, Counter[ObjectRef]] = {}

    def forget(self, key: Key) -> None:
        """Drops what is known of the children of a ModelDeployment that is gone."""
        self._repair_limit.forget(*key)
        self._breakdowns.pop(key, None)

    async def carry_out(self, world: World, actions: Sequence[Action]) -> tuple[RefusedWrite, ...]:
        """Carries the actions out in order; a refused one does not stop those that do not need it.

        Returns what was refused. Raises Conflict or NotFound when the world is not what it was taken for, and
        ApiError when the API server could not be asked.
        """
        refused_writes: list[RefusedWrite] = []
        breakdowns = self._breakdowns.setdefault(world.key, Counter())
        for action in actions:
            if (
                refused_writes
                and refused_writes[-1].kind is not RefusalKind.CONTESTED
                and refused_writes[-1].ref.kind in (Kind.REVISION, Kind.CONFIG_MAP, Kind.DEPLOYMENT)
            ):
                break  # without its kept revision or its scripts no revision may start
            repair = action if isinstance(action, Apply) and action.repair else None
            if repair and not self._repair_limit.may_repair(repair.ref, repair.body):
                refused_writes.append(
                    RefusedWrite(
                        action.ref, RefusalKind.CONTESTED, "somebody else changes it again and again"
                    )
                )
                continue
            try:
                refused = await self._attempt(action, world)
                refused_writes += [refused] if refused else []
                breakdowns.pop(action.ref, None)
                if repair:
                    self._repair_limit.repaired(repair.ref, repair.body)
            except Invalid as error:
                refused_writes.append(RefusedWrite(action.ref, RefusalKind.INVALID, _sentence(error)))
            except QuotaExceeded as error:
                refused_writes.append(RefusedWrite(action.ref, RefusalKind.QUOTA, _sentence(error)))
            except Forbidden as error:
                if error.namespace_terminating:
                    return tuple(refused_writes)
                refused_writes.append(RefusedWrite(action.ref, RefusalKind.FORBIDDEN, _sentence(error)))
            except Unavailable as error:
                breakdowns[action.ref] += error.status == _BREAKDOWN
                if error.status != _BREAKDOWN or breakdowns[action.ref] < _BREAKDOWNS:
                    raise
                refused_writes.append(RefusedWrite(action.ref, RefusalKind.BROKEN, _sentence(error)))
        return tuple(refused_writes)

    async def _attempt(self, action: Action, world: World) -> RefusedWrite | None:
        """Carries the action out; returns what is in the way of a new object."""
        try:
            await self._send(action)
        except AlreadyExists:
            return await self._in_the_way(action, world)
        return None

    async def _send(self, action: Action) -> None:
        log.debug("%s %s", type(action).__name__, action.ref)
        match action:
            case Create(ref, body):
                await self._kube.create(ref, body)
            case Apply(ref, body, uid, version):
                await self._kube.apply(ref, body, uid=uid, resource_version=version or None)
            case Adopt(ref, uid, owner):
                # not by apply: a ControllerRevision without its data is refused
                await self._kube.merge_patch(ref, {"metadata": {"ownerReferences": [owner]}}, uid=uid)
            case Scale(ref, replicas, version):
                await self._kube.scale(ref, replicas, resource_version=version or None)
            case Delete(ref, uid, version):
                await self._kube.delete(ref, uid=uid, resource_version=version or None)
            case RecordVerdict(ref, verdict, version):
                patch = {"metadata": {"annotations": verdict_annotation(verdict)}}
                await self._kube.merge_patch(ref, patch, resource_version=version or None)
            case _:
                assert_never(action)

    async def _in_the_way(self, action: Action, world: World) -> RefusedWrite | None:
        """Looks at the object that has the name of one to be created; None when it is ours after all."""
        try:
            found = await self._kube.get(action.ref)
        except NotFound:
            return None
        metadata = found["metadata"]
        labels = metadata.get("labels") or {}
        if (
            labels.get(names.LABEL_MANAGED_BY) == names.MANAGED_BY
            and labels.get(names.LABEL_DEPLOYMENT) == world.name
        ):
            return None  # the watch brings it
        owners = metadata.get("ownerReferences") or []
        ours = any(o.get("controller") and o.get("uid") == world.uid for o in owners)
        given = isinstance(action, Create) and action.adopt and not any(o.get("controller") for o in owners)
        if isinstance(action, Create) and (ours or given):
            # somebody took our labels off it, so the watch has lost it, or a person gives it to us
            spec = {k: v for k, v in (action.body.get("spec") or {}).items() if k != "replicas"}
            body = {**action.body, "spec": spec} if spec else action.body
            if given:
                # an apply leaves what others put into its lists: a second port would make ours invalid
                await self._kube.merge_patch(action.ref, _in_place_of(found, body), uid=metadata["uid"])
            await self._kube.apply(action.ref, body, uid=metadata["uid"])
            return None
        return RefusedWrite(
            action.ref, RefusalKind.NAME_TAKEN, "it was there before and does not carry our labels"
        )


def _in_place_of(found: Object, body: Object) -> Object:
    """The merge patch that makes the body of what was found, with a selector that is ours alone from this write on.

    Merged with that of before it would select no pod at all, until the apply that follows.
    """
    spec, before = body.get("spec") or {}, (found.get("spec") or {}).get("selector") or {}
    if "selector" not in spec:
        return body
    return {**body, "spec": {**spec, "selector": {**dict.fromkeys(before), **spec["selector"]}}}


def _sentence(error: ApiError) -> str:
    return error.message.strip()[:512]
