"""What is kept of a revision comes back as it was, and garbage is not taken for one."""

import copy
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_operator.domain.revision import Revision, Side, Target, Verdict, VerdictState
from model_operator.planner.manifests import Owner, controller_revision, read_revision
from model_operator.planner.state import verdict_annotation

VERDICT = "model-operator.io/verdict"
OWNER = Owner("crm", "churn", "uid-1")
AT = datetime(2026, 11, 20, 16, 0, 1, 250000, tzinfo=UTC)
REVISION = Revision(
    name="v8-5d9f8a2b1c",
    number=3,
    target=Target("http://mlflow:5000", "churn", "8", "r1", "models:/m-1", "", {"server": {"port": 8080}}),
    images={"server": "a/b:1", "fetch": "a/b:1"},
    template={"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}},
    config_map="churn-scripts-0123456789",
)
REFUSED = Verdict(VerdictState.REJECTED, AT, Side.MODEL, "LoadFailed", "no such layer: naïve\n", attempts=2)

texts = st.text(max_size=20)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
verdicts = st.builds(
    Verdict,
    state=st.sampled_from(VerdictState),
    at=st.datetimes(timezones=st.just(UTC)),
    side=st.one_of(st.none(), st.sampled_from(Side)),
    reason=texts,
    message=texts,
    attempts=st.integers(min_value=0, max_value=1000),
    settled=st.booleans(),
)
revisions = st.builds(
    Revision,
    name=st.text(min_size=1, max_size=20),
    number=st.integers(min_value=1),
    target=st.builds(
        Target,
        *[texts] * 6,
        st.dictionaries(texts, json_values, max_size=3),
        texts,
    ),
    images=st.dictionaries(texts, texts, max_size=2),
    template=st.dictionaries(texts, json_values, min_size=1, max_size=3),
    config_map=texts,
    verdict=st.one_of(st.none(), verdicts),
    uid=st.just(""),
)


def _changed(path: str, value: object) -> dict[str, Any]:
    stored = controller_revision(OWNER, REVISION)
    *parents, last = path.split(".")
    place = stored
    for parent in parents:
        place = place[parent]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return stored


@given(revision=revisions)
def test_a_kept_revision_comes_back_as_it_was(revision: Revision) -> None:
    stored = json.loads(json.dumps(controller_revision(OWNER, revision)))
    assert read_revision(stored) == revision


def test_the_uid_that_the_server_gave_is_read() -> None:
    assert read_revision(_changed("metadata.uid", "uid-7")) == replace(REVISION, uid="uid-7")


def test_a_changed_label_does_not_change_the_revision() -> None:
    assert read_revision(_changed("metadata.labels", {})) == REVISION


def test_the_kept_object_shares_nothing_with_the_revision() -> None:
    before = copy.deepcopy(REVISION)
    stored = controller_revision(OWNER, REVISION)
    stored["data"]["template"]["metadata"]["labels"]["a"] = "changed"
    stored["data"]["wish"]["shape"]["server"]["port"] = 1
    assert before == REVISION


@pytest.mark.parametrize(
    "missing",
    [
        "data",
        "revision",
        "data.schema",
        "data.name",
        "data.wish",
        "data.wish.registryUrl",
        "data.wish.digest",
        "data.wish.shape",
        "data.images",
        "data.template",
        "data.configMap",
    ],
)
def test_an_object_that_lacks_a_part_keeps_no_revision(missing: str) -> None:
    assert read_revision(_changed(missing, None)) is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("data.schema", 2, id="a schema of the future"),
        pytest.param("data.schema", True, id="a schema that only equals one"),
        pytest.param("data.name", "", id="an empty name"),
        pytest.param("data.images", {"server": 3}, id="an image that is a number"),
        pytest.param("data.template", [], id="a template that is a list"),
        pytest.param("data.template", {}, id="an empty template"),
        pytest.param("data.wish.version", 8, id="a version that is a number"),
        pytest.param("data.wish.shape", "x", id="a shape that is a text"),
        pytest.param("data.wish.restart", 1, id="a restart that is a number"),
        pytest.param("revision", "3", id="a number that is a text"),
        pytest.param("revision", True, id="a number that is a boolean"),
    ],
)
def test_an_object_with_a_wrong_part_keeps_no_revision(path: str, value: object) -> None:
    assert read_revision(_changed(path, value)) is None


