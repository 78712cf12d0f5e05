"""How fast a registry is asked."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from model_operator.registry.clients.credentials import FileAccess
from model_operator.registry.clients.http import JsonSource, Site


async def test_a_registry_is_asked_no_faster_than_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now, waits = 100.0, list[float]()

    async def wait(seconds: float) -> None:
        waits.append(round(seconds, 6))

    source = JsonSource(
        Site("prod", "http://mlflow:5000", FileAccess("prod", None, None), requests_per_second=4.0),
        transport=httpx.MockTransport(lambda _: httpx.Response(200, json={})),
        clock=lambda: now,
    )
    monkeypatch.setattr(asyncio, "sleep", wait)
    for _ in range(7):
        await source.get("/x", {}, 100)
    # a second's worth at once, then one each quarter of a second
    assert waits == [0.25, 0.5]
    now += 10
    waits.clear()
    await source.get("/x", {}, 100)
    await source.aclose()
    assert waits == []
