"""A registry that sends anything at all: nothing crashes, nothing that serves changes, and a reason is given."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.registry.conftest import Access
from tests.stories.simulation import serving

from model_operator.api.reference import parse_reference
from model_operator.domain.objects import Kind
from model_operator.domain.plan import Plan
from model_operator.domain.registry import (
    Metric,
    ModelDescription,
    Resolution,
    ResolutionReason,
    ResolvedVersion,
    VersionFacts,
    VersionId,
)
from model_operator.domain.world import World
from model_operator.planner.plan import plan
from model_operator.registry import MlflowClient, RegistryError, resolve
from model_operator.registry.clients.base import SAID_NO, with_last_good
from model_operator.registry.clients.http import Limits

GOOD: dict[str, Any] = {
    "registered_model": {
        "name": "iris",
        "aliases": [{"alias": "champion", "version": "2"}],
        "latest_versions": [
            {"name": "iris", "version": "2", "status": "READY", "run_id": "r", "source": "s", "tags": []}
        ],
    },
    "model_version": {
        "name": "iris",
        "version": "2",
        "status": "READY",
        "tags": [{"key": "a", "value": "b"}],
    },
    "run": {"info": {"lifecycle_stage": "active"}, "data": {"metrics": [{"key": "auc", "value": 0.5}]}},
    "model": {"data": {"metrics": [{"key": "auc", "value": 0.5, "dataset_name": "holdout"}]}},
    "metrics": [],
}
LAST = ResolvedVersion("churn", "1", "@champion")
GOOD_ANSWER = Resolution(
    ResolutionReason.RESOLVED,
    "",
    "http://mlflow:5000",
    ResolvedVersion("churn", "2", "@champion", "r", "s", {"a": "b"}),
)
MESSAGE = 1500

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("\x1b[31m" * 99)
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in inner for place in _places(child, (*path, key)))]


@st.composite
def wrong_somewhere(draw: st.DrawFn) -> bytes:
    """A good answer in which one part is something else."""
    answer = json.loads(json.dumps(GOOD))
    place = draw(st.sampled_from(_places(GOOD)[1:]))
    parent = answer
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = draw(ANYTHING)
    return json.dumps(answer).encode()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good answer cut off, in another encoding, with a field twice, or nested without end."""
    text = json.dumps(GOOD)
    return draw(
        st.sampled_from(
            [
                text.encode("utf-16"),
                text.encode("utf-8-sig"),
                text.replace("iris", "\ud83c").encode("utf-8", "surrogatepass"),
                b'{"registered_model": {}, ' + text.encode()[1:],
                b'{"registered_model":' * 3000 + b"1" + b"}" * 3000,
                b"[" * 100_000,
                b'{"registered_model": ' + b"9" * 5000 + b"}",
                b'{"registered_model": NaN}',
                b"",
                b"<html>nginx</html>",
            ]
        )
        | st.integers(0, len(text)).map(lambda end: text[:end].encode())
        | st.binary(max_size=50)
    )


HEADERS = st.sampled_from(
    [
        {"content-type": "application/json"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "text/html"},
        {"content-type": "application/json", "content-encoding": "gzip"},
        {"content-type": "application/json", "retry-after": "soon"},
        {"location": "http://169.254.169.254/latest/meta-data"},
        {},
    ]
)
STATUS = st.sampled_from(
    [200, 200, 200, 200, 204, 301, 307, 400, 401, 403, 404, 409, 418, 429, 500, 502, 503]
)
LIMITS = Limits(tries=1, total_seconds=5)


def answering(status: int, headers: dict[str, str], body: bytes) -> MlflowClient:
    """A client whose server says this, whatever it is asked."""

    def answer(_: httpx.Request) -> httpx.Response:
        # a stream, so that nothing is decoded before our code sees it
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body))

    return MlflowClient("prod", Access("http://mlflow:5000"), LIMITS, httpx.MockTransport(answer))


def readable(message: str) -> bool:
    """Fit for a condition: one line of bounded length, without control characters."""
    return 0 < len(message) <= MESSAGE and message.isprintable()


@settings(max_examples=300, deadline=None)
@given(
    STATUS,
    HEADERS,
    wrong_somewhere() | damaged(),
    st.sampled_from(["@champion", "/2", "/latest", "/Production"]),
)
async def test_whatever_it_answers_what_serves_stays_and_a_reason_is_given(
    status: int, headers: dict[str, str], body: bytes, suffix: str
) -> None:
    client = answering(status, headers, body)
    resolution = await resolve(client, parse_reference(f"models:/iris{suffix}"))
    await client.aclose()
    assert isinstance(resolution.reason, ResolutionReason)
    assert readable(resolution.message)
    if resolution.ok:
        assert resolution.version is not None
        assert resolution.version.model == "iris"
        assert resolution.version.version.isdecimal()
    remembered = with_last_good(resolution, LAST)
    assert remembered.version is not None or remembered.reason in SAID_NO


