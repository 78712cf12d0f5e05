"""Each gate by itself, and the chain of them."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_operator.api.choices import GATES
from model_operator.api.spec import GatesSpec
from model_operator.domain.registry import (
    FactsWanted,
    ImageContents,
    Metric,
    ModelDescription,
    ResolvedVersion,
    VersionFacts,
    VersionId,
)
from model_operator.planner.gates import GateOutcome, Subject, asks_anything, facts_wanted, run_chain
from model_operator.planner.gates.chain import CHAIN

Json = dict[str, Any]


def gates(**fields: Any) -> GatesSpec:
    """These gates and no others."""
    return GatesSpec.model_validate({"signature": "Ignore"} | fields)


def metrics(*values: tuple[str, float] | tuple[str, float, str]) -> VersionFacts:
    return VersionFacts(metrics=tuple(Metric(*value) for value in values))


def subject(facts: VersionFacts | None = None, tags: Json | None = None, **more: Any) -> Subject:
    version = ResolvedVersion("churn", "8", "@champion", "run-8", "models:/m-8", tags or {})
    return Subject(version, "v8-5d9f8a2b1c", facts or VersionFacts(), **more)


def said(spec: GatesSpec, judged: Subject) -> tuple[str, str]:
    """Outcome and reason of the only gate."""
    (result,) = run_chain(spec, judged).results
    return result.outcome.value, result.reason


@pytest.mark.parametrize(
    ("gate", "tags", "expected"),
    [
        pytest.param({"value": "yes"}, {"ok": "yes"}, "", id="the value is there"),
        pytest.param({"value": "yes"}, {"ok": "Yes"}, "TagMismatch", id="the value has other letters"),
        pytest.param({"value": "yes"}, {}, "TagMissing", id="a value is asked for and there is no tag"),
        pytest.param({"value": ""}, {"ok": ""}, "", id="an empty value is a value"),
        pytest.param({"notValue": "bad"}, {"ok": "bad"}, "TagMismatch", id="the value must not be there"),
        pytest.param({"notValue": "bad"}, {}, "", id="no tag has no bad value"),
        pytest.param({"exists": True}, {"ok": ""}, "", id="any value will do"),
        pytest.param({"exists": True}, {}, "TagMissing", id="it has to exist"),
        pytest.param({"exists": False}, {"ok": "x"}, "TagMismatch", id="it must not exist"),
    ],
)
def test_tags(gate: Json, tags: Json, expected: str) -> None:
    outcome, reason = said(gates(tags=[{"key": "ok", **gate}]), subject(tags=tags))
    assert (outcome, reason) == ("Failed" if expected else "Passed", expected)


def test_a_hostile_tag_does_not_flood_the_message() -> None:
    (result,) = run_chain(
        gates(tags=[{"key": "ok", "value": "a"}]), subject(tags={"ok": "\x1b[31m" * 1000})
    ).results
    assert len(result.message) < 300
    assert result.message.isprintable()


@pytest.mark.parametrize(
    ("gate", "facts", "expected"),
    [
        pytest.param({"min": 0.8}, metrics(("auc", 0.8)), "", id="the lowest that passes"),
        pytest.param({"min": 0.8}, metrics(("auc", 0.79)), "MetricOutOfBounds", id="too low"),
        pytest.param({"max": 0.8}, metrics(("auc", 0.81)), "MetricOutOfBounds", id="too high"),
        pytest.param({"min": 0}, metrics(("auc", nan)), "MetricNotFinite", id="not a number"),
        pytest.param({"min": 0}, metrics(("auc", inf)), "MetricNotFinite", id="infinite"),
        pytest.param({"min": 0}, metrics(("f1", 0.9)), "MetricMissing", id="another was logged"),
        pytest.param({"min": 0}, metrics(), "MetricMissing", id="none was logged"),
        pytest.param(
            {"min": 0.8, "dataset": "holdout"},
            metrics(("auc", 0.99, "train"), ("auc", 0.7, "holdout")),
            "MetricOutOfBounds",
            id="the right dataset is judged",
        ),
        pytest.param(
            {"min": 0.8, "dataset": "holdout"},
            metrics(("auc", 0.99, "train")),
            "MetricMissing",
            id="only on another dataset",
        ),
        pytest.param(
            {"min": 0.8},
            metrics(("auc", 0.99, "train"), ("auc", 0.7, "holdout")),
            "MetricOutOfBounds",
            id="without a dataset every value has to pass",
        ),
        pytest.param(
            {"min": 0.8}, VersionFacts(metrics_problem="403"), "FactsUnreadable", id="they can't be read"
        ),
    ],
)
def test_metrics(gate: Json, facts: VersionFacts, expected: str) -> None:
    outcome, reason = said(gates(metrics=[{"name": "auc", **gate}]), subject(facts))
    assert (outcome, reason) == ("Failed" if expected else "Passed", expected)


@pytest.mark.parametrize(
    ("better", "new", "old", "expected"),
    [
        pytest.param("Higher", 0.89, 0.9, "", id="as much worse as allowed"),
        pytest.param("Higher", 0.88, 0.9, "MetricWorse", id="too much lower"),
        pytest.param("Higher", 0.99, 0.9, "", id="better"),
        pytest.param("Lower", 0.91, 0.9, "", id="as much higher as allowed"),
        pytest.param("Lower", 0.92, 0.9, "MetricWorse", id="too much higher"),
        pytest.param("Lower", 0.1, nan, "MetricMissing", id="what serves has no number"),
    ],
)
def test_a_metric_beside_that_of_what_serves(better: str, new: float, old: float, expected: str) -> None:
    spec = gates(metrics=[{"name": "auc", "noWorseThanServingBy": 0.01, "better": better}])
    outcome, reason = said(spec, subject(metrics(("auc", new)), serving=metrics(("auc", old))))
    assert (outcome, reason) == ("Failed" if expected else "Passed", expected)


def test_the_first_version_is_compared_with_nothing() -> None:
    spec = gates(metrics=[{"name": "auc", "noWorseThanServingBy": 0, "better": "Higher"}])
    assert said(spec, subject(metrics(("auc", 0.1)))) == ("Passed", "")


@given(st.floats(), st.floats(allow_nan=False, allow_infinity=False))
def test_nothing_passes_a_bound_that_is_not_a_number_on_its_side(value: float, least: float) -> None:
    outcome, _ = said(gates(metrics=[{"name": "auc", "min": least}]), subject(metrics(("auc", value))))
    assert (outcome == "Passed") == (least <= value < inf)


DESCRIBED = ModelDescription(
    input_example=True, size_bytes=1024, python_version="3.11.9", requirements=("a==1",)
)


@pytest.mark.parametrize(
    ("spec", "description", "expected"),
    [
        pytest.param({"inputExample": "Required"}, DESCRIBED, "", id="it carries an example"),
        pytest.param(
            {"inputExample": "Required"},
            ModelDescription(),
            "InputExampleMissing",
            id="it carries no example",
        ),
        pytest.param({"maxModelBytes": "1Ki"}, DESCRIBED, "", id="it is as large as allowed"),
        pytest.param({"maxModelBytes": 1023}, DESCRIBED, "ModelTooLarge", id="it is a byte too large"),
        pytest.param(
            {"maxModelBytes": "1Gi"}, ModelDescription(), "ModelSizeUnknown", id="nobody knows how large"
        ),
    ],
)
def test_the_description(spec: Json, description: ModelDescription, expected: str) -> None:
    outcome, reason = said(gates(**spec), subject(VersionFacts(description=description)))
    assert (outcome, reason) == ("Failed" if expected else "Passed", expected)


@pytest.mark.parametrize(
    ("mode", "outcome"), [("Enforce", "Failed"), ("Warn", "Warned")], ids=["enforced", "only told"]
)
def test_requirements_that_the_image_has_not(mode: str, outcome: str) -> None:
    judged = subject(VersionFacts(description=DESCRIBED), image=ImageContents("3.11.7", {"a": "2"}))
    assert said(gates(requirements=mode), judged) == (outcome, "RequirementsUnmet")
    unknown = subject(VersionFacts(description=DESCRIBED))
    assert said(gates(requirements=mode), unknown) == ("Warned", "ImageUnknown")


def test_a_model_without_requirements_is_only_noted() -> None:
    judged = subject(VersionFacts(description=ModelDescription()), image=ImageContents("3.11.7", {"a": "2"}))
    assert said(gates(requirements="Enforce"), judged) == ("Warned", "RequirementsUnknown")


def signed(kind: str | None, **more: Any) -> VersionFacts:
    signature = {"inputs": [{"type": kind, "name": "age", **more}]} if kind else None
    return VersionFacts(description=ModelDescription(signature=signature))


@pytest.mark.parametrize(
    ("mode", "new", "old", "expected"),
    [
        pytest.param("Compatible", signed("long"), signed("long"), ("Passed", ""), id="the same"),
        pytest.param(
            "Compatible",
            signed("string"),
            signed("long"),
            ("Failed", "SignatureIncompatible"),
            id="another type",
        ),
        pytest.param(
            "Warn", signed("string"), signed("long"), ("Warned", "SignatureIncompatible"), id="only told"
        ),
        pytest.param("Compatible", signed(None), signed("long"), ("Warned", "SignatureMissing"), id="lost"),
        pytest.param("Compatible", signed("long"), None, ("Passed", ""), id="nothing serves"),
        pytest.param(
            "Compatible",
            VersionFacts(description_problem="403"),
            signed("long"),
            ("Failed", "FactsUnreadable"),
            id="it can't be read",
        ),
        pytest.param(
            "Warn",
            VersionFacts(description_problem="403"),
            signed("long"),
            ("Warned", "FactsUnreadable"),
            id="it can't be read, and that is only told",
        ),
        pytest.param(
            "Compatible", signed("long"), VersionFacts(), ("Pending", "GatesPending"), id="not known yet"
        ),
        pytest.param(
            "IfKnown",
            signed("string"),
            signed("long"),
            ("Failed", "SignatureIncompatible"),
            id="another type, by default",
        ),
        pytest.param(
            "IfKnown", signed(None), signed("long"), ("Warned", "SignatureMissing"), id="lost, by default"
        ),
        pytest.param(
            "IfKnown",
            signed("long"),
            VersionFacts(description_problem="403"),
            ("Warned", "FactsUnreadable"),
            id="the serving one can't be read, by default",
        ),
        pytest.param(
            "IfKnown",
            signed("quaternion"),
            signed("long"),
            ("Failed", "SignatureIncompatible"),
            id="a type of another name, by default",
        ),
        pytest.param(
            "IfKnown",
            signed("quaternion", precision=2),
            signed("quaternion", precision=1),
            ("Warned", "SignatureIncompatible"),
            id="a type that we do not know, by default",
        ),
        pytest.param(
            "IfKnown",
            signed("long"),
            VersionFacts(),
            ("Pending", "GatesPending"),
            id="not known yet, by default",
        ),
    ],
)
def test_the_signature_gate(
    mode: str, new: VersionFacts, old: VersionFacts | None, expected: tuple[str, str]
) -> None:
    assert said(gates(signature=mode), subject(new, serving=old)) == expected


@pytest.mark.parametrize("approved", ["8", "v8-5d9f8a2b1c"])
def test_an_override_that_names_the_version_or_the_revision_lets_it_pass(approved: str) -> None:
    spec = gates(tags=[{"key": "ok", "value": "a"}], overrides=[{"gate": "Tags", "approved": approved}])
    report = run_chain(spec, subject())
    assert report.admitted
    assert report.results[0].outcome is GateOutcome.OVERRIDDEN
    assert "has no tag ok" in report.results[0].message


@pytest.mark.parametrize(
    "override",
    [{"gate": "Tags", "approved": "9"}, {"gate": "Metrics", "approved": "8"}],
    ids=["another version", "another gate"],
)
def test_an_override_of_something_else_changes_nothing(override: Json) -> None:
    assert not run_chain(gates(tags=[{"key": "ok", "value": "a"}], overrides=[override]), subject()).admitted


def test_every_gate_is_told_and_the_first_refusal_counts() -> None:
    spec = gates(
        metrics=[{"name": "auc", "min": 1}], tags=[{"key": "ok", "value": "a"}], inputExample="Required"
    )
    report = run_chain(spec, subject(VersionFacts(metrics=(Metric("auc", 0.5),))))
    assert [(r.gate, r.outcome.value) for r in report.results] == [
        ("Tags", "Failed"),
        ("Metrics", "Failed"),
        ("InputExample", "Pending"),
    ]
    assert report.refusal is report.results[0]


def test_without_gates_nothing_is_asked() -> None:
    version, serving = subject().version, FactsWanted(VersionId("churn", "7"), "run-7", "models:/m-7")
    assert not asks_anything(gates())
    assert facts_wanted(gates(), version, serving) == ()
    assert facts_wanted(gates(tags=[{"key": "ok", "exists": True}]), version, serving) == ()


def test_by_default_only_the_signatures_of_two_versions_are_compared() -> None:
    version, serving = subject().version, FactsWanted(VersionId("churn", "7"), "run-7", "models:/m-7")
    wanted = facts_wanted(GatesSpec(), version, serving)
    assert [(want.id.version, want.metrics, want.description) for want in wanted] == [
        ("8", False, True),
        ("7", False, True),
    ]
    assert facts_wanted(GatesSpec(), version, None) == (), "no version serves, so there is nothing to compare"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({"metrics": [{"name": "auc", "min": 1}]}, [("8", True, False)], id="a bound"),
        pytest.param(
            {"metrics": [{"name": "auc", "noWorseThanServingBy": 1, "better": "Lower"}]},
            [("8", True, False), ("7", True, False)],
            id="a comparison",
        ),
        pytest.param({"signature": "Warn"}, [("8", False, True), ("7", False, True)], id="the signature"),
        pytest.param({"maxModelBytes": 1}, [("8", False, True)], id="the size"),
    ],
)
def test_only_what_the_gates_need_is_wanted(spec: Json, expected: list[tuple[str, bool, bool]]) -> None:
    serving = FactsWanted(VersionId("churn", "7"), "run-7", "models:/m-7")
    wanted = facts_wanted(gates(**spec), subject().version, serving)
    assert [(w.id.version, w.metrics, w.description) for w in wanted] == expected


def test_every_gate_of_the_chain_has_a_row_of_the_api_in_the_same_order_and_a_field_of_the_spec() -> None:
    assert [gate.name for gate in CHAIN] == list(GATES)
    assert set(GATES.values()) <= {field.alias for field in GatesSpec.model_fields.values()}
