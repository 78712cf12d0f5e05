"""spec.gates, spec.rollout and spec.revert: what lets a version in, how it comes, and how it goes."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from model_operator.api.schema import Rule, SpecModel, rules

Strategy = Literal["RollingUpdate", "BlueGreen"]
RevertPolicy = Literal["Automatic", "Never"]
TagVersion = Literal["Auto", "Never"]
ApprovalMode = Literal["Automatic", "Manual"]
ApprovalAt = Literal["BeforeStart", "BeforeTraffic"]

_APPROVED_LENGTH = 64
_APPROVED = r"[1-9][0-9]{0,9}|v[0-9]*-[0-9a-f]{10}"
_APPROVED_RULE = Rule(
    f"type(self) == int ? self > 0 && self < 10000000000 : self.matches(r'^({_APPROVED})?$')",
    "gates.approval.approved must be a version number such as 8, or the name of a revision such as "
    "v8-5d9f8a2b1c (status.candidate.revision)",
)


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _names_a_version(approved: str) -> str:
    if len(approved) > _APPROVED_LENGTH or not re.fullmatch(f"({_APPROVED})?", approved):
        raise ValueError(_APPROVED_RULE.message)
    return approved


class ApprovalGate(SpecModel):
    mode: ApprovalMode = Field(
        default="Automatic",
        description="Automatic: nobody is asked. Manual: a candidate waits, in phase WaitingForApproval, "
        "until approved names it; what serves goes on serving. Going back never waits for a person.",
    )
    at: ApprovalAt = Field(
        default="BeforeStart",
        description="Where a candidate waits with mode Manual. BeforeStart: before any pod is started. "
        "BeforeTraffic: with all its pods ready beside those that serve, so that a person can try it at the "
        "Service NAME-candidate; needs rollout.strategy BlueGreen.",
    )
    # YAML reads a version without quotes as a number
    approved: Annotated[
        str,
        BeforeValidator(_number_as_text),
        AfterValidator(_names_a_version),
        WithJsonSchema(
            {"x-kubernetes-int-or-string": True, "maxLength": _APPROVED_LENGTH, **rules(_APPROVED_RULE)}
        ),
    ] = Field(
        default="",
        description="What may go on with mode Manual: a version number such as 8, which approves every "
        "revision of that version, or the name of one revision as status.candidate.revision tells it, which "
        "approves that version with those pods only. Empty: nothing.",
    )


_TAG_KEY = Rule(
    r"!self.matches(r'\p{Cc}')",
    "gates.integrity.digestTag must be the key of a tag, without control characters, for example sha256",
)


class IntegrityGate(SpecModel):
    digest_tag: str = Field(
        default="sha256",
        min_length=1,
        max_length=250,
        description="Key of the tag of the model version that holds the digest of its files, as sha256: and "
        "64 hex digits, or the digits alone. Where a version has the tag, the fetched files are compared "
        "with it before anything loads them; a version whose files differ is rejected, with reason "
        "DigestMismatch.",
        json_schema_extra=rules(_TAG_KEY),
    )
    required: bool = Field(
        default=False,
        description="Whether a version without that tag is refused before anything starts. False: such a "
        "version is served without the comparison.",
    )

    @field_validator("digest_tag")
    @classmethod
    def _is_a_tag_key(cls, key: str) -> str:
        if re.search(r"[\x00-\x1f\x7f-\x9f]", key):
            raise ValueError(_TAG_KEY.message)
        return key


class GatesSpec(SpecModel):
    approval: ApprovalGate = Field(
        default=ApprovalGate(), description="Whether a person has to approve a version, and when."
    )
    integrity: IntegrityGate = Field(
        default=IntegrityGate(), description="Whether the fetched files are those that were registered."
    )


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
    "rollout.maxSurge and rollout.maxUnavailable cannot both be 0, nothing could ever be replaced: raise one",
)


class RolloutSpec(SpecModel):
    model_config = ConfigDict(json_schema_extra=rules(_NO_ROOM))

    strategy: Strategy = Field(
        default="RollingUpdate",
        description="RollingUpdate: pods are replaced a few at a time within one Deployment, and both versions "
        "answer meanwhile. BlueGreen: the new version starts in full size in a Deployment of its own, takes "
        "no requests until all its pods are ready, then takes all of them at once; the old pods stay warm "
        "for a way back in seconds. It needs room for twice the pods. May be changed at any time, without "
        "downtime.",
    )
    max_surge: Annotated[StrictInt | StrictStr, *_count_or_percent(_SURGE_PERCENT, _SURGE_MESSAGE)] = Field(
        default=1,
        description="How many pods may run above the wanted number during a rolling update: a number or a "
        "percent.",
    )
    max_unavailable: Annotated[
        StrictInt | StrictStr, *_count_or_percent(_UNAVAILABLE_PERCENT, _UNAVAILABLE_MESSAGE)
    ] = Field(
        default=0,
        description="How many pods may be missing during a rolling update: a number or a percent. Where "
        "there is no spare capacity: 1, with maxSurge 0.",
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
        description="Seconds after going live in which a fault (pods that restart, run out of memory or are "
        "not ready, answers of status 5xx) is still put down to the version, and reverts it. Then the "
        "version is settled: later faults are reported, and nothing is reverted. 0: settled at once.",
    )
    warm_seconds: int = Field(
        default=600,
        ge=0,
        le=604800,
        description="BlueGreen: seconds since the switch for which the old pods are kept, so that the way back "
        "needs no start. While the watch lasts they keep their full size; after it, until warmSeconds, "
        "warmReplicas of them stay; then none. Not used with RollingUpdate.",
    )
    warm_replicas: int = Field(
        default=1,
        ge=0,
        le=10000,
        description="BlueGreen: how many of the old pods stay between the end of the watch and warmSeconds. "
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
        description="Automatic: a version that fails, while it rolls out or within rollout.watchSeconds, is "
        "taken back, and the one before serves again. Never: a failure is only reported, in status and "
        "events; a candidate that failed stays as it is until a person decides (moves the alias, changes the "
        "spec, or names a revision in the annotation model-operator.io/revert).",
    )
    history_limit: int = Field(
        default=10, ge=1, le=50, description="How many former revisions are kept to go back to."
    )
    tag_version: TagVersion = Field(
        default="Auto",
        description="Auto: what became of the version here (Serving, Settled, or Rejected with the reason) "
        "is written to the registry as a tag of the model version, where the operator may write there. "
        "Never: nothing is written to the registry.",
    )
