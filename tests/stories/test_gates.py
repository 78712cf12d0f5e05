"""Lives in which a gate keeps a version out until somebody mends it, or a person lets it pass."""

from __future__ import annotations

import json
from math import nan
from typing import Any

import pytest
from tests.stories.story import Given, Story, Then, When

from model_operator.domain.registry import Metric, ModelDescription, VersionFacts

Json = dict[str, Any]

AGE = {"type": "long", "name": "age", "required": True}
INCOME = {"type": "double", "name": "income", "required": True}


def described(*inputs: Json, **more: Any) -> VersionFacts:
    return VersionFacts(description=ModelDescription(signature={"inputs": list(inputs)}, **more))


def measured(**values: float) -> VersionFacts:
    return VersionFacts(metrics=tuple(Metric(name, value) for name, value in values.items()))


def gates_are_set(story: Story, gates: Json, serving: VersionFacts | None = None) -> None:
    """Version 1 serves, and then the team sets gates, which don't apply to it."""
    story.given.version_serves("1")
    if serving is not None:
        story.given.facts("1", serving)
    story.when.commit_changes(f"gates: {json.dumps(gates)}", gates=gates)
    story.then.condition_is("Admitted", "True", "Admitted")


def keeps_out(then: Then, reason: str) -> None:
    """Version 2 is kept out for that reason, and version 1 serves on as if nothing had happened."""
    then.condition_is("Admitted", "False", reason)
    then.condition_is("Current", "False", reason)
    then.condition_is("Ready", "True", "Serving")
    then.version_serves("1")
    then.there_is_no_candidate()
    then.operator_emitted(reason, times=1)


def is_rolled_out(story: Story) -> None:
    story.when.time_passes(60)
    story.then.version_serves("2")
    story.then.condition_is("Admitted", "True", "Admitted")
    story.then.no_request_is_lost()


def test_a_version_is_kept_out_until_somebody_tags_it(story: Story, when: When, then: Then) -> None:
    gates_are_set(story, {"tags": [{"key": "validation_status", "value": "approved"}]})
    when.alias_moves_to("2")
    keeps_out(then, "TagMissing")
    when.version_is_tagged("2", validation_status="pending")
    then.condition_is("Admitted", "False", "TagMismatch")
    when.time_passes(3600)
    when.version_is_tagged("2", validation_status="approved")
    is_rolled_out(story)
    then.transcript_matches()


def test_a_version_is_kept_out_until_its_metric_is_mended(story: Story, when: When, then: Then) -> None:
    gates_are_set(story, {"metrics": [{"name": "auc", "min": 0.8}]})
    when.registry_learns("2", "auc of version 2: NaN", measured(auc=nan))
    when.alias_moves_to("2")
    keeps_out(then, "MetricNotFinite")
    when.registry_learns("2", "auc of version 2: 0.7", measured(auc=0.7))
    then.condition_is("Admitted", "False", "MetricOutOfBounds")
    assert story.status["plan"]["gates"][0]["outcome"] == "Failed"
    when.registry_learns("2", "auc of version 2: 0.9", measured(auc=0.9))
    is_rolled_out(story)
    then.transcript_matches()


def test_a_version_that_is_worse_than_what_serves_is_kept_out(story: Story, when: When, then: Then) -> None:
    gate = {"name": "auc", "noWorseThanServingBy": 0.01, "better": "Higher"}
    gates_are_set(story, {"metrics": [gate]}, measured(auc=0.9))
    when.registry_learns("2", "auc of version 2: 0.8", measured(auc=0.8))
    when.alias_moves_to("2")
    keeps_out(then, "MetricWorse")
    when.registry_learns("2", "auc of version 2: 0.89", measured(auc=0.89))
    is_rolled_out(story)


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
    story: Story,
    when: When,
    then: Then,
    gates: Json,
    refused: VersionFacts,
    mended: VersionFacts,
    reason: str,
) -> None:
    first = described(AGE, input_example=True, size_bytes=1)
    gates_are_set(story, gates, first)
    when.registry_learns("2", "version 2 is registered", refused)
    when.alias_moves_to("2")
    keeps_out(then, reason)
    when.registry_learns("2", "it is registered anew", mended)
    is_rolled_out(story)


