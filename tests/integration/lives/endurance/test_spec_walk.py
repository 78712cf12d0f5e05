"""Specs change to others and back: it is as if the last one had always been there."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.cluster.api import ApiClient
from tests.integration.lives.bench import PLURALS, Bench
from tests.integration.lives.endurance.likeness import Remains, differences, remains
from tests.integration.lives.endurance.specs import impossible, walks
from tests.integration.lives.endurance.whole_lives import condition
from tests.integration.lives.endurance.write_gate import WriteCount
from tests.integration.lives.kubelet import ScriptedKubelet
from tests.integration.lives.operator_process import OperatorProcess
from tests.mlflow_server import MlflowServer
from tests.wire.wire import Wire

Json = dict[str, Any]
WALKS = int(os.environ.get("MODEL_OPERATOR_WALKS", "12"))
QUIET_SECONDS = 3.0
PATIENCE_SECONDS = 300 + 10 * WALKS
KINDS = ("Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "ConfigMap")


@dataclass
class Walker:
    """Changes specs and tells what stands in the cluster then."""

    bench: Bench
    count: WriteCount
    model: str

    def body(self, name: str, spec: Json) -> Json:
        """A ModelDeployment of our model with the rest of its spec."""
        return {
            "apiVersion": "model-operator.io/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": name},
            "spec": {"model": {"name": self.model, "alias": "champion"}, **copy.deepcopy(spec)},
        }

    def accepts(self, spec: Json) -> httpx.Response:
        """What the API server says to a spec, without anything happening."""
        path = PLURALS["ModelDeployment"].format(self.bench.namespace)
        return self.bench.api.http.post(path, json=self.body("trial", spec), params={"dryRun": "All"})

    def becomes(self, name: str, spec: Json) -> None:
        """The spec is replaced as a whole."""
        path = f"{PLURALS['ModelDeployment'].format(self.bench.namespace)}/{name}"
        found = self.bench.get("ModelDeployment", name)
        assert found
        body = self.body(name, spec)
        body["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
        answer = self.bench.api.http.put(path, json=body)
        if answer.status_code == 409:  # the operator wrote its status in between
            self.becomes(name, spec)
        else:
            assert answer.status_code == 200, answer.text

    def until_settled(self) -> None:
        """Waits until all specs are seen and the operator has written nothing for a while: no hot loop."""

        def all_are_seen() -> bool:
            return all(
                o.get("status", {}).get("observedGeneration") == o["metadata"]["generation"]
                and condition(o["status"], "Resolved") == ("True", "Resolved")
                for o in self.bench.items("ModelDeployment")
            )

        self.bench.until("all specs are seen", all_are_seen, PATIENCE_SECONDS, every=0.5)
        self.bench.until_still(
            "nothing is written", lambda: self.count.writes, QUIET_SECONDS, PATIENCE_SECONDS, every=0.5
        )

    def statuses(self) -> dict[str, Json]:
        """By name."""
        return {o["metadata"]["name"]: o.get("status", {}) for o in self.bench.items("ModelDeployment")}

    def rendered(self) -> dict[str, Remains]:
        """By name: the children of each that serve, as if all had one name and one track."""
        found = {kind: self.bench.items(kind) for kind in KINDS}
        tracks = {
            s["metadata"]["name"]: s["spec"]["selector"].get("model-operator.io/track")
            for s in found["Service"]
        }
        return {
            name: self._children(name, tracks.get(name) or name, status, found)
            for name, status in self.statuses().items()
        }

    def _children(self, name: str, track: str, status: Json, found: Mapping[str, list[Json]]) -> Remains:
        of_name = {
            kind: [
                _without_past(o)
                for o in objects
                if o["metadata"].get("labels", {}).get("model-operator.io/deployment") == name
                and (kind != "Deployment" or o["metadata"]["name"] == track)
            ]
            for kind, objects in found.items()
        }
        if of_name["HorizontalPodAutoscaler"]:
            for deployment in of_name["Deployment"]:
                deployment["spec"].pop("replicas")  # the autoscaler's own affair
        # a revision keeps the name that it got first, also when its wish is written in other words by now
        revision = status.get("serving", {}).get("revision")
        renamed = {revision: "REVISION"} if revision else {}
        return remains(of_name, {track: "NAME", name: "NAME", **renamed})


def _without_past(obj: Json) -> Json:
    """Without what tells how often an object was changed, and what controllers made of it."""
    kept = copy.deepcopy(obj)
    kept.pop("status", None)
    metadata = kept["metadata"]
    for field in ("generation", "managedFields"):
        metadata.pop(field, None)
    metadata.get("annotations", {}).pop("deployment.kubernetes.io/revision", None)
    if not metadata.get("annotations"):
        metadata.pop("annotations", None)
    # kept by the API server until the Service goes
    for port in kept.get("spec", {}).get("ports") or []:
        port.pop("nodePort", None)
    return kept


@pytest.fixture
def walker(
    api: ApiClient,
    control_plane: Path,
    namespace: str,
    registry: MlflowServer,
    kubelet: ScriptedKubelet,
    wired: tuple[Wire, Path],
    tmp_path: Path,
) -> Iterator[Walker]:
    """An operator behind a wire that counts its writes, and a model whose champion is version 1."""
    settings = {
        "registries": {"default": {"url": registry.url, "requestsPerSecond": 1000}},
        "pollSeconds": 1,
        "maxConcurrentRollouts": 1000,
        "watchNamespaces": [namespace],
        "metricsPort": 0,
    }
    wire, kubeconfig = wired
    wire.faults = [count := WriteCount()]
    operator = OperatorProcess(tmp_path, kubeconfig, settings)
    operator.log_in(registry.username, registry.password)
    operator.start()
    try:
        bench = Bench(api, namespace, registry, kubelet, operator)
        bench.register(model := f"model-{namespace}")
        bench.alias(model, "champion", 1)
        yield Walker(bench, count, model)
    finally:
        operator.stop()


def serves(status: Json) -> bool:
    """Whether what the spec asks for is in force."""
    return condition(status, "Ready")[0] == "True" and condition(status, "Current")[0] == "True"


@pytest.mark.timeout(PATIENCE_SECONDS * 3)
def test_a_spec_reached_by_change_is_as_good_as_a_fresh_one(walker: Walker) -> None:
    allowed = [pair for pair in walks(WALKS * 4) if all(walker.accepts(s).status_code == 201 for s in pair)]
    pairs = {f"walk-{n:03d}": pair for n, pair in enumerate(allowed[:WALKS])}
    assert len(pairs) == WALKS, "the strategy makes too few specs that the API server takes"
    for name, (one, other) in pairs.items():
        walker.bench.post("ModelDeployment", walker.body(name, one))
        walker.bench.post("ModelDeployment", walker.body(f"{name}-fresh", other))
    walker.until_settled()
    first, at_first = walker.rendered(), walker.statuses()

    for name, (_, other) in pairs.items():
        walker.becomes(name, other)
    walker.until_settled()
    there, at_there = walker.rendered(), walker.statuses()

    for name, (one, _) in pairs.items():
        walker.becomes(name, one)
    walker.until_settled()
    back, at_back = walker.rendered(), walker.statuses()

    complaints, compared = [], 0
    for name, (one, other) in pairs.items():
        told = f"{name}: {one} -> {other}"
        fresh = at_first[f"{name}-fresh"]
        for what, status in {
            "A": at_first[name],
            "fresh B": fresh,
            "B": at_there[name],
            "A again": at_back[name],
        }.items():
            complaints += [
                f"{told}\n  {what} says nothing"
                for kind in ("Ready", "Current")
                if not all(condition(status, kind))
            ]
        if serves(fresh):
            compared += 1
            complaints += [f"{told}\n  B{d}" for d in differences(first[f"{name}-fresh"], there[name])]
            complaints += (
                []
                if serves(at_there[name])
                else [f"{told}\n  B is not in force: {at_there[name]['conditions']}"]
            )
        if serves(at_first[name]):
            compared += 1
            complaints += [f"{told}\n  A again{d}" for d in differences(first[name], back[name])]
            complaints += (
                []
                if serves(at_back[name])
                else [f"{told}\n  A is not in force again: {at_back[name]['conditions']}"]
            )
    words = walker.bench.operator.all_words()
    print(
        f"\n{len(pairs)} walks, {compared} of {2 * len(pairs)} ends in force and compared, {walker.count.writes} writes"
    )
    assert complaints == [], "\n".join(complaints)
    assert compared >= len(pairs) / 2, "too few specs came into force to say anything"
    assert "Traceback" not in words, words[words.index("Traceback") - 500 :][:4000]


def test_a_value_beyond_its_bounds_is_refused_with_the_name_of_its_field(
    api: ApiClient, namespace: str
) -> None:
    path, checked, taken = PLURALS["ModelDeployment"].format(namespace), 0, []
    for field, spec in impossible():
        body = {
            "apiVersion": "model-operator.io/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "trial"},
            "spec": {"model": {"name": "churn", "alias": "champion"}} | spec,
        }
        answer = api.http.post(path, json=body, params={"dryRun": "All"})
        checked += 1
        if answer.status_code not in (400, 422) or field.split(".")[-1] not in answer.text:
            taken.append(f"{field}: {answer.status_code} {answer.text[:200]}")
    print(f"\n{checked} impossible values refused")
    assert taken == []
    assert checked > 100
