"""A node of which there is only the API's side: its pods get their status, as a script says, and run nothing."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from tests.cluster.api import ApiClient

MERGE = {"Content-Type": "application/merge-patch+json"}
NODE = "scripted"
WATCH_SECONDS = 20
TIME = "%Y-%m-%dT%H:%M:%SZ"
VERSION = "model-operator.io/version"


@dataclass(frozen=True)
class Script:
    """What becomes of the pods of a model version."""

    exit_code: int | None = None
    """With it the server container ends so; without it the pod becomes ready."""
    message: str = ""
    stuck: bool = False
    """The pod gets no node."""
    dies: str = ""
    """The reason for which the server was killed once after it had started; it runs again and is not ready."""


class _PodWatch(threading.Thread):
    """All pods as they are now, by uid."""

    def __init__(self, kubeconfig: Path) -> None:
        super().__init__(daemon=True, name="pod-watch")
        self._kubeconfig = kubeconfig
        self._over = threading.Event()
        self.pods: dict[str, dict[str, Any]] = {}
        """Replaced, never changed, when all are listed again."""
        self.trouble = ""

    def run(self) -> None:
        with ApiClient(self._kubeconfig, timeout_seconds=WATCH_SECONDS + 10) as api:
            while not self._over.is_set():
                try:
                    self._list_and_watch(api)
                except (httpx.HTTPError, ValueError) as error:
                    self.trouble = f"the pods: {error}"
                    self._over.wait(0.2)

    def stop(self) -> None:
        """Asks it to end; it does at the latest when the present watch does."""
        self._over.set()

    def _list_and_watch(self, api: ApiClient) -> None:
        listed = api.http.get("/api/v1/pods").raise_for_status().json()
        self.pods = {pod["metadata"]["uid"]: pod for pod in listed["items"]}
        since = listed["metadata"]["resourceVersion"]
        query = {"watch": "true", "resourceVersion": since, "timeoutSeconds": str(WATCH_SECONDS)}
        with api.http.stream("GET", "/api/v1/pods", params=query) as events:
            for line in events.iter_lines():
                if self._over.is_set():
                    return
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ValueError(event["object"].get("message"))
                pod = event["object"]
                if event["type"] == "DELETED":
                    self.pods.pop(pod["metadata"]["uid"], None)
                else:
                    self.pods[pod["metadata"]["uid"]] = pod


class ScriptedKubelet(threading.Thread):
    """Binds every pod with a model in its annotations to its node and gives it its status, a few times a second.

    The pods have addresses, so the real controllers put them behind their Services; nobody listens there.
    """

    def __init__(self, kubeconfig: Path) -> None:
        super().__init__(daemon=True, name="scripted-kubelet")
        self._kubeconfig = kubeconfig
        self._over = threading.Event()
        self._watch = _PodWatch(kubeconfig)
        self._told: dict[str, tuple[Script, str]] = {}
        """By uid: the script that a pod's status follows, and the pod's address."""
        self._addresses = addresses()
        self.scripts: dict[tuple[str, str], Script] = {}
        """By model name and version; others are good. A changed script changes the pods that are there."""
        self.failure: Exception | None = None
        self.trouble = ""
        """What the API server last refused; like a real kubelet, this one tries again."""

    def run(self) -> None:
        self._watch.start()
        try:
            with ApiClient(self._kubeconfig) as api:
                _register(api)
                while not self._over.wait(0.2):
                    with contextlib.suppress(httpx.TransportError):
                        self._round(api)
        except Exception as error:
            self.failure = error
        finally:
            self._watch.stop()

    def stop(self) -> None:
        """Ends the thread; raises what it failed with."""
        self._over.set()
        self.join()
        if self.failure:
            raise self.failure

    def _round(self, api: ApiClient) -> None:
        self.trouble = self._watch.trouble or self.trouble
        for pod in list(self._watch.pods.values()):
            metadata = pod["metadata"]
            annotations = metadata.get("annotations", {})
            model = (annotations.get("model-operator.io/model", ""), annotations.get(VERSION, ""))
            if model[1]:
                try:
                    self._attend(api, pod, self.scripts.get(model, Script()))
                except httpx.HTTPStatusError as refused:
                    # one pod that can't be helped must not take the others with it
                    self.trouble = f"pod {metadata['name']}: {refused}: {refused.response.text[:500]}"

    def _attend(self, api: ApiClient, pod: dict[str, Any], script: Script) -> None:
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        if metadata.get("deletionTimestamp"):
            # its containers have ended: only the kubelet may take the object away
            _accept(api.http.request("DELETE", path, json={"gracePeriodSeconds": 0}))
            return
        told, address = self._told.get(metadata["uid"], (None, ""))
        if told == script:
            return
        if not script.stuck and not pod["spec"].get("nodeName"):
            binding = {"metadata": {"name": metadata["name"]}, "target": {"kind": "Node", "name": NODE}}
            _accept(api.http.post(f"{path}/binding", json=binding))
        address = address or next(self._addresses)
        _accept(api.http.patch(f"{path}/status", json={"status": pod_status(script, address)}, headers=MERGE))
        self._told[metadata["uid"]] = (script, address)


def _register(api: ApiClient) -> None:
    answer = api.http.post("/api/v1/nodes", json={"metadata": {"name": NODE}})
    if answer.status_code != 409:
        answer.raise_for_status()


def _accept(answer: httpx.Response) -> None:
    if answer.status_code not in (404, 409):
        answer.raise_for_status()


def addresses() -> Iterator[str]:
    """Addresses for pods, one after the other."""
    # kept for tests of networks: nobody answers there
    for number in count(1):
        yield f"198.18.{number // 250 % 250}.{number % 250 + 1}"


def pod_status(script: Script, address: str) -> dict[str, Any]:
    """The status that a kubelet would write for a pod of that address."""
    moment = datetime.now(UTC)
    now = moment.strftime(TIME)
    # a ready pod is so for long enough already, whatever minReadySeconds the Deployment has
    earlier = (moment - timedelta(seconds=10)).strftime(TIME)

    def condition(kind: str, true: bool, **more: str) -> dict[str, Any]:
        at = earlier if true else now
        return {"type": kind, "status": "True" if true else "False", "lastTransitionTime": at, **more}

    if script.stuck:
        why = {"reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient cpu."}
        return {"phase": "Pending", "conditions": [condition("PodScheduled", False, **why)]}
    ready = script.exit_code is None and not script.dies
    fetched = {"exitCode": 0, "message": json.dumps({"reason": "Fetched", "inputExample": True})}
    server: dict[str, Any] = {"state": {"running": {"startedAt": now}}, "restartCount": 0}
    if script.exit_code is not None:
        ended = {"exitCode": script.exit_code, "reason": "Error", "message": script.message}
        server["state"] = {"terminated": ended}
    if script.dies:
        killed = {"exitCode": 137, "reason": script.dies, "startedAt": now, "finishedAt": now}
        server |= {"lastState": {"terminated": killed}, "restartCount": 1}
    static = {"image": "server", "imageID": ""}
    fetch = {"name": "fetch", "ready": True, "restartCount": 0, "state": {"terminated": fetched}}
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [
            condition("PodScheduled", True),
            condition("Initialized", True),
            condition("ContainersReady", ready),
            condition("Ready", ready),
        ],
        "initContainerStatuses": [fetch | static],
        "containerStatuses": [{"name": "server", "ready": ready, "started": ready} | server | static],
    }