def test_by_default_a_version_that_needs_a_new_column_is_kept_out(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.version_serves("1")
    given.facts("1", described(AGE))
    when.registry_learns("2", "version 2 needs an income", described(AGE, INCOME))
    when.alias_moves_to("2")
    keeps_out(then, "SignatureIncompatible")
    assert "+ input income: double (required) (breaks callers)" in story.status["plan"]["signature"]
    when.commit_changes("gates.signature: Ignore", gates={"signature": "Ignore"})
    when.time_passes(60)
    then.version_serves("2")
    then.transcript_matches()


def test_by_default_a_signature_that_cannot_be_read_is_only_noted(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.version_serves("1")
    when.registry_learns(
        "2", "version 2 is registered", VersionFacts(description_problem="403: may not read it")
    )
    when.alias_moves_to("2", wait=5)
    (noted,) = story.status["plan"]["gates"]
    assert (noted["outcome"], "403: may not read it" in noted["message"]) == ("Warned", True)
    is_rolled_out(story)


def test_an_override_lets_one_version_pass_and_not_the_next(story: Story, when: When, then: Then) -> None:
    gates_are_set(story, {"signature": "Compatible"}, described(AGE))
    when.registry_learns("2", "version 2 needs an income", described(AGE, INCOME))
    when.alias_moves_to("2")
    keeps_out(then, "SignatureIncompatible")
    assert "+ input income: double (required) (breaks callers)" in story.status["plan"]["signature"]
    override = {"gate": "Signature", "approved": "2"}
    when.commit_changes('gates.overrides: Signature of "2"', gates={"overrides": [override]})
    is_rolled_out(story)
    when.watch_window_passes()
    when.registry_learns("3", "version 3 needs only a name", described({"type": "string", "name": "name"}))
    when.alias_moves_to("3")
    then.condition_is("Admitted", "False", "SignatureIncompatible")
    then.transcript_matches()


def test_nothing_starts_while_the_registry_has_not_told_what_the_gates_ask(
    story: Story, when: When, then: Then
) -> None:
    gates_are_set(story, {"metrics": [{"name": "auc", "min": 0.8}]})
    when.alias_moves_to("2", wait=3600)
    then.condition_is("Admitted", "Unknown", "GatesPending")
    then.condition_is("Ready", "True", "Serving")
    then.condition_is_absent("Stalled")
    when.registry_learns("2", "auc of version 2: 0.9", measured(auc=0.9))
    is_rolled_out(story)


def test_what_is_on_its_way_is_dropped_when_the_alias_moves_on_to_what_is_kept_out(
    story: Story, given: Given, when: When, then: Then
) -> None:
    gates = {"tags": [{"key": "quality", "notValue": "bad"}]}
    given.blue_green()
    gates_are_set(story, gates)
    when.alias_moves_to("2", wait=3)
    then.candidate_has(version="2")
    when.version_is_tagged("3", quality="bad")
    when.alias_moves_to("3", wait=120)
    keeps_out(then, "TagMismatch")
    then.transcript_matches()


def test_a_refused_commit_stalls_and_a_revert_asks_no_gate(
    story: Story, given: Given, when: When, then: Then
) -> None:
    gates = {"tags": [{"key": "ok", "exists": True}]}
    gates_are_set(story, gates)
    when.commit_changes("model: version 2", model={"alias": None, "version": "2"})
    then.condition_is("Ready", "False", "TagMissing")
    then.condition_is("Stalled", "True", "TagMissing")
    then.version_serves("1")
    when.version_is_tagged("2", ok="yes")
    is_rolled_out(story)
    given.no_version_is_tagged()
    when.annotated("revert", "1", wait=60)
    then.version_serves("1")


def test_a_spec_change_of_what_serves_asks_no_gate(
    story: Story, given: Given, when: When, then: Then
) -> None:
    gates_are_set(story, {"tags": [{"key": "ok", "exists": True}]})
    given.no_version_is_tagged()
    when.commit_changes("bigger", server={"resources": {"requests": {"cpu": "1"}}}, wait=60)
    then.condition_is("Ready", "True", "Serving")
    then.condition_is("Current", "True", "Serving")


def test_a_first_version_that_is_kept_out_says_so(story: Story, given: Given, when: When, then: Then) -> None:
    given.spec(gates={"tags": [{"key": "ok", "exists": True}]})
    when.first_version_is_deployed("1")
    then.condition_is("Ready", "False", "TagMissing")
    then.condition_is("Stalled", "True", "TagMissing")
    assert story.status["plan"]["extraPods"] == 2
    when.version_is_tagged("1", ok="yes", wait=60)
    then.version_serves("1")


def test_a_gate_keeps_nothing_from_serving_on_while_the_registry_is_away(
    story: Story, given: Given, when: When, then: Then
) -> None:
    gates_are_set(story, {"tags": [{"key": "ok", "exists": True}]})
    given.registry_is_away()
    when.time_passes(600)
    then.version_serves("1")
    then.condition_is("Admitted", "Unknown", "Pending")
