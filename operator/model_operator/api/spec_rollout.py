"""spec.rollout and spec.revert: how a version is rolled out and reverted."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    WithJsonSchema,
    model_validator,
)

from model_operator.api.choices import DEFAULT_STRATEGY, STRATEGIES, Strategy, describe
from model_operator.api.schema import Rule, SpecModel, rules, without_crd_default

RevertPolicy = Literal["Automatic", "Never"]
TagVersion = Literal["Auto", "Never"]

_SURGE_MESSAGE = "rollout.maxSurge must be a whole number from 0, or a percentage such as 25%"
_UNAVAILABLE_MESSAGE = (
    "rollout.maxUnavailable must be a whole number from 0, or a percentage from 0% to 100%, such as 25%"
)
_SURGE_PERCENT = r"^(0|[1-9][0-9]{0,2})%$"
_UNAVAILABLE_PERCENT = r"^(100|[1-9]?[0-9])%$"


def _count_or_percent(percent: str, message: str) -> list[Any]:
    def check(value: int | str) -> int | str:
        if value < 0 if isinstance(value, int) else not re.fullmatch(percent.strip("^$"), value):
            raise ValueError(message)
        return value

    cel = Rule(f"type(self) == int ? self >= 0 : self.matches(r'{percent}')", message)
    return [AfterValidator(check), WithJsonSchema({"x-kubernetes-int-or-string": True, **rules(cel)})]


_NO_ROOM = Rule(
    "!(string(self.maxSurge) in ['0', '0%'] && string(self.maxUnavailable) in ['0', '0%'])",
    "rollout.maxSurge and rollout.maxUnavailable cannot both be 0, because no pod could be replaced: raise one",
)


class RolloutSpec(SpecModel):
    model_config = ConfigDict(json_schema_extra=rules(_NO_ROOM))

    strategy: Strategy = Field(
        default=DEFAULT_STRATEGY,
        description=f"{describe(STRATEGIES)} You can change the strategy at any time, without downtime.",
    )
    max_surge: Annotated[StrictInt | StrictStr, *_count_or_percent(_SURGE_PERCENT, _SURGE_MESSAGE)] = Field(
        default=1,
        description="How many pods may run above the desired number during a rolling update: a number or a "
        "percentage.",
    )
    max_unavailable: Annotated[
        StrictInt | StrictStr, *_count_or_percent(_UNAVAILABLE_PERCENT, _UNAVAILABLE_MESSAGE)
    ] = Field(
        default=0,
        description="How many pods may be missing during a rolling update: a number or a percentage. If you have no "
        "spare capacity, set 1, with maxSurge 0.",
    )
    scheduling_seconds: int = Field(
        default=1800,
        ge=1,
        le=604800,
        description="Seconds that a pod may wait for a node before the rollout is withdrawn.",
    )
    fetch_seconds: int = Field(
        default=1800,
        ge=1,
        le=604800,
        description="Seconds that a pod may take to pull its images and fetch the model.",
    )
    startup_seconds: int = Field(
        default=600,
        ge=1,
        le=604800,
        description="Seconds that a pod may take to load the model, test it and become ready.",
    )
    watch_seconds: int = Field(
        default=600,
        ge=0,
        le=604800,
        description="Watch window, in seconds after going live. If the version fails in it, the operator reverts "
        "the version. Pods that restart, run out of memory or are not ready count as failures, and so do 5xx answers. "
        "If a server exits once, the window lasts until the pods have been ready for as long as that run. After the "
        "window, the version is settled: the operator reports later faults, and reverts only if your "
        "revert.afterWatch is Automatic. 0: settled at once.",
    )
    warm_seconds: int = Field(
        default=600,
        ge=0,
        le=604800,
        description="BlueGreen: seconds after the switch for which the old pods are kept. A rollback then starts no "
        "pod. All of them stay during the watch window. After it, warmReplicas of them stay until warmSeconds have "
        "passed. Not used with RollingUpdate.",
    )
    warm_replicas: int = Field(
        default=1,
        ge=0,
        le=10000,
        description="BlueGreen: how many of the old pods stay between the end of the watch window and warmSeconds. "
        "Not used with RollingUpdate.",
    )

    @model_validator(mode="after")
    def _room_to_move(self) -> Self:
        if str(self.max_surge) in ("0", "0%") and str(self.max_unavailable) in ("0", "0%"):
            raise ValueError(_NO_ROOM.message)
        return self


class RevertSpec(SpecModel):
    policy: RevertPolicy = Field(
        default="Automatic",
        description="Automatic: if a version fails during its rollout or within rollout.watchSeconds, the operator "
        "reverts it, and the previous one serves again. Never: the operator only reports the failure, in status and "
        "events. A failed candidate stays as it is until you move the alias, change the spec, or name a revision in "
        "the annotation model-operator.io/revert.",
    )
    after_watch: RevertPolicy = Field(
        default="Never",
        json_schema_extra=without_crd_default,
        description="After the watch window. Never (default): if the settled version goes into a crash loop and "
        "no pod of it is ready, the operator only reports that. Automatic: it then reverts to the "
        "last settled version. It does not revert if pods were killed (OOMKilled, SIGKILL, SIGTERM), "
        "wait for a node, an image or their files, or if it has already reverted to this version. "
        "Without effect if your revert.policy is Never.",
    )
    history_limit: int = Field(
        default=10, ge=1, le=50, description="How many earlier revisions are kept for your rollbacks."
    )
    tag_version: TagVersion = Field(
        default="Auto",
        description="Auto: the operator writes the version's state here (Serving, Settled, or Rejected with the "
        "reason) to the registry, as a tag of the model version, if it may write there. Never: it writes nothing to "
        "the registry.",
    )
