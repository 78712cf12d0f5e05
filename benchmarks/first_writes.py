"""When objects were first written to after a moment, as a watch shows it."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import httpx
from tests.cluster.api import ApiClient
from tests.integration.lives.bench import PLURALS

PATIENCE_SECONDS = 1800.0


class FirstWrites:
    """Watches the kinds, ModelDeployments and Deployments if none is given, of one namespace by name."""

    def __init__(
        self,
        kubeconfig: Path,
        namespace: str = "default",
        kinds: Sequence[str] = ("ModelDeployment", "Deployment"),
    ) -> None:
        self._kubeconfig = kubeconfig
        self._namespace = namespace
        self._seen: dict[str, list[float]] = defaultdict(list)
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._watch, args=(PLURALS[kind],), daemon=True) for kind in kinds
        ]
        for thread in self._threads:
            thread.start()

    def _watch(self, plural: str) -> None:
        path, version = plural.format(self._namespace), ""
        with ApiClient(self._kubeconfig, timeout_seconds=600) as api:
            version = api.http.get(path, params={"limit": 1}).json()["metadata"]["resourceVersion"]
            try:
                # the API server ends a watch that is not read fast enough
                while True:
                    query = {"watch": "true", "resourceVersion": version}
                    with api.http.stream("GET", path, params=query) as answer:
                        for line in answer.iter_lines():
                            metadata = json.loads(line)["object"]["metadata"]
                            version = metadata["resourceVersion"]
                            self._note(metadata["name"])
            except httpx.HTTPError:
                # the end of the control plane
                return

    def _note(self, written: str) -> None:
        with self._changed:
            self._seen[written].append(time.monotonic())
            self._changed.notify_all()

    def after(self, written: str, moment: float) -> float:
        """Seconds from that moment to the first write; waits for it. Raises TimeoutError."""

        def first() -> float | None:
            return next((at for at in self._seen[written] if at > moment), None)

        with self._changed:
            if not self._changed.wait_for(lambda: first() is not None, PATIENCE_SECONDS):
                raise TimeoutError(f"nobody wrote to {written}")
            return (first() or 0.0) - moment

    def quiet_for(self, seconds: float) -> None:
        """Wait until nobody has written for so long."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with self._changed:
                last = max((at[-1] for at in self._seen.values() if at), default=time.monotonic())
            if (rest := last + seconds - time.monotonic()) <= 0:
                return
            time.sleep(rest)
        raise TimeoutError("the operator did not come to rest")
