"""Gathers the world of one ModelDeployment from the cache and from the services beside the reconciler."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from importlib import resources
from typing import Protocol

from pydantic import ValidationError

from model_operator.api import SpecError, names, parse
from model_operator.api.spec import ModelDeploymentSpec, RegistrySpec
from model_operator.controller.pod_credentials import PodRegistries, describe_registry
from model_operator.controller.rollout_slots import Slots
from model_operator.controller.services import Services, registry_id
from model_operator.domain.objects import (
    Key,
    Kind,
    ModelDeployment,
    Object,
    ObjectRef,
    count,
    part,
    read_autoscaler,
    read_child,
    read_deployment,
    read_disruption_budget,
    read_endpoint_slice,
    read_modeldeployment,
    read_pod,
    read_service,
)
from model_operator.domain.objects.projection import owner_of
from model_operator.domain.registry import ImageContents, Resolution, ResolutionReason
from model_operator.domain.world import Children, Defaults, PodRegistry, RefusedWrite, Traffic, World
from model_operator.kube import KubeClient
from model_operator.planner.manifests import read_revision, spare_name
from model_operator.registry import WantedModel
from model_operator.settings import Settings


class Snapshots(Protocol):
    """The part of the cache that a reconcile reads."""

    def snapshot(self, key: Key) -> Mapping[Kind, Sequence[Object]]:
        """The ModelDeployment of that key and every object with its labels."""
        ...

    def get(self, ref: ObjectRef) -> Object | None:
        """One object, or None."""
        ...


class Observer:
    """Gathers the worlds of ModelDeployments, one at a time."""

    def __init__(
        self,
        kube: KubeClient,
        cache: Snapshots,
        settings: Settings,
        services: Services,
        slots: Slots,
        clock: Callable[[], datetime],
    ) -> None:
        self._cache = cache
        self._answers = services.answers
        self._settings = settings
        self._services = services
        self._slots = slots
        self._clock = clock
        self._pod_registries = PodRegistries(kube)
        self._defaults = Defaults(
            settings.images.server,
            settings.images.fetch_image,
            pod_scripts(),
            {
                image: ImageContents(known.python_version, known.packages)
                for image, known in settings.images.contents.items()
            },
        )

    async def observe(
        self, key: Key, refused_writes: tuple[RefusedWrite, ...] = ()
    ) -> tuple[World, ModelDeployment] | None:
        """Gathers the world of ``key``, or None if it is deleted or being deleted."""
        known = self._cache.get(ObjectRef(Kind.MODEL_DEPLOYMENT, *key))
        if known is None or (seen := read_modeldeployment(known)).leaving:
            return None
        registry, credentials_error = await self._pod_registry(seen)
        # no await between here and the claim of a slot
        snapshot = self._cache.snapshot(key)
        raw = _only(snapshot, Kind.MODEL_DEPLOYMENT, key[1])
        if raw is None or (seen := read_modeldeployment(raw)).leaving:
            return None
        # from here on no message contains a known secret
        pods = self._pod_registries.redact(key[0], snapshot.get(Kind.POD, ()))
        spec, spec_error = _parse_spec(seen)
        world = World(
            now=self._clock().replace(microsecond=0),
            namespace=key[0],
            name=key[1],
            uid=seen.uid,
            generation=seen.generation,
            parsed_spec=spec,
            spec_raw=seen.spec,
            status=seen.status,
            resolution=self._resolve(key, spec),
            children=assemble({**snapshot, Kind.POD: pods}, key[1]),
            defaults=self._defaults,
            pod_registry=registry,
            annotations=seen.annotations,
            spec_error=spec_error,
            credentials_error=credentials_error,
            slot_free=self._slots.free_for(key),
            taken=taken_names(self._cache, key),
            refused_writes=refused_writes,
            traffic=self._traffic(key, seen),
            facts=self._services.facts.look_up(key),
        )
        return world, seen

    async def _pod_registry(self, seen: ModelDeployment) -> tuple[PodRegistry, str]:
        """The pods' access to the registry of that spec, and a problem. Both are empty if the spec is invalid."""
        try:
            registry = RegistrySpec.model_validate(seen.spec.get("registry") or {})
        except ValidationError:
            return PodRegistry(""), ""
        wanted = registry_id(seen.namespace, registry)
        return await self._pod_registries.of(seen.namespace, describe_registry(wanted, self._settings))

    def _resolve(self, key: Key, spec: ModelDeploymentSpec | None) -> Resolution:
        if spec is None:
            return Resolution(ResolutionReason.PENDING, "the spec can't be read")
        self._answers.want(key, WantedModel(registry_id(key[0], spec.registry), spec.model.reference()))
        return self._answers.answer(key)

    def _traffic(self, key: Key, seen: ModelDeployment) -> Traffic:
        revision = part(seen.status, "serving").get("revision")
        return self._services.counts.traffic(key, str(revision)) if revision else Traffic()


