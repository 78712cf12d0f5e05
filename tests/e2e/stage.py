"""What a story plays on: a namespace, the registry, the operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from tests.mlflow_server import MlflowServer, alias
from tests.mlflow_server.training import Kind
from tests.workbench import Namespace, Workbench

MODEL = "iris"
VERSIONS: dict[Kind, str] = {kind: str(number) for number, kind in enumerate(get_args(Kind), start=1)}
"""Version of each kind; they are trained in this order."""
GOOD, BETTER = VERSIONS["good"], VERSIONS["better"]
LOAD_FAILS, SELFTEST_FAILS = VERSIONS["load-fails"], VERSIONS["selftest-fails"]
SLOW, DIES = VERSIONS["slow-load"], VERSIONS["dies"]
SLOW_SECONDS = 15
NEEDS_MODULE = VERSIONS["needs-missing-module"]
ERRS, HANGS = VERSIONS["errs-under-load"], VERSIONS["hangs-under-load"]
STALLS = VERSIONS["stalls-under-load"]
TAMPERED, SEALED = VERSIONS["tampered"], VERSIONS["sealed"]
NO_FILES, WRONG_SHAPE = VERSIONS["no-files"], VERSIONS["wrong-shape"]
EATS_MEMORY = VERSIONS["eats-memory"]
DIES_EVERY_MINUTE = VERSIONS["dies-every-minute"]
OTHER_VERSIONS, LOGS_ITSELF = VERSIONS["other-versions"], VERSIONS["logs-itself"]
STREAMS = VERSIONS["streams"]
ONLY_FULL: frozenset[Kind] = frozenset(
    {
        "sealed",
        "no-files",
        "wrong-shape",
        "eats-memory",
        "hangs-under-load",
        "stalls-under-load",
        "dies-every-minute",
        "other-versions",
        "logs-itself",
    }
)
"""Kinds that CI's selection does without; they are the last ones, so that the versions before keep their numbers."""


@dataclass
class Stage:
    """A namespace of the cluster with the registry and the operator around it."""

    bench: Workbench
    registry: MlflowServer
    cluster: Namespace

    def alias(self, name: str, version: str) -> None:
        """Moves the alias that the ModelDeployment of that name follows."""
        alias(self.registry, MODEL, self.alias_of(name), version)

    def alias_of(self, name: str) -> str:
        """Each ModelDeployment follows an alias of its own, since all share the trained versions."""
        return f"{self.cluster.name}-{name}"

    def create(self, name: str, version: str = GOOD, **spec: Any) -> None:
        """Creates a ModelDeployment of one small pod that follows its alias, which names ``version``."""
        self.alias(name, version)
        self.cluster.create(name, followed(self.alias_of(name), **spec))

    def create_serving(self, name: str, **spec: Any) -> None:
        """Creates one and waits until it serves."""
        self.create(name, **spec)
        self.cluster.until_serving(name, GOOD)


def followed(alias_name: str, **spec: Any) -> dict[str, Any]:
    """The spec of a ModelDeployment whose pods fit many times into two cores."""
    size = {} if "autoscaling" in spec or "replicas" in spec else {"replicas": 1}
    return {
        "model": {"name": MODEL, "alias": alias_name},
        "fetch": {"resources": {"requests": {"cpu": "50m"}}},
        "server": {"resources": {"requests": {"cpu": "50m"}}},
        **size,
        **spec,
    }
