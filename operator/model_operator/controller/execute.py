"""Carries out plans, and returns the writes that the API server refused."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import assert_never

from model_operator.controller.repair_limit import RepairLimit
from model_operator.domain.objects import Key, Kind, Object, ObjectRef, read_child
from model_operator.domain.plan import Action, Adopt, Apply, Create, Delete, Event, RecordVerdict, Scale
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
from model_operator.planner.manifests import admission_patch, patch_over, without_replicas
from model_operator.planner.state import verdict_annotation
from model_operator.planner.status.events import event_for_repair

log = logging.getLogger(__name__)

_BREAKDOWN = 500
"""The API server works but fails for this object: an admission webhook can't be called, or no address is free."""
_BREAKDOWNS = 3
"""This many in a row are reported. A single one may pass by the next reconcile."""

OnRepair = Callable[[World, Event], Awaitable[None]]
"""Receives the event about a child that another client had changed, after the child was corrected."""


async def _unreported(world: World, event: Event) -> None:
    """Reports no repair."""


class Executor:
    """Sends the actions of plans to the API server."""

    def __init__(self, kube: KubeClient, on_repair: OnRepair = _unreported) -> None:
        self._kube = kube
        self._on_repair = on_repair
        self._repair_limit = RepairLimit()
        self._breakdowns: dict[Key, Counter[ObjectRef]] = {}

    def forget(self, key: Key) -> None:
        """Drops the state of the children of a deleted ModelDeployment."""
        self._repair_limit.forget(*key)
        self._breakdowns.pop(key, None)

    async def carry_out(self, world: World, actions: Sequence[Action]) -> tuple[RefusedWrite, ...]:
        """Carries the actions out in order. A refused action does not stop those that do not depend on it.

        Returns the refused writes. Raises Conflict or NotFound if the world is stale, and ApiError if the API server
        could not be reached.
        """
        refused_writes: list[RefusedWrite] = []
        for action in actions:
            if refused_writes and _blocks_the_rest(refused_writes[-1]):
                break
            try:
                refused = await self._attempt(action, world)
            except Forbidden:
                break  # the namespace is being deleted
            if refused:
                refused_writes.append(refused)
        return tuple(refused_writes)

    async def _attempt(self, action: Action, world: World) -> RefusedWrite | None:
        """Carries the action out. Returns a refusal if an immediate retry would not help."""
        repair = action if isinstance(action, Apply) and action.repair else None
        if repair and not self._repair_limit.may_repair(repair.ref, repair.body):
            text = "another client keeps changing it"
            return RefusedWrite(action.ref, RefusalKind.CONTESTED, text)
        breakdowns = self._breakdowns.setdefault(world.key, Counter())
        try:
            refused = await self._send_or_take_over(action, world)
        except (Invalid, QuotaExceeded, Forbidden, Unavailable) as error:
            breakdowns[action.ref] += isinstance(error, Unavailable) and error.status == _BREAKDOWN
            kind = _kind_of(error, breakdowns[action.ref])
            if kind is None:
                raise
            return RefusedWrite(action.ref, kind, _sentence(error))
        breakdowns.pop(action.ref, None)
        if repair:
            self._repair_limit.repaired(repair.ref, repair.body)
        return refused

    async def _send_or_take_over(self, action: Action, world: World) -> RefusedWrite | None:
        """Carries the action out. Returns a refusal if another object has the name."""
        try:
            await self._send(action, world)
        except AlreadyExists:
            return await self._take_over(action, world)
        return None

    async def _send(self, action: Action, world: World) -> None:
        log.debug("%s %s", type(action).__name__, action.ref)
        match action:
            case Create(ref, body):
                await self._record_admission(ref, body, await self._kube.create(ref, body))
            case Apply(ref, body, uid, version):
                answer = await self._kube.apply(ref, body, uid=uid, resource_version=version or None)
                await self._record_admission(ref, body, answer)
                if event := event_for_repair(action, answer):
                    await self._on_repair(world, event)
            case Adopt(ref, uid, owner):
                # not by apply: the API server rejects a ControllerRevision without its data
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

    async def _record_admission(self, ref: ObjectRef, body: Object, answer: Object) -> None:
        """Stores the changes that admission made to our write, so that they never count as drift.

        The patch is not bound to the resourceVersion. If another client changes the object in between, it no longer
        has the recorded difference, and the next plan repairs it. If the patch fails, the next plan applies the body
        again, which changes nothing, and the record is tried again.
        """
        patch = admission_patch(body, answer)
        if patch is None:
            return
        try:
            await self._kube.merge_patch(ref, patch, uid=read_child(ref.kind, answer).uid)
        except ApiError as error:
            log.warning("the changes of admission to %s are not recorded: %s", ref, error)

    async def _take_over(self, action: Action, world: World) -> RefusedWrite | None:
        """Examines an existing object with the name of a new one. Returns None if it is the operator's own."""
        try:
            found = read_child(action.ref.kind, await self._kube.get(action.ref))
        except NotFound:
            return None
        if found.labelled_for == world.name:
            return None  # the watch will deliver it
        ours = found.controller is not None and found.controller.uid == world.uid
        given = isinstance(action, Create) and action.adopt and found.controller is None
        if isinstance(action, Create) and (ours or given):
            # somebody removed the labels, so the watch has lost the object, or a person lets the operator adopt it
            body = without_replicas(action.body)
            if given:
                # an apply keeps other writers' entries in lists, and a second port would make the Service invalid
                await self._kube.merge_patch(action.ref, patch_over(found.raw, body), uid=found.uid)
            await self._kube.apply(action.ref, body, uid=found.uid)
            return None
        text = "it existed before and does not have the operator's labels"
        if found.labelled_for:
            text = f"it belongs to the ModelDeployment {found.labelled_for}"
        return RefusedWrite(action.ref, RefusalKind.NAME_TAKEN, text)


def _blocks_the_rest(refused: RefusedWrite) -> bool:
    """Whether the later actions must wait: no revision may start without its stored revision or its scripts."""
    needed = refused.ref.kind in (Kind.REVISION, Kind.CONFIG_MAP, Kind.DEPLOYMENT)
    return needed and refused.kind is not RefusalKind.CONTESTED


def _kind_of(error: ApiError, breakdowns: int) -> RefusalKind | None:
    """The kind of refusal of an error, or None for an error that is not about the object."""
    match error:
        case Invalid():
            return RefusalKind.INVALID
        case QuotaExceeded():
            return RefusalKind.QUOTA
        case Forbidden():
            return None if error.namespace_terminating else RefusalKind.FORBIDDEN
        case _:
            lasting = error.status == _BREAKDOWN and breakdowns >= _BREAKDOWNS
            return RefusalKind.BROKEN if lasting else None


def _sentence(error: ApiError) -> str:
    return error.message.strip()[:512]
