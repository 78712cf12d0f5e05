"""The names that some fields accept. Each name is a row, and the CRD, the checks and the docs are made from the rows.

The behavior of each name is elsewhere, under the same name: gates in planner/gates/chain.py, runtimes in
planner/manifests/runtimes.py, kinds of registries in registry/clients/kinds.py and
planner/manifests/registry_env.py, strategies in planner/strategy/strategies.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

DEFAULT_RUNTIME = "MLflow"
DEFAULT_REGISTRY_KIND = "MLflow"
DEFAULT_STRATEGY = "RollingUpdate"

GATES: dict[str, str] = {
    "Tags": "tags",
    "Metrics": "metrics",
    "InputExample": "inputExample",
    "ModelSize": "maxModelBytes",
    "Signature": "signature",
    "Requirements": "requirements",
}
"""The gates that can be overridden, in their order, with the field of spec.gates that sets each. Approval is missing
because a person already decides there. Integrity is missing because files with another digest must never be served."""


@dataclass(frozen=True, slots=True)
class RuntimeRow:
    """One value of server.runtime."""

    description: str
    our_script: bool = False
    """Whether the operator's script is the command: it runs the self-test, and the operator knows its exit codes."""
    default_image: bool = False
    """Whether the operator's default image is used if the spec names none."""


RUNTIMES: dict[str, RuntimeRow] = {
    "MLflow": RuntimeRow(
        "the operator's script loads the model with MLflow, runs the self-test, then serves it.",
        our_script=True,
        default_image=True,
    ),
    "Custom": RuntimeRow(
        "the image's own command serves the model from /model and answers on a health path."
    ),
}


@dataclass(frozen=True, slots=True)
class RegistryKindRow:
    """One value of registry.type, and of ``type`` in an entry of the configuration."""

    workspaces: bool = True
    """Whether its models are grouped into MLflow workspaces."""


REGISTRY_KINDS: dict[str, RegistryKindRow] = {
    "MLflow": RegistryKindRow(),
    "UnityCatalog": RegistryKindRow(workspaces=False),
}


@dataclass(frozen=True, slots=True)
class StrategyRow:
    """One value of rollout.strategy."""

    description: str
    before_traffic: bool = False
    """Whether a candidate is ready before it takes requests. A person can then try it and approve it."""


STRATEGIES: dict[str, StrategyRow] = {
    "RollingUpdate": StrategyRow(
        "pods are replaced a few at a time within one Deployment. Both versions answer your requests meanwhile."
    ),
    "BlueGreen": StrategyRow(
        "the new version starts in full size in a second Deployment. When all its pods are ready, it takes all "
        "requests at once. The old pods stay warm, and a rollback takes seconds. You need room for twice the pods.",
        before_traffic=True,
    ),
}


def describe(rows: Mapping[str, RuntimeRow | StrategyRow]) -> str:
    """Returns each name with its meaning, for a field's description."""
    return " ".join(f"{name}: {row.description}" for name, row in rows.items())


def cel_is_one_of(field: str, chosen: Iterable[str], *, negated: bool = False) -> str:
    """Returns the CEL expression for ``field`` being one of these names or, if ``negated``, none of them."""
    listed = [f"'{name}'" for name in chosen]
    if len(listed) == 1:
        return f"{field} {'!=' if negated else '=='} {listed[0]}"
    among = f"{field} in [{', '.join(listed)}]"
    return f"!({among})" if negated else among


def either(chosen: Iterable[str]) -> str:
    """Returns these names joined by "or", for a sentence."""
    return " or ".join(chosen)


@dataclass(frozen=True, slots=True, eq=False)
class OneOf:
    """Marks a text that must be a name of one of ``rows``. The rows are looked up when a manifest is read."""

    rows: Mapping[str, object]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"enum": list(self.rows), "type": "string"}

    def _check(self, value: object) -> str:
        if isinstance(value, str) and value in self.rows:
            return value
        *most, last = (repr(name) for name in self.rows)
        expected = f"{', '.join(most)} or {last}" if most else last
        raise PydanticKnownError("literal_error", {"expected": expected})


GateName = Annotated[str, OneOf(GATES)]
Runtime = Annotated[str, OneOf(RUNTIMES)]
RegistryKind = Annotated[str, OneOf(REGISTRY_KINDS)]
Strategy = Annotated[str, OneOf(STRATEGIES)]