@cache
def at_rest() -> World:
    """What a reconcile sees of a ModelDeployment whose version 1 has settled, with gates of every kind."""
    gates = {
        "tags": [{"key": "a", "value": "b"}],
        "metrics": [{"name": "auc", "min": 0.4}],
        "inputExample": "Required",
        "maxModelBytes": "1Gi",
        "signature": "Compatible",
        "requirements": "Enforce",
    }
    spec = {"model": {"name": "churn", "alias": "champion"}, "replicas": 2}
    cluster = serving(spec, "1")
    cluster.commit("gates", lambda spec: spec.update(gates=gates))
    world = cluster.world()
    assert list(plan(world).actions) == []
    return world


def untouched(decided: Plan) -> bool:
    """What serves is left alone: nothing is done to its pods, its Service or its scale."""
    return not any(action.ref.kind in (Kind.DEPLOYMENT, Kind.SERVICE) for action in decided.actions)


@settings(max_examples=60, deadline=None)
@given(STATUS, HEADERS, wrong_somewhere() | damaged())
async def test_whatever_it_answers_the_plan_leaves_what_serves_alone_and_says_why(
    status: int, headers: dict[str, str], body: bytes
) -> None:
    client = answering(status, headers, body)
    resolution = with_last_good(await resolve(client, parse_reference("models:/churn@champion")), LAST)
    await client.aclose()
    decided = plan(replace(at_rest(), resolution=resolution))
    # a good answer names version 2, which the gates keep out: nothing is known of it yet
    assert untouched(decided)
    conditions = {condition["type"]: condition for condition in decided.status["conditions"]}
    assert conditions["Ready"]["status"] == "True"
    assert conditions["Resolved"]["reason"] == resolution.reason
    assert conditions["Current"]["status"] in ("False", "Unknown")
    assert readable(conditions["Resolved"]["message"])
    assert readable(conditions["Current"]["message"])


@settings(max_examples=60, deadline=None)
@given(STATUS, HEADERS, wrong_somewhere() | damaged())
async def test_whatever_a_gate_is_told_no_version_gets_in_by_it(
    status: int, headers: dict[str, str], body: bytes
) -> None:
    client = answering(status, headers, body)
    metrics, description, problem = None, None, ""
    try:
        metrics = await client.metrics("r", "models:/m-0123456789abcdef0123456789abcdef")
        description = await client.description("churn", "2")
    except RegistryError as error:
        problem = error.message
    await client.aclose()
    world = replace(
        at_rest(),
        resolution=GOOD_ANSWER,
        facts={
            VersionId("churn", "2"): VersionFacts(metrics, description, problem, problem),
            VersionId("churn", "1"): VersionFacts(),
        },
    )
    decided = plan(world)
    # no answer of this fuzz has an input example, which the gates require
    assert untouched(decided)
    conditions = {condition["type"]: condition for condition in decided.status["conditions"]}
    assert conditions["Admitted"]["status"] in ("False", "Unknown")
    assert readable(conditions["Admitted"]["message"])


@settings(max_examples=200, deadline=None)
@given(STATUS, HEADERS, wrong_somewhere() | damaged())
async def test_whatever_it_answers_a_listing_ends(status: int, headers: dict[str, str], body: bytes) -> None:
    client = answering(status, headers, body)
    try:
        async for rows in client.models():
            assert all(row.name for row in rows)
    except RegistryError as error:
        assert readable(error.message)  # noqa: PT017 - either way is right
    await client.aclose()


@settings(max_examples=300, deadline=None)
@given(STATUS, HEADERS, wrong_somewhere() | damaged())
async def test_whatever_it_answers_gates_get_facts_or_a_reason(
    status: int, headers: dict[str, str], body: bytes
) -> None:
    client = answering(status, headers, body)
    for asking in (
        client.metrics("r", "models:/m-0123456789abcdef0123456789abcdef"),
        client.description("iris", "2"),
    ):
        try:
            found = await asking
        except RegistryError as error:
            assert readable(error.message)  # noqa: PT017 - either way is right
        else:
            metrics = [] if isinstance(found, ModelDescription) else found
            assert all(isinstance(metric, Metric) and isinstance(metric.value, float) for metric in metrics)
    await client.aclose()


async def test_the_same_answer_undamaged_is_taken() -> None:
    client = answering(200, {"content-type": "application/json"}, json.dumps(GOOD).encode())
    resolution = await resolve(client, parse_reference("models:/iris@champion"))
    assert resolution.ok
    assert resolution.version is not None
    assert resolution.version.version == "2"
    metrics = await client.metrics("r", "models:/m-0123456789abcdef0123456789abcdef")
    assert metrics == (Metric("auc", 0.5, "holdout"),)
    await client.aclose()
