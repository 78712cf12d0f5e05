"""The limit: the writes that a first deploy needs, replayed by a loop that does nothing else.

What is replayed was recorded of the operator itself with one ModelDeployment, less what ``NEEDED`` does not name.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.lives.bench import MODELDEPLOYMENTS

from benchmarks.api_server import at_once, connected, events
from benchmarks.audited import Write, counted

NEEDED: Counter[tuple[str, str]] = Counter(
    {
        ("create", "configmaps"): 1,
        ("create", "controllerrevisions"): 1,
        ("create", "deployments"): 1,
        ("create", "services"): 1,
        ("create", "poddisruptionbudgets"): 1,
        ("create", "horizontalpodautoscalers"): 1,
        # what is about to happen is in the status before it happens, and what has come of it afterwards
        ("patch", "modeldeployments/status"): 2,
        # RolloutStarted, RolledOut
        ("create", "events"): 2,
        # that the revision has served is kept beside it, for the day on which a status is lost
        ("patch", "controllerrevisions"): 1,
    }
)
"""By verb and resource, for one ModelDeployment from its creation to the moment in which it serves."""

_METHODS = {"create": "POST", "patch": "PATCH"}


@dataclass(frozen=True, slots=True)
class _Step:
    method: str
    path: str
    body: str
    content_type: str


@dataclass(frozen=True, slots=True)
class Recording:
    """What has to be written for one ModelDeployment until it waits for its pods, and what once they are ready."""

    namespace: str
    name: str
    uid: str
    before: Sequence[_Step]
    after: Sequence[_Step]

    @classmethod
    def of(cls, namespace: str, name: str, uid: str, found: Sequence[Write]) -> Recording:
        """From what the operator wrote for that ModelDeployment. Raises ValueError when something is missing."""
        statuses = [number for number, write in enumerate(found) if _is_status(write)]
        first_child = next(
            n for n, write in enumerate(found) if write.kind_of_write == ("create", "configmaps")
        )
        intent, outcome = max(n for n in statuses if n < first_child), statuses[-1]
        kept = [
            (number, write)
            for number, write in enumerate(found)
            if NEEDED[write.kind_of_write] and (not _is_status(write) or number in (intent, outcome))
        ]
        if (made := counted([write for _, write in kept])) != NEEDED:
            raise ValueError(f"one ModelDeployment needs {dict(NEEDED)}, and there were {dict(made)}")
        before = [_step(write) for number, write in kept if number < outcome]
        return cls(
            namespace, name, uid, before, [_step(write) for number, write in kept if number >= outcome]
        )


def _is_status(write: Write) -> bool:
    return write.kind_of_write == ("patch", "modeldeployments/status")


def _step(write: Write) -> _Step:
    # bound to a version that the loop does not have
    body: dict[str, Any] = json.loads(json.dumps(write.body))
    (body.get("metadata") or {}).pop("resourceVersion", None)
    kind = "application/json" if write.verb == "create" else "application/merge-patch+json"
    if write.kind_of_write == ("create", "controllerrevisions"):
        kind = "application/yaml"  # see KubeClient.create
    return _Step(_METHODS[write.verb], write.uri, json.dumps(body), kind)


async def replay(kubeconfig: Path, recording: Recording, workers: int) -> float:
    """Do for all ModelDeployments what was done for that one; returns the seconds that it took.

    The second part of each waits until its Deployment is available, as the operator has to.
    """
    async with connected(kubeconfig) as session:
        async with session.get(MODELDEPLOYMENTS.replace("namespaces/{}/", "")) as answer:
            found = (await answer.json())["items"]
        uids = {(o["metadata"]["namespace"], o["metadata"]["name"]): o["metadata"]["uid"] for o in found}
        available: asyncio.Queue[tuple[str, str] | None] = asyncio.Queue()

        async def write(key: tuple[str, str], steps: Sequence[_Step]) -> None:
            for step in steps:
                path, body = (_renamed(text, recording, key, uids[key]) for text in (step.path, step.body))
                headers = {"Content-Type": step.content_type}
                async with session.request(step.method, path, data=body, headers=headers) as made:
                    await made.read()

        async def watch() -> None:
            seen: set[tuple[str, str]] = set()
            async for event in events(session, "/apis/apps/v1/deployments"):
                metadata, status = event["object"]["metadata"], event["object"].get("status") or {}
                key = (metadata["namespace"], metadata["name"])
                if key in uids and key not in seen and status.get("availableReplicas"):
                    seen.add(key)
                    available.put_nowait(key)

        async def finish() -> None:
            while (key := await available.get()) is not None:
                await write(key, recording.after)
                done.append(key)
                if len(done) == len(uids):
                    for _ in range(workers):
                        available.put_nowait(None)

        done: list[tuple[str, str]] = []
        watching = asyncio.create_task(watch())
        started = time.monotonic()
        await at_once(list(uids), lambda key: write(key, recording.before), workers)
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(finish())
        took = time.monotonic() - started
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        return took


def _renamed(text: str, recording: Recording, key: tuple[str, str], uid: str) -> str:
    namespace, name = key
    return (
        text.replace(recording.uid, uid).replace(recording.namespace, namespace).replace(recording.name, name)
    )
