"""One reconcile for one key: observe, plan, report, act. Level-triggered and idempotent.

The status is written before the actions, so that an intent (a rollout, a revert) outlives an operator that dies
between the two. What the API server refuses for good is remembered as a fault and planned with, so that the same
refusal neither flaps the status nor hides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Protocol

from pydantic import ValidationError

from model_operator.api import SpecError, names, parse
from model_operator.api.spec import RegistrySpec
from model_operator.controller.execute import Executor
from model_operator.controller.pod_credentials import PodRegistries, described
from model_operator.controller.rollout_slots import Slots
from model_operator.controller.services import Background, registry_id
from model_operator.domain.registry import ImageContents
from model_operator.domain.rollout import Phase
from model_operator.domain.world import (
    Children,
    Defaults,
    Fault,
    Key,
    Kind,
    Object,
    ObjectRef,
    Plan,
    PodRegistry,
    Resolution,
    ResolutionReason,
    Traffic,
    World,
)
from model_operator.kube import (
    ApiError,
    Conflict,
    EventRecorder,
    KubeClient,
    NotFound,
)
from model_operator.planner.manifests import read_revision
from model_operator.planner.plan import plan
from model_operator.planner.status.transitions import outcomes
from model_operator.registry import WantedModel
from model_operator.settings import Settings

log = logging.getLogger(__name__)

CONFLICT_RETRY_SECONDS = 0.5
FIRST_ANSWER = timedelta(seconds=1)
"""A registry's first answer comes sooner, and a status before it would say only that it is waited for."""
# on every EndpointSlice: the Service that it is of
_LABEL_SERVICE = "kubernetes.io/service-name"


class Snapshots(Protocol):
    """The cache, as far as a reconcile reads it."""

    def snapshot(self, key: Key) -> Mapping[Kind, Sequence[Object]]:
        """The ModelDeployment of that key and everything that carries its labels."""
        ...

    def get(self, ref: ObjectRef) -> Object | None:
        """One object; None when there is none."""
        ...