@given(garbage=st.dictionaries(st.sampled_from(["data", "metadata", "revision"]), json_values))
def test_garbage_is_no_revision_and_no_error(garbage: dict[str, Any]) -> None:
    assert read_revision(garbage) is None


@given(said=st.one_of(texts, json_values.map(json.dumps)))
def test_a_verdict_that_is_garbage_counts_as_none(said: str) -> None:
    stored = controller_revision(OWNER, REVISION)
    stored["metadata"]["annotations"][VERDICT] = said
    assert read_revision(stored) == REVISION


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("state", "Unheard", id="an unknown state"),
        pytest.param("side", "Left", id="an unknown side"),
        pytest.param("at", "yesterday", id="a time that is none"),
        pytest.param("at", "2026-11-20T16:00:00", id="a time without a zone"),
        pytest.param("at", None, id="no time"),
        pytest.param("attempts", "2", id="attempts as a text"),
        pytest.param("attempts", -1, id="negative attempts"),
        pytest.param("attempts", True, id="attempts that are a boolean"),
        pytest.param("settled", "true", id="settled as a text"),
        pytest.param("reason", 3, id="a reason that is a number"),
        pytest.param("message", ["x"], id="a message that is a list"),
    ],
)
def test_a_verdict_with_a_wrong_field_counts_as_none(field: str, value: object) -> None:
    stored = controller_revision(OWNER, replace(REVISION, verdict=REFUSED))
    said = json.loads(stored["metadata"]["annotations"][VERDICT])
    stored["metadata"]["annotations"][VERDICT] = json.dumps(said | {field: value})
    assert read_revision(stored) == REVISION


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[" * 5000, id="deeply nested"),
        pytest.param('"' + "x" * 100_000 + '"', id="far too long"),
        pytest.param("null", id="null"),
        pytest.param("[]", id="a list"),
        pytest.param('{"at": {}}', id="a map for a time"),
    ],
)
def test_a_hostile_verdict_counts_as_none(text: str) -> None:
    stored = controller_revision(OWNER, REVISION)
    stored["metadata"]["annotations"][VERDICT] = text
    assert read_revision(stored) == REVISION


def test_a_verdict_is_recorded_beside_the_data_and_can_be_taken_back() -> None:
    stored = controller_revision(OWNER, REVISION)
    stored["metadata"]["annotations"] |= verdict_annotation(REFUSED)
    assert read_revision(stored) == replace(REVISION, verdict=REFUSED)
    assert verdict_annotation(None) == {VERDICT: None}


def test_a_verdict_of_another_zone_is_kept_in_utc() -> None:
    there = AT.astimezone(timezone(timedelta(hours=2)))
    assert verdict_annotation(replace(REFUSED, at=there)) == verdict_annotation(REFUSED)


def test_a_verdict_that_is_not_settled_is_written_as_it_was_before_there_was_a_watch() -> None:
    assert "settled" not in json.loads(verdict_annotation(REFUSED)[VERDICT] or "")
    live = Verdict(VerdictState.LIVE, AT, settled=True)
    assert json.loads(verdict_annotation(live)[VERDICT] or "")["settled"] is True


def test_a_revision_without_a_restart_is_kept_as_it_was_before_there_were_any() -> None:
    assert "restart" not in controller_revision(OWNER, REVISION)["data"]["wish"]


def test_a_long_message_comes_back_whole() -> None:
    verdict = replace(REFUSED, message="\u00df" * 1024)
    stored = controller_revision(OWNER, replace(REVISION, verdict=verdict))
    assert read_revision(stored) == replace(REVISION, verdict=verdict)
