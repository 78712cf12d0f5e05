"""Everything happens at random, for as long as wanted, and an oracle watches the promises.

.venv/bin/python -m tests.integration.lives.endurance.soak --minutes 60 --seed 7
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.cluster.api import ApiClient
from tests.cluster.control_plane import ControlPlane
from tests.integration.conftest import install_crd
from tests.integration.lives.bench import Bench
from tests.integration.lives.endurance.oracle import Oracle
from tests.integration.lives.endurance.whole_lives import LOAD_FAILED, OUT_OF_MEMORY, condition
from tests.integration.lives.kubelet import ScriptedKubelet
from tests.integration.lives.operator_process import OperatorProcess
from tests.mlflow_server import MlflowServer
from tests.wire.faults import calls, done_but, refused, reset
from tests.wire.kubeconfig import wire_before
from tests.wire.wire import Exchange, Trick, Wire

Json = dict[str, Any]
FLEET = 6
GOOD, MAY_GET_SICK, NEVER_LOADS = 1, 3, 4
VERSIONS = 4
RECOVER_SECONDS = 300
TRICKS = (refused(429, retry_after="1"), refused(500), reset, done_but())
TOLERATED_LOOKS = 3
"""A promise counts as broken when so many looks in a row find it so: one look is not one moment of the cluster."""


class PromiseBrokenError(AssertionError):
    """A promise was broken; the message has the seed and what was done last."""


class Soak:
    """Does one thing after the other to a fleet of ModelDeployments, its operator, its registry and its wire."""

    def __init__(self, bench: Bench, wire: Wire, seed: int) -> None:
        self._bench = bench
        self._wire = wire
        self._seed = seed
        self._dice = random.Random(seed)
        self._oracle = Oracle(bench)
        self._models: dict[str, str] = {}
        self._done: deque[str] = deque(maxlen=25)
        self._suspects: Counter[str] = Counter()
        self._began = time.monotonic()
        self.counts: Counter[str] = Counter()
        """How often each thing was done."""

    def run(self, seconds: float, progress: Callable[[str], None] = lambda line: None) -> str:
        """Runs for so long, then lets all recover; returns what was done. Raises PromiseBrokenError."""
        for number in range(FLEET):
            self._make(f"soak-{number}", number)
        self._until_recovered("at first")
        told = end = time.monotonic()
        end += seconds
        while time.monotonic() < end:
            self._something_happens()
            self._watch(self._dice.choice([0.5, 1, 2, 5]))
            if time.monotonic() - told > 30:
                told = time.monotonic()
                progress(f"{end - told:5.0f} s left; {self._summary()}")
        self._do("all is well again", self._heal)
        self._until_recovered("in the end")
        # a watch may still end meanwhile; a loop that writes on and on never comes to rest
        self._bench.until_quiet(5)
        words = self._bench.operator.all_words()
        if "Traceback" in words:
            self._fail(words[words.index("Traceback") - 500 :][:4000])
        return self._summary()

    # --- what happens -----------------------------------------------------------------------------

    def _something_happens(self) -> None:
        name = self._dice.choice(sorted(self._models))
        version = self._dice.randint(1, VERSIONS)
        sick = f"version {MAY_GET_SICK} of {name}"
        things: list[tuple[int, str, str, Callable[[], object]]] = [
            (8, "an alias moves", f"{name} to {version}", lambda: self._alias(name, version)),
            (3, "a commit", name, lambda: self._commit(name)),
            (1, "a version gets sick", sick, lambda: self._get_sick(name)),
            (1, "deleted and made anew", name, lambda: self._anew(name)),
            (2, "a budget is deleted", name, lambda: self._disturb(name)),
            (3, "the operator is killed", "", self._kill),
            (2, "the registry is silent", "", self._silence),
            (3, "the wire is faulty", "", self._fault),
            (1, "all connections are cut", "", self._wire.cut),
        ]
        _, what, to_whom, do = self._dice.choices(things, weights=[weight for weight, *_ in things])[0]
        self._do(what, do, to_whom)

    def _do(self, what: str, do: Callable[[], object], to_whom: str = "") -> None:
        self._done.append(f"{time.monotonic() - self._began:7.1f} s  {what} {to_whom}".rstrip())
        self.counts[what] += 1
        do()

    def _alias(self, name: str, version: int) -> None:
        self._bench.alias(self._models[name], "champion", version)

    def _commit(self, name: str) -> None:
        env = [{"name": "THREADS", "value": self._dice.choice("1234")}]
        change = {"server": {"env": env}, "replicas": self._dice.choice([1, 2])}
        del self._oracle.specs[name]
        self._oracle.specs[name] = self._bench.patch("ModelDeployment", name, {"spec": change})["spec"]

    def _get_sick(self, name: str) -> None:
        model, version = self._models[name], str(MAY_GET_SICK)
        self._oracle.sick.add((model, version))
        self._bench.kubelet.scripts[(model, version)] = OUT_OF_MEMORY

    def _anew(self, name: str) -> None:
        del self._oracle.specs[name]
        self._bench.delete("ModelDeployment", name)
        self._make(name, int(name.removeprefix("soak-")), self._models[name])

    def _disturb(self, name: str) -> None:
        with contextlib.suppress(AssertionError):  # there may be none at the moment
            self._bench.delete("PodDisruptionBudget", name)

    def _kill(self) -> None:
        self._bench.operator.kill()
        self._watch(self._dice.choice([0, 1, 3]))
        self._bench.operator.start()

    def _silence(self) -> None:
        with self._bench.silent_registry():
            self._watch(self._dice.choice([1, 3, 6]))

    def _fault(self) -> None:
        dice, rate = random.Random(self._dice.random()), self._dice.choice([0.1, 0.5, 1])

        def faulty(exchange: Exchange) -> Trick | None:
            return dice.choice(TRICKS) if calls(exchange) and dice.random() <= rate else None

        self._wire.faults = [faulty]
        self._watch(self._dice.choice([1, 3, 6]))
        self._wire.faults = ()

    # --- what is looked at ------------------------------------------------------------------------

    def _make(self, name: str, number: int, model: str = "") -> None:
        if not model:
            model = f"model-{self._bench.namespace}-{number}"
            self._bench.register(model, VERSIONS)
            self._bench.alias(model, "champion", GOOD)
            self._bench.kubelet.scripts[(model, str(NEVER_LOADS))] = LOAD_FAILED
            self._models[name] = model
        strategy = "BlueGreen" if number % 2 else "RollingUpdate"
        rollout = {"strategy": strategy, "watchSeconds": [0, 2, 600][number % 3], "warmSeconds": 0}
        spec = {"model": {"name": model, "alias": "champion"}, "replicas": 1, "rollout": rollout}
        self._oracle.specs[name] = self._bench.create(name, spec)["spec"]

    def _watch(self, seconds: float) -> None:
        """Lets time pass; the oracle looks, and Kubernetes' part of starting what ended is done."""
        end = time.monotonic() + seconds
        while True:
            self._bench.operator.start_again_if_ended()
            broken = self._oracle.look()
            self._suspects = Counter({line: self._suspects[_place(line)] + 1 for line in map(_place, broken)})
            for line in broken:
                if self._suspects[_place(line)] >= TOLERATED_LOOKS:
                    self._fail(line)
            if time.monotonic() >= end and not broken:
                return
            time.sleep(0.25)

    def _heal(self) -> None:
        self._wire.faults = ()
        for name in self._models:
            self._alias(name, GOOD)

    def _until_recovered(self, when: str) -> None:
        deadline = time.monotonic() + RECOVER_SECONDS
        while others := [n for n in self._models if not self._is_well(n)]:
            self._watch(0.5)
            if time.monotonic() > deadline:
                seen = {name: self._bench.status(name) for name in others}
                self._fail(
                    f"not well {when} after {RECOVER_SECONDS} s: {seen}\n{self._bench.operator.words()}"
                )

    def _is_well(self, name: str) -> bool:
        status = self._bench.status(name)
        serving = status.get("serving", {}).get("version") == str(GOOD)
        at_rest = condition(status, "Current")[0] == "True" and condition(status, "Reconciling") == ("", "")
        return serving and at_rest and self._bench.behind(name) == {str(GOOD)}

    def _fail(self, line: str) -> None:
        done = "\n".join(self._done)
        words = self._bench.operator.words()
        raise PromiseBrokenError(f"seed {self._seed}: {line}\nwhat was done last:\n{done}\n{words}")

    def _summary(self) -> str:
        done = ", ".join(f"{what} {n}" for what, n in self.counts.most_common())
        return f"seed {self._seed}: {sum(self.counts.values())} events ({done}), {self._oracle.looks} looks, all kept"