def _parse_spec(seen: ModelDeployment) -> tuple[ModelDeploymentSpec | None, str]:
    """The spec, or the error in it."""
    try:
        # the status is parsed elsewhere, leniently
        return parse({key: value for key, value in seen.raw.items() if key != "status"}).spec, ""
    except SpecError as error:
        return None, str(error)


def pod_scripts() -> Mapping[str, str]:
    """The scripts that run in the pods and their modules, by file name."""
    folder = resources.files("model_operator") / "pod"
    return {
        file.name: file.read_text("utf-8")
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.startswith(("fetch", "serve")) and file.name.endswith(".py")
    }


def contested_names(key: Key) -> tuple[ObjectRef, ...]:
    """The names of children that another ModelDeployment of the namespace may derive, too.

    Other derived names end in a hash after a fixed word or a number, so they differ between any two ModelDeployments.
    """
    namespace, name = key
    return (
        ObjectRef(Kind.DEPLOYMENT, namespace, name),
        ObjectRef(Kind.DEPLOYMENT, namespace, name + names.SECOND_TRACK_SUFFIX),
        ObjectRef(Kind.SERVICE, namespace, name + names.PREVIEW_SUFFIX),
    )


def taken_names(cache: Snapshots, key: Key) -> frozenset[ObjectRef]:
    """Those names of the children of ``key`` that another ModelDeployment of the namespace uses, or will need."""
    return frozenset(ref for ref in contested_names(key) if _is_taken(cache, key, ref))


def _is_taken(cache: Snapshots, key: Key, ref: ObjectRef) -> bool:
    # a ModelDeployment needs its own name, also before it has any child
    other = ref.name != key[1] and cache.get(ObjectRef(Kind.MODEL_DEPLOYMENT, key[0], ref.name))
    live = cache.get(ref)
    return bool(other) or (live is not None and owner_of(ref.kind, live) != key)


def derives(namespace: str, name: str) -> tuple[Key, ...]:
    """The ModelDeployments that would derive the name ``name`` for one of their children."""
    suffixes = (names.SECOND_TRACK_SUFFIX, names.PREVIEW_SUFFIX)
    stems = (name.removesuffix(suffix) for suffix in suffixes if name.endswith(suffix))
    return tuple((namespace, stem) for stem in stems if stem)


def assemble(snapshot: Mapping[Kind, Sequence[Object]], name: str) -> Children:
    """The children of the ModelDeployment ``name``, from all objects with its labels, by kind. Pure."""

    def only(kind: Kind, called: str = name) -> Object | None:
        return _only(snapshot, kind, called)

    def either(kind: Kind, called: str) -> Object | None:
        return only(kind, called) or only(kind, spare_name(name, called))

    preview = name + names.PREVIEW_SUFFIX
    service, shown = only(Kind.SERVICE), either(Kind.SERVICE, preview)
    scaler, budget = only(Kind.AUTOSCALER), only(Kind.DISRUPTION_BUDGET)
    kept = sorted(snapshot.get(Kind.REVISION, ()), key=lambda raw: count(raw.get("revision")))
    slices = map(read_endpoint_slice, snapshot.get(Kind.ENDPOINT_SLICE, ()))
    return Children(
        deployments={
            track: read_deployment(raw)
            for track in (name, name + names.SECOND_TRACK_SUFFIX)
            if (raw := either(Kind.DEPLOYMENT, track)) is not None
        },
        service=read_service(service) if service else None,
        preview=read_service(shown) if shown else None,
        autoscaler=read_autoscaler(scaler) if scaler else None,
        disruption_budget=read_disruption_budget(budget) if budget else None,
        config_maps=tuple(read_child(Kind.CONFIG_MAP, raw) for raw in snapshot.get(Kind.CONFIG_MAP, ())),
        revisions=tuple(revision for raw in kept if (revision := read_revision(raw)) is not None),
        revision_objects=tuple(read_child(Kind.REVISION, raw) for raw in kept),
        pods=tuple(map(read_pod, snapshot.get(Kind.POD, ()))),
        endpoint_slices=tuple(
            found for found in slices if found.service in (name, preview, spare_name(name, preview))
        ),
    )


def _only(snapshot: Mapping[Kind, Sequence[Object]], kind: Kind, name: str) -> Object | None:
    """The object of that kind with the name ``name``, or None."""
    return next((obj for obj in snapshot.get(kind, ()) if obj["metadata"]["name"] == name), None)
