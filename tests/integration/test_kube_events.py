"""Events on a real API server: what is said again is counted, and nobody is flooded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.api import ApiClient

from model_operator.domain.plan import Event
from model_operator.kube import EventRecorder, KubeClient
from model_operator.kube.events import MOST_IN_WINDOW, WINDOW_SECONDS

REVERTED = Event(True, "Reverted", "version 2 failed (LoadFailed), reverted to version 1")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def kube(control_plane: Path) -> AsyncIterator[KubeClient]:
    client = await KubeClient.connect(kubeconfig=control_plane)
    yield client
    await client.close()


def regarding(namespace: str, name: str = "churn") -> dict[str, Any]:
    metadata = {"namespace": namespace, "name": name, "uid": f"uid-{name}"}
    return {"apiVersion": "model-operator.io/v1alpha1", "kind": "ModelDeployment", "metadata": metadata}


def events(api: ApiClient, namespace: str) -> list[dict[str, Any]]:
    found = api.get(f"/api/v1/namespaces/{namespace}/events")
    return list(found["items"]) if found else []


async def test_an_event_names_the_object_and_is_cut_to_what_the_api_takes(
    kube: KubeClient, api: ApiClient, namespace: str
) -> None:
    assert await EventRecorder(kube).emit(regarding(namespace), Event(True, "Reverted", "ü" * 2000))
    (event,) = events(api, namespace)
    assert event["involvedObject"]["uid"] == "uid-churn"
    assert (event["type"], event["reason"], event["count"]) == ("Warning", "Reverted", 1)
    assert event["message"].endswith("…")


async def test_what_is_said_again_is_counted(kube: KubeClient, api: ApiClient, namespace: str) -> None:
    recorder = EventRecorder(kube)
    for _ in range(3):
        assert await recorder.emit(regarding(namespace), REVERTED)
    assert await recorder.emit(
        regarding(namespace), Event(False, "Settled", "version 1 passed its watch window")
    )
    assert await recorder.emit(regarding(namespace, "fraud"), REVERTED)
    told = {(e["involvedObject"]["name"], e["reason"]): e["count"] for e in events(api, namespace)}
    assert told == {("churn", "Reverted"): 3, ("churn", "Settled"): 1, ("fraud", "Reverted"): 1}


async def test_what_is_said_again_much_later_is_news(
    kube: KubeClient, api: ApiClient, namespace: str
) -> None:
    clock = Clock()
    recorder = EventRecorder(kube, clock)
    await recorder.emit(regarding(namespace), REVERTED)
    clock.now += WINDOW_SECONDS
    await recorder.emit(regarding(namespace), REVERTED)
    assert [event["count"] for event in events(api, namespace)] == [1, 1]


async def test_an_event_that_is_not_there_any_more_is_written_anew(
    kube: KubeClient, api: ApiClient, namespace: str
) -> None:
    recorder = EventRecorder(kube)
    await recorder.emit(regarding(namespace), REVERTED)
    api.http.delete(f"/api/v1/namespaces/{namespace}/events").raise_for_status()
    assert await recorder.emit(regarding(namespace), REVERTED)
    assert [event["count"] for event in events(api, namespace)] == [1]


async def test_one_object_floods_nobody_and_has_a_say_again_later(
    kube: KubeClient, api: ApiClient, namespace: str
) -> None:
    clock = Clock()
    recorder = EventRecorder(kube, clock)
    said = [
        await recorder.emit(regarding(namespace), Event(False, "RolloutStarted", f"version {number}"))
        for number in range(MOST_IN_WINDOW + 5)
    ]
    assert said == [True] * MOST_IN_WINDOW + [False] * 5
    assert await recorder.emit(regarding(namespace, "fraud"), REVERTED), "others are heard"
    assert await recorder.emit(regarding(namespace), Event(False, "RolloutStarted", "version 0")), (
        "counted only"
    )
    clock.now += WINDOW_SECONDS
    assert await recorder.emit(regarding(namespace), REVERTED)
    assert len(events(api, namespace)) == MOST_IN_WINDOW + 2