def _place(line: str) -> str:
    """What a line is about, without the values that change from look to look."""
    return line.split("{")[0]


def operator_settings(registry: MlflowServer, namespace: str) -> Json:
    """Quick to notice, and with fewer slots than there are ModelDeployments."""
    return {
        "registries": {"default": {"url": registry.url}},
        "pollSeconds": 1,
        "maxConcurrentRollouts": 3,
        "watchNamespaces": [namespace],
        "metricsPort": 0,
    }


@contextlib.contextmanager
def _stage(home: Path, seed: int) -> Iterator[Soak]:
    registry = MlflowServer.start(home / "mlflow")
    plane = ControlPlane.start(home / "plane", controllers=True)
    kubelet = ScriptedKubelet(plane.kubeconfig)
    try:
        with (
            ApiClient(plane.kubeconfig, timeout_seconds=60) as api,
            wire_before(plane.kubeconfig, home) as (wire, kubeconfig),
        ):
            install_crd(api)
            kubelet.start()
            operator = OperatorProcess(home, kubeconfig, operator_settings(registry, "default"))
            operator.log_in(registry.username, registry.password)
            operator.start()
            try:
                yield Soak(Bench(api, "default", registry, kubelet, operator), wire, seed)
            finally:
                operator.kill()
    finally:
        plane.stop()
        os.killpg(registry.pid, signal.SIGCONT)
        registry.stop()


def main() -> int:
    """Returns 0 when all promises were kept."""
    parser = argparse.ArgumentParser(prog="soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60, help="how long (default: one hour)")
    parser.add_argument("--seed", type=int, default=None, help="of the dice; left out: another one each time")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randint(0, 2**31)
    with tempfile.TemporaryDirectory(prefix="soak-") as home, _stage(Path(home), seed) as soak:
        print(f"soak for {options.minutes:g} minutes with --seed {seed}", flush=True)
        try:
            print(soak.run(60 * options.minutes, lambda line: print(line, flush=True)))
        except PromiseBrokenError as broken:
            print(broken, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
