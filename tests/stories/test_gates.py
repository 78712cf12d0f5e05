"""Lives in which a gate keeps a version out until somebody mends it, or a person lets it pass."""

from __future__ import annotations

import json
from math import nan
from typing import Any

import pytest
from tests.stories.conftest import Told
from tests.stories.simulation import SimulatedCluster, outage, serving

from model_operator.domain.registry import Metric, ModelDescription, VersionFacts

Json = dict[str, Any]

AGE = {"type": "long", "name": "age", "required": True}
INCOME = {"type": "double", "name": "income", "required": True}


def described(*inputs: Json, **more: Any) -> VersionFacts:
    return VersionFacts(description=ModelDescription(signature={"inputs": list(inputs)}, **more))


def measured(**values: float) -> VersionFacts:
    return VersionFacts(metrics=tuple(Metric(name, value) for name, value in values.items()))


def behind(manifest: Json, gates: Json, facts: VersionFacts | None = None, **more: Any) -> SimulatedCluster:
    """Version 1 serves, and then the team sets gates; what serves is asked nothing."""
    cluster = serving({**manifest, **more}, "1")
    if facts is not None:
        cluster.facts["1"] = facts
    cluster.commit(f"gates: {json.dumps(gates)}", lambda spec: spec.update(gates=gates))
    assert cluster.condition("Admitted") == ("True", "Admitted")
    return cluster


def keeps_out(cluster: SimulatedCluster, reason: str) -> bool:
    """Version 2 is kept out for that reason, and version 1 serves on as if nothing had happened."""
    return (
        cluster.condition("Admitted") == ("False", reason)
        and cluster.condition("Current") == ("False", reason)
        and cluster.condition("Ready") == ("True", "Serving")
        and cluster.serving_versions() == {"1": 2}
        and "candidate" not in cluster.status
        and cluster.announced.count(reason) == 1
    )


def rolled_out(cluster: SimulatedCluster) -> bool:
    cluster.pass_time(60)
    return (
        cluster.serving_versions() == {"2": 2}
        and cluster.condition("Admitted") == ("True", "Admitted")
        and cluster.requests_lost == 0
    )


def test_a_version_is_kept_out_until_somebody_tags_it(manifest: Json, told: Told) -> None:
    cluster = behind(manifest, {"tags": [{"key": "validation_status", "value": "approved"}]})
    cluster.move_alias("champion", "2")
    assert keeps_out(cluster, "TagMissing")
    cluster.tag("2", validation_status="pending")
    assert cluster.condition("Admitted") == ("False", "TagMismatch")
    cluster.pass_time(3600)
    cluster.tag("2", validation_status="approved")
    assert rolled_out(cluster)
    told(cluster)


def test_a_version_is_kept_out_until_its_metric_is_mended(manifest: Json, told: Told) -> None:
    cluster = behind(manifest, {"metrics": [{"name": "auc", "min": 0.8}]})
    cluster.learn("2", "auc of version 2: NaN", measured(auc=nan))
    cluster.move_alias("champion", "2")
    assert keeps_out(cluster, "MetricNotFinite")
    cluster.learn("2", "auc of version 2: 0.7", measured(auc=0.7))
    assert cluster.condition("Admitted") == ("False", "MetricOutOfBounds")
    assert cluster.status["plan"]["gates"][0]["outcome"] == "Failed"
    cluster.learn("2", "auc of version 2: 0.9", measured(auc=0.9))
    assert rolled_out(cluster)
    told(cluster)


def test_a_version_that_is_worse_than_what_serves_is_kept_out(manifest: Json) -> None:
    gate = {"name": "auc", "noWorseThanServingBy": 0.01, "better": "Higher"}
    cluster = behind(manifest, {"metrics": [gate]}, measured(auc=0.9))
    cluster.learn("2", "auc of version 2: 0.8", measured(auc=0.8))
    cluster.move_alias("champion", "2")
    assert keeps_out(cluster, "MetricWorse")
    cluster.learn("2", "auc of version 2: 0.89", measured(auc=0.89))
    assert rolled_out(cluster)


@pytest.mark.parametrize(
    ("gates", "refused", "mended", "reason"),
    [
        pytest.param(
            {"inputExample": "Required"},
            described(),
            described(input_example=True),
            "InputExampleMissing",
            id="without an input example",
        ),
        pytest.param(
            {"maxModelBytes": "1Ki"},
            described(size_bytes=1025),
            described(size_bytes=1024),
            "ModelTooLarge",
            id="too large",
        ),
        pytest.param(
            {"signature": "Compatible"},
            described(AGE, INCOME),
            described(AGE),
            "SignatureIncompatible",
            id="with a signature that would refuse callers",
        ),
        pytest.param(
            {"inputExample": "Required"},
            VersionFacts(description_problem="403: may not read it"),
            described(input_example=True),
            "FactsUnreadable",
            id="that can't be read",
        ),
    ],
)
def test_a_version_is_kept_out_when_it_is(
    manifest: Json, gates: Json, refused: VersionFacts, mended: VersionFacts, reason: str
) -> None:
    first = described(AGE, input_example=True, size_bytes=1)
    cluster = behind(manifest, gates, first)
    cluster.learn("2", "version 2 is registered", refused)
    cluster.move_alias("champion", "2")
    assert keeps_out(cluster, reason)
    cluster.learn("2", "it is registered anew", mended)
    assert rolled_out(cluster)