class Reconciler:
    """Brings one ModelDeployment after the other to what it asks for.

    ``reconcile`` may run for several keys at once, and never twice at once for one key (the queue sees to that).
    """

    def __init__(
        self,
        kube: KubeClient,
        cache: Snapshots,
        settings: Settings,
        background: Background,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._answers = background.answers
        self._settings = settings
        self._background = background
        self._clock = clock
        self._events = EventRecorder(kube)
        self._slots = Slots(settings.max_concurrent_rollouts, background.look_at)
        self._faults: dict[Key, tuple[Fault, ...]] = {}
        self._unanswered: dict[Key, datetime] = {}
        """Since when a key waits for the first answer of its registry."""
        self._pod_registries = PodRegistries(kube)
        self._executor = Executor(kube)
        self._defaults = Defaults(
            settings.images.server,
            settings.images.fetch_image,
            pod_scripts(),
            {
                image: ImageContents(known.python_version, known.packages)
                for image, known in settings.images.contents.items()
            },
        )

    def resume(self, keys: Iterable[Key]) -> None:
        """Gives the rollouts that an operator before this one left under way their slots back."""
        for key in keys:
            raw = self._cache.get(ObjectRef(Kind.MODEL_DEPLOYMENT, *key))
            candidate = ((raw or {}).get("status") or {}).get("candidate") or {}
            phase = candidate.get("phase")
            self._slots.note(
                key, phase in set(Phase) and Phase(phase).in_flight and not candidate.get("reason")
            )

    async def reconcile(self, key: Key) -> float | None:
        """Does what is due for ``key``; returns the seconds until time alone makes another look worthwhile.

        Raises ApiError when the API server could not be asked; the queue tries again later.
        """
        world, raw = await self._observe(key)
        if world is None or raw is None:
            self._forget(key)
            return None
        if patience := self._first_answer_due(world):
            return patience.total_seconds()
        decided = plan(world)
        if decided.rollout_in_flight:
            self._slots.note(key, in_flight=True)
        try:
            raw = await self._report(raw, world, decided)
            if not decided.rollout_in_flight:
                # not before the status says so: until then the rollout counts for everybody who reads it
                self._slots.note(key, in_flight=False, waits=_waits_for_a_slot(decided))
            faults = await self._executor.carry_out(world, decided.actions)
        except (Conflict, NotFound) as stale:
            # the cache was behind; what is true has been fetched meanwhile, and what was refused may be past
            self._faults.pop(key, None)
            log.debug("stale view namespace=%s name=%s: %s", *key, stale)
            return CONFLICT_RETRY_SECONDS
        self._background.note(world, decided)
        if faults != self._faults.get(key, ()):
            self._faults[key] = faults
            return 0.0
        return decided.look_again.total_seconds() if decided.look_again else None

    def _forget(self, key: Key) -> None:
        self._background.forget(key)
        self._faults.pop(key, None)
        self._unanswered.pop(key, None)
        self._executor.forget(key)
        self._slots.note(key, False)

    def _first_answer_due(self, world: World) -> timedelta | None:
        """How long to wait with a new ModelDeployment, whose registry has just been asked for the first time."""
        if world.status or world.spec is None or world.resolution.reason is not ResolutionReason.PENDING:
            self._unanswered.pop(world.key, None)
            return None
        left = self._unanswered.setdefault(world.key, world.now) + FIRST_ANSWER - world.now
        return left if left > timedelta() else None

    # --- observe -------------------------------------------------------------------------------

    async def _observe(self, key: Key) -> tuple[World | None, Object | None]:
        """Gathers the world of ``key``; (None, None) when it is gone or about to go."""
        raw = self._cache.get(ObjectRef(Kind.MODEL_DEPLOYMENT, *key))
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            return None, None
        registry, credentials_error = await self._pod_registry(raw)
        # nothing may wait between here and the claim of a slot
        snapshot = self._cache.snapshot(key)
        raw = _only(snapshot, Kind.MODEL_DEPLOYMENT, key[1])
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            return None, None
        # from here on nobody can quote a secret that is known
        pods = self._pod_registries.discreet(key[0], snapshot.get(Kind.POD, ()))
        snapshot = {**snapshot, Kind.POD: pods}
        metadata = raw["metadata"]
        spec, spec_error = None, ""
        try:
            # the status is read elsewhere, forgivingly
            spec = parse({key: value for key, value in raw.items() if key != "status"}).spec
        except SpecError as error:
            spec_error = str(error)
        resolution = Resolution(ResolutionReason.PENDING, "the spec can't be read")
        if spec is not None:
            followed = registry_id(key[0], spec.registry)
            self._answers.want(key, WantedModel(followed, spec.model.reference()))
            resolution = self._answers.answer(key)
        status = raw.get("status")
        world = World(
            now=self._clock().replace(microsecond=0),
            namespace=key[0],
            name=key[1],
            uid=metadata["uid"],
            generation=metadata.get("generation", 0),
            spec=spec,
            spec_raw=raw.get("spec") or {},
            status=status if isinstance(status, Mapping) else {},
            resolution=resolution,
            children=_children(snapshot, key[1]),
            defaults=self._defaults,
            pod_registry=registry,
            annotations=metadata.get("annotations") or {},
            spec_error=spec_error,
            credentials_error=credentials_error,
            slot_free=self._slots.free_for(key),
            faults=self._faults.get(key, ()),
            traffic=self._traffic(key, status),
            facts=self._background.facts.known(key),
        )
        return world, raw

    async def _pod_registry(self, raw: Object) -> tuple[PodRegistry, str]:
        """How pods reach the registry of that spec, and what is wrong; nothing for a spec that can't be read."""
        namespace = str(raw["metadata"]["namespace"])
        try:
            registry = RegistrySpec.model_validate((raw.get("spec") or {}).get("registry") or {})
        except ValidationError:
            return PodRegistry(""), ""
        wanted = registry_id(namespace, registry)
        return await self._pod_registries.of(namespace, described(wanted, self._settings))

    def _traffic(self, key: Key, status: object) -> Traffic:
        serving = status.get("serving") if isinstance(status, Mapping) else None
        revision = serving.get("revision") if isinstance(serving, Mapping) else None
        return self._background.counts.traffic(key, str(revision)) if revision else Traffic()

    # --- report --------------------------------------------------------------------------------

    async def _report(self, raw: Object, world: World, decided: Plan) -> Object:
        """Writes the status when it differs, then tells the news; a conflict leaves both undone."""
        if decided.status != world.status:
            ref = ObjectRef(Kind.MODEL_DEPLOYMENT, world.namespace, world.name)
            raw = await self._kube.patch_status(
                ref, decided.status, was=world.status, resource_version=raw["metadata"]["resourceVersion"]
            )
            for outcome in outcomes(world, decided.status):
                self._background.happened(outcome)
        for news in decided.announcements:
            level = logging.WARNING if news.warning else logging.INFO
            log.log(level, "%s namespace=%s name=%s: %s", news.reason, *world.key, news.message)
            regarding = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": raw["metadata"]}
            try:
                await self._events.tell(regarding, news)
            except ApiError as error:
                log.warning("event lost namespace=%s name=%s: %s", *world.key, error)
        return raw


def _waits_for_a_slot(decided: Plan) -> bool:
    candidate = decided.status.get("candidate") or {}
    return bool(candidate.get("phase") == Phase.WAITING_FOR_SLOT)


def pod_scripts() -> Mapping[str, str]:
    """The scripts that run in the pods, and their parts, by file name."""
    folder = resources.files("model_operator") / "pod"
    return {
        file.name: file.read_text("utf-8")
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.startswith(("fetch", "serve")) and file.name.endswith(".py")
    }


def _children(snapshot: Mapping[Kind, Sequence[Object]], name: str) -> Children:
    objects = sorted(snapshot.get(Kind.REVISION, ()), key=lambda o: int(o.get("revision", 0)))
    revisions = [
        replace(revision, uid=str(obj["metadata"]["uid"]))
        for obj in objects
        if (revision := read_revision(obj)) is not None
    ]
    preview = name + names.PREVIEW_SUFFIX
    return Children(
        deployments={
            track: obj
            for track in (name, name + names.SECOND_TRACK_SUFFIX)
            if (obj := _only(snapshot, Kind.DEPLOYMENT, track)) is not None
        },
        service=_only(snapshot, Kind.SERVICE, name),
        preview=_only(snapshot, Kind.SERVICE, preview),
        autoscaler=_only(snapshot, Kind.AUTOSCALER, name),
        disruption_budget=_only(snapshot, Kind.DISRUPTION_BUDGET, name),
        config_maps=tuple(snapshot.get(Kind.CONFIG_MAP, ())),
        revisions=tuple(revisions),
        revision_objects=tuple(objects),
        pods=tuple(snapshot.get(Kind.POD, ())),
        endpoint_slices=tuple(
            obj
            for obj in snapshot.get(Kind.ENDPOINT_SLICE, ())
            if (obj["metadata"].get("labels") or {}).get(_LABEL_SERVICE) in (name, preview)
        ),
    )


def _only(snapshot: Mapping[Kind, Sequence[Object]], kind: Kind, name: str) -> Object | None:
    """The one object of that kind that is called ``name``."""
    return next((obj for obj in snapshot.get(kind, ()) if obj["metadata"]["name"] == name), None)
