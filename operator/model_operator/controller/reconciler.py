"""One reconcile for one key: plan, report, act, on a world that is observed. Level-triggered and idempotent.

The status is written before the actions, so that an intent (a rollout, a revert) outlives an operator that dies
between the two. What the API server refuses for good is remembered as a refused write and planned with, so that the
same refusal neither flaps the status nor hides.
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
from model_operator.domain.objects import Key, Kind, ModelDeployment, ObjectRef, part, read_modeldeployment
from model_operator.domain.plan import Plan
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
"""A registry's first answer comes sooner, and a status before it would say only that it is waited for."""


class Reconciler:
    """Brings one ModelDeployment after the other to what it asks for.

    ``reconcile`` may run for several keys at once, and never twice at once for one key (the queue sees to that).
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
        """Since when a key waits for the first answer of its registry."""
        self._executor = Executor(kube)

    def resume(self, keys: Iterable[Key]) -> None:
        """Gives the rollouts that an operator before this one left under way their slots back."""
        for key in keys:
            raw = self._cache.get(ObjectRef(Kind.MODEL_DEPLOYMENT, *key))
            candidate = part(read_modeldeployment(raw or {}).status, "candidate")
            phase = candidate.get("phase")
            self._slots.note(
                key, phase in set(Phase) and Phase(phase).in_flight and not candidate.get("reason")
            )

    async def reconcile(self, key: Key) -> float | None:
        """Does what is due for ``key``; returns the seconds until time alone makes another look worthwhile.

        Raises ApiError when the API server could not be asked; the queue tries again later.
        """
        observed = await self._observer.observe(key, self._refused_writes.get(key, ()))
        if observed is None:
            self._forget(key)
            return None
        world, seen = observed
        if patience := self._wait_for_first_answer(world):
            return patience.total_seconds()
        decided = plan(world)
        if decided.rollout_in_flight:
            self._slots.note(key, in_flight=True)
        try:
            await self._report(seen, world, decided)
            if not decided.rollout_in_flight:
                # not before the status says so: until then the rollout counts for everybody who reads it
                self._slots.note(key, in_flight=False, waits=_waits_for_a_slot(decided))
            refused_writes = await self._executor.carry_out(world, decided.actions)
        except (Conflict, NotFound) as stale:
            # the cache was behind; what is true has been fetched meanwhile, and what was refused may be past
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
        """How long to wait with a new ModelDeployment, whose registry has just been asked for the first time."""
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
        """Writes the status when it differs, then emits the events; a conflict leaves both undone."""
        if decided.status != world.status:
            ref = ObjectRef(Kind.MODEL_DEPLOYMENT, world.namespace, world.name)
            written = await self._kube.patch_status(
                ref, decided.status, was=world.status, resource_version=seen.resource_version
            )
            seen = read_modeldeployment(written)
            for transition in find_transitions(world, decided.status):
                self._services.happened(transition)
        for event in decided.events:
            level = logging.WARNING if event.warning else logging.INFO
            log.log(level, "%s namespace=%s name=%s: %s", event.reason, *world.key, event.message)
            regarding = {**seen.raw, "apiVersion": names.API_VERSION, "kind": names.KIND}
            try:
                await self._events.tell(regarding, event)
            except ApiError as error:
                log.warning("event lost namespace=%s name=%s: %s", *world.key, error)


def _waits_for_a_slot(decided: Plan) -> bool:
    candidate = decided.status.get("candidate") or {}
    return bool(candidate.get("phase") == Phase.WAITING_FOR_SLOT)
