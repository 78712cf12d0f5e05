"""Deployments: their revision, and the progress of their rollout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model_operator.api import names
from model_operator.domain.objects.children import Child, child_fields
from model_operator.domain.objects.conditions import MISSING, Condition, read_conditions
from model_operator.domain.objects.fields import Object, metadata, number, part, spec, status
from model_operator.domain.objects.kinds import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment(Child):
    """The Deployment of a track."""

    revision: str
    """The revision in the label of its pod template. Empty without the label."""
    replicas: int
    """The number of pods that it should have."""
    current: int
    """The number of its pods, of any revision."""
    ready: int
    available: int
    observed: bool
    """Whether its controller has seen its present spec."""
    complete: bool
    """Whether the rollout is complete by Kubernetes' own criteria: observed, all pods updated and available, no old
    ones left."""
    paused: bool
    refused_pods: Condition
    """The condition ReplicaFailure: why the API server refuses its new pods."""
    mounted: frozenset[str]
    """The ConfigMaps that its pods mount."""

    @property
    def is_short(self) -> bool:
        """Whether fewer pods are available than there should be."""
        return max(self.available, 0) < max(self.replicas, 0)


def read_deployment(raw: Object) -> Deployment:
    """The view of a Deployment."""
    wanted, counts = spec(raw), status(raw)
    template = part(wanted, "template")
    # the API server sets the field, and its default is one pod
    replicas = wanted.get("replicas", 1)
    observed = _is_observed(metadata(raw), counts)
    reached = [counts.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    return Deployment(
        **child_fields(Kind.DEPLOYMENT, raw),
        revision=str(part(part(template, "metadata"), "labels").get(names.LABEL_REVISION, "")),
        replicas=number(replicas),
        current=number(counts.get("replicas")),
        ready=number(counts.get("readyReplicas")),
        available=number(counts.get("availableReplicas")),
        observed=observed,
        complete=observed and all(found == replicas for found in reached),
        paused=wanted.get("paused") is True,
        refused_pods=read_conditions(counts).get("ReplicaFailure", MISSING),
        mounted=_read_mounted(part(template, "spec")),
    )


def _is_observed(meta: Object, counts: Object) -> bool:
    generation, observed = meta.get("generation", 0), counts.get("observedGeneration", 0)
    return isinstance(generation, int) and isinstance(observed, int) and observed >= generation


def _read_mounted(pod_spec: Object) -> frozenset[str]:
    volumes = pod_spec.get("volumes")
    found = volumes if isinstance(volumes, list) else []
    return frozenset(
        str(part(volume, "configMap").get("name"))
        for volume in found
        if isinstance(volume, Mapping) and "configMap" in volume
    )