def test_an_override_lets_one_version_pass_and_not_the_next(manifest: Json, told: Told) -> None:
    cluster = behind(manifest, {"signature": "Compatible"}, described(AGE))
    cluster.learn("2", "version 2 needs an income", described(AGE, INCOME))
    cluster.move_alias("champion", "2")
    assert keeps_out(cluster, "SignatureIncompatible")
    assert "+ input income: double (required) (breaks callers)" in cluster.status["plan"]["signature"]

    def override(spec: Json) -> None:
        spec["gates"]["overrides"] = [{"gate": "Signature", "approved": "2"}]

    cluster.commit('gates.overrides: Signature of "2"', override)
    assert rolled_out(cluster)
    cluster.pass_watch()
    cluster.learn("3", "version 3 needs only a name", described({"type": "string", "name": "name"}))
    cluster.move_alias("champion", "3")
    assert cluster.condition("Admitted") == ("False", "SignatureIncompatible")
    told(cluster)


def test_nothing_starts_while_the_registry_has_not_told_what_the_gates_ask(manifest: Json) -> None:
    cluster = behind(manifest, {"metrics": [{"name": "auc", "min": 0.8}]})
    cluster.move_alias("champion", "2")
    cluster.pass_time(3600)
    assert cluster.condition("Admitted") == ("Unknown", "GatesPending")
    assert cluster.condition("Ready") == ("True", "Serving")
    assert cluster.condition("Stalled") == ("", "")
    cluster.learn("2", "auc of version 2: 0.9", measured(auc=0.9))
    assert rolled_out(cluster)


def test_what_is_on_its_way_is_dropped_when_the_alias_moves_on_to_what_is_kept_out(
    manifest: Json, told: Told
) -> None:
    gates = {"tags": [{"key": "quality", "notValue": "bad"}]}
    cluster = behind(manifest, gates, rollout={"strategy": "BlueGreen"})
    cluster.move_alias("champion", "2")
    cluster.pass_time(3)
    assert cluster.status["candidate"]["version"] == "2"
    cluster.tag("3", quality="bad")
    cluster.move_alias("champion", "3")
    cluster.pass_time(120)
    assert keeps_out(cluster, "TagMismatch")
    told(cluster)


def test_a_refused_commit_stalls_and_a_revert_asks_no_gate(manifest: Json) -> None:
    gates = {"tags": [{"key": "ok", "exists": True}]}
    cluster = behind(manifest, gates)
    cluster.commit("model: version 2", lambda spec: spec.update(model={"name": "churn", "version": "2"}))
    assert cluster.condition("Ready") == ("False", "TagMissing")
    assert cluster.condition("Stalled") == ("True", "TagMissing")
    assert cluster.serving_versions() == {"1": 2}
    cluster.tag("2", ok="yes")
    assert rolled_out(cluster)
    cluster.version_tags.clear()
    cluster.annotate("revert", "1")
    cluster.pass_time(60)
    assert cluster.serving_versions() == {"1": 2}


def test_a_spec_change_of_what_serves_asks_no_gate(manifest: Json) -> None:
    cluster = behind(manifest, {"tags": [{"key": "ok", "exists": True}]})
    cluster.version_tags.clear()
    cluster.commit("bigger", lambda spec: spec.update(server={"resources": {"requests": {"cpu": "1"}}}))
    cluster.pass_time(60)
    assert cluster.condition("Ready") == ("True", "Serving")
    assert cluster.condition("Current") == ("True", "Serving")


def test_a_first_version_that_is_kept_out_says_so(manifest: Json) -> None:
    cluster = SimulatedCluster(
        {**manifest, "gates": {"tags": [{"key": "ok", "exists": True}]}}, {"champion": "1"}
    )
    cluster.settle()
    assert cluster.condition("Ready") == ("False", "TagMissing")
    assert cluster.condition("Stalled") == ("True", "TagMissing")
    assert cluster.status["plan"]["extraPods"] == 2
    cluster.tag("1", ok="yes")
    cluster.pass_time(60)
    assert cluster.serving_versions() == {"1": 2}


def test_a_gate_keeps_nothing_from_serving_on_while_the_registry_is_away(manifest: Json) -> None:
    cluster = behind(manifest, {"tags": [{"key": "ok", "exists": True}]})
    cluster.registry_failure = outage()
    cluster.pass_time(600)
    assert cluster.serving_versions() == {"1": 2}
    assert cluster.condition("Admitted") == ("Unknown", "Pending")
