"""Pods without a node: each gets the status of one that is ready as soon as it appears.

A kubelet's side of the API in one write for each pod. KWOK would need nodes, a scheduler and two writes more. The pods
have no addresses: controllers would ask for their node before putting one behind a Service, again and again.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.integration.lives.kubelet import MERGE, Script, pod_status

from benchmarks.api_server import connected, events

WORKERS = 4


async def make_pods_ready(kubeconfig: Path) -> None:
    """Give every pod its status, until cancelled."""
    waiting: asyncio.Queue[str] = asyncio.Queue()
    async with connected(kubeconfig) as session, asyncio.TaskGroup() as group:

        async def work() -> None:
            while True:
                path = await waiting.get()
                status = pod_status(Script(), address="")
                body = {"status": {name: status[name] for name in status.keys() - {"podIP", "podIPs"}}}
                async with session.patch(f"{path}/status", json=body, headers=MERGE) as answer:
                    await answer.read()

        for _ in range(WORKERS):
            group.create_task(work())
        async for event in events(session, "/api/v1/pods"):
            metadata = event["object"]["metadata"]
            if event["type"] == "ADDED" and event["object"]["status"].get("phase") != "Running":
                waiting.put_nowait(f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}")
