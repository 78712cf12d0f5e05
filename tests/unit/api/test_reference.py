from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.unit.api.api_cases import MALFORMED_URIS

from model_operator.api import MalformedReferenceError, ModelReference, parse_reference
from model_operator.api.reference import STAGES

NAMES = st.text(
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/:"), min_size=1, max_size=256
).filter(lambda name: name.strip() and name != "." and not name.startswith(".."))
ALIASES = st.from_regex(r"[\w-]{1,40}", fullmatch=True).filter(
    lambda alias: alias.lower() != "latest" and not (alias[0] in "vV" and alias[1:].isdecimal())
)
CHOICES = st.one_of(
    st.builds(lambda alias: {"alias": alias}, ALIASES),
    st.builds(lambda version: {"version": str(version)}, st.integers(1, 10**10 - 1)),
    st.builds(lambda stage: {"stage": stage}, st.sampled_from(STAGES)),
    st.just({"latest": True}),
)


@settings(deadline=None)
@given(NAMES, CHOICES)
def test_a_reference_written_as_uri_is_read_back_as_it_was(name, choice):
    try:
        wanted = ModelReference(name, **choice)
    except MalformedReferenceError:
        assume(False)
    assert parse_reference(wanted.uri) == wanted


def _field_told(uri: str) -> str:
    try:
        return parse_reference(uri).name and "model.uri"
    except MalformedReferenceError as refusal:
        return str(refusal)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_reference_or_is_refused_with_the_name_of_the_field(text):
    assert _field_told(text).startswith("model.uri")
    assert _field_told(f"models:/{text}").startswith("model.uri")


@pytest.mark.parametrize(
    ("uri", "name", "display"),
    [
        pytest.param("models:/churn@champion", "churn", "@champion", id="an alias is shown with its at sign"),
        pytest.param("models:/churn/3", "churn", "3", id="a version is shown as its number"),
        pytest.param("models:/churn/Latest", "churn", "latest", id="latest may be written in any case"),
        pytest.param("models:/churn/PRODUCTION", "churn", "Production", id="a stage is shown as MLflow does"),
        pytest.param("models:/a%20b?c#d@x", "a%20b?c#d", "@x", id="the name is taken literally"),
        pytest.param("models:/a@b@c", "a@b", "@c", id="the last at sign starts the alias"),
        pytest.param("models:/a@b/3", "a@b", "3", id="an at sign before a version belongs to the name"),
        pytest.param("models:/...@x", None, None, id="a name can't start with two dots"),
        pytest.param("models:/.a@x", ".a", "@x", id="a name can start with one dot"),
    ],
)
def test_a_uri_names_a_model_and_a_choice(uri, name, display):
    if name is None:
        with pytest.raises(MalformedReferenceError):
            parse_reference(uri)
    else:
        reference = parse_reference(uri)
        assert (reference.name, reference.display) == (name, display)


@pytest.mark.parametrize("uri", MALFORMED_URIS, ids=repr)
def test_a_malformed_uri_is_refused_with_the_forms_that_are_accepted(uri):
    with pytest.raises(MalformedReferenceError, match="models:/NAME@ALIAS, models:/NAME/VERSION"):
        parse_reference(uri)


@pytest.mark.parametrize(
    "choice",
    [
        pytest.param({}, id="none is chosen"),
        pytest.param({"alias": "a", "version": "3"}, id="alias and version are chosen"),
        pytest.param({"stage": "Staging", "latest": True}, id="stage and latest are chosen"),
    ],
)
def test_a_reference_has_exactly_one_choice(choice):
    with pytest.raises(MalformedReferenceError, match="exactly one"):
        ModelReference("churn", **choice)


def test_only_an_exact_version_stays_where_it_is():
    uris = ["models:/a@x", "models:/a/latest", "models:/a/Staging", "models:/a/3"]
    assert [parse_reference(uri).moves for uri in uris] == [True, True, True, False]
