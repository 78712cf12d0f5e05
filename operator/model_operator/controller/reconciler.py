"""Reconciles one key: observe, plan, report, act. Level-triggered and idempotent.

The status is written before the actions. So an intent (a rollout, a revert) survives a crash of the operator between
the two. A permanent refusal of the API server is kept as a refused write and is input of the next plan. So the status
keeps reporting the refusal and does not flap.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from model_operator.api import names
from model_operator.controller.execute import Executor
from model_operator.controller.observe import Observer, Snapshots
from model_operator.controller.rollout_slots import Slots
from model_operator.controller.services import Services
from model_operator.domain.objects import (
    Key,
    Kind,
    ModelDeployment,
    Object,
    ObjectRef,
    part,
    read_modeldeployment,
)
from model_operator.domain.plan import Event, Plan
from model_operator.domain.registry import ResolutionReason
from model_operator.domain.rollout import Phase
from model_operator.domain.world import RefusedWrite, World
from model_operator.kube import ApiError, Conflict, EventRecorder, KubeClient, NotFound
from model_operator.planner.plan import plan
from model_operator.planner.status.transitions import find_transitions
from model_operator.settings import Settings

log = logging.getLogger(__name__)

CONFLICT_RETRY_SECONDS = 0.5
FIRST_ANSWER = timedelta(seconds=1)
"""A registry's first answer usually arrives sooner. An earlier status would only contain ``Pending``."""


class Reconciler:
    """Brings ModelDeployments to their desired state.

    ``reconcile`` may run for several keys at once. The queue never runs it twice at once for one key.
    """

    def __init__(
        self,
        kube: KubeClient,
        cache: Snapshots,
        settings: Settings,
        services: Services,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._services = services
        self._events = EventRecorder(kube)
        self._slots = Slots(settings.max_concurrent_rollouts, services.look_at)
        self._observer = Observer(kube, cache, settings, services, self._slots, clock)
        self._refused_writes: dict[Key, tuple[RefusedWrite, ...]] = {}
        self._unanswered: dict[Key, datetime] = {}
        """The time at which a key began to wait for the first answer of its registry."""
        self._executor = Executor(kube, self._report_repair)

    def resume(self, keys: Iterable[Key]) -> None:
        """Restores the slots of rollouts that a previous operator left in progress."""
        for key in keys:
            raw = self._cache.get(ObjectRef(Kind.MODEL_DEPLOYMENT, *key))
            candidate = part(read_modeldeployment(raw or {}).status, "candidate")
            phase = candidate.get("phase")
            self._slots.note(
                key, phase in set(Phase) and Phase(phase).in_flight and not candidate.get("reason")
            )

    async def reconcile(self, key: Key) -> float | None:
        """Reconciles ``key``. Returns the seconds until the next reconcile that is due without any event, or None.

        Raises ApiError if the API server could not be reached. The queue then retries later.
        """
        observed = await self._observer.observe(key, self._refused_writes.get(key, ()))
        if observed is None:
            self._forget(key)
            return None
        world, seen = observed
        if patience := self._wait_for_first_answer(world):
            return patience.total_seconds()
        decided = plan(world)
        if (informed := self._services.add_facts(world, decided)) is not world:
            world, decided = informed, plan(informed)
        if decided.rollout_in_flight:
            self._slots.note(key, in_flight=True)
        try:
            await self._report(seen, world, decided)
            if not decided.rollout_in_flight:
                # only after the status is written: until then each reader of statuses counts the rollout
                self._slots.note(key, in_flight=False, waits=_waits_for_a_slot(decided))
            refused_writes = await self._executor.carry_out(world, decided.actions)
        except (Conflict, NotFound) as stale:
            # the cache was stale and is up to date by now, so an earlier refusal may be obsolete
            self._refused_writes.pop(key, None)
            log.debug("stale view namespace=%s name=%s: %s", *key, stale)
            return CONFLICT_RETRY_SECONDS
        self._services.note(world, decided)
        if refused_writes != self._refused_writes.get(key, ()):
            self._refused_writes[key] = refused_writes
            return 0.0
        return decided.look_again.total_seconds() if decided.look_again else None

    def _forget(self, key: Key) -> None:
        self._services.forget(key)
        self._refused_writes.pop(key, None)
        self._unanswered.pop(key, None)
        self._executor.forget(key)
        self._slots.note(key, False)

    def _wait_for_first_answer(self, world: World) -> timedelta | None:
        """The time left to wait for the registry's first answer for a new ModelDeployment, or None."""
        if (
            world.status
            or world.parsed_spec is None
            or world.resolution.reason is not ResolutionReason.PENDING
        ):
            self._unanswered.pop(world.key, None)
            return None
        left = self._unanswered.setdefault(world.key, world.now) + FIRST_ANSWER - world.now
        return left if left > timedelta() else None

    # --- report --------------------------------------------------------------------------------

    async def _report(self, seen: ModelDeployment, world: World, decided: Plan) -> None:
        """Writes the status if it differs, then emits the events. After a conflict, it does neither."""
        if decided.status != world.status:
            ref = ObjectRef(Kind.MODEL_DEPLOYMENT, world.namespace, world.name)
            written = await self._kube.patch_status(
                ref, decided.status, was=world.status, resource_version=seen.resource_version
            )
            seen = read_modeldeployment(written)
            for transition in find_transitions(world, decided.status):
                self._services.happened(transition)
        for event in decided.events:
            await self._emit(seen.raw, world, event)

    async def _report_repair(self, world: World, event: Event) -> None:
        """Emits the event about a child that the executor has set back."""
        seen = self._cache.get(ObjectRef(Kind.MODEL_DEPLOYMENT, *world.key))
        if seen is not None:
            await self._emit(seen, world, event)

    async def _emit(self, seen: Object, world: World, event: Event) -> None:
        """Logs an event and writes it to the cluster, best effort."""
        level = logging.WARNING if event.warning else logging.INFO
        log.log(level, "%s namespace=%s name=%s: %s", event.reason, *world.key, event.message)
        regarding = {**seen, "apiVersion": names.API_VERSION, "kind": names.KIND}
        try:
            await self._events.emit(regarding, event)
        except ApiError as error:
            log.warning("event lost namespace=%s name=%s: %s", *world.key, error)


def _waits_for_a_slot(decided: Plan) -> bool:
    candidate = decided.status.get("candidate") or {}
    return bool(candidate.get("phase") == Phase.WAITING_FOR_SLOT)
