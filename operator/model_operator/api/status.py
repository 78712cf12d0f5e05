"""The status of a ModelDeployment: its schema for the CRD, and a reader that no garbage can stop.

The status may come from another version of the operator, from a restore or from somebody's hand. A field that
can't be read counts as absent; in a list or map, only the entries that can't be read are left out.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from annotated_types import MaxLen
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    field_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

MAX_REJECTED = 64
MAX_HISTORY = 20
MAX_REQUESTS = 16


def _has_a_zone(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("the time needs a zone")
    return text


Time = Annotated[
    str,
    Field(max_length=64),
    AfterValidator(_has_a_zone),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
ShortText = Annotated[str, Field(max_length=256)]
# Registries allow long names, and sources are URIs.
LongText = Annotated[str, Field(max_length=4096)]
Message = Annotated[str, Field(max_length=8192)]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]

_ALIAS = "What named the version: @champion, 3, latest."
_TRACK = "Deployment that it runs in: the name of the ModelDeployment, or that name with -green."
_REASON = "Reason in one word, for programs."


class StatusModel(BaseModel):
    """A part of the status: unknown fields are passed over, unreadable ones are absent."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=True,
        serialize_by_alias=True,
        extra="ignore",
        frozen=True,
        strict=True,
    )

    @field_validator("*", mode="wrap")
    @classmethod
    def _unreadable_is_absent(
        cls, value: Any, read: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> Any:
        try:
            return read(value)
        except ValidationError:
            field = cls.model_fields[str(info.field_name)]
            if field.is_required():
                raise
            default = field.get_default(call_default_factory=True)
            if isinstance(value, list) and isinstance(default, list):
                return _readable_items(value, read, _most(field))
            if isinstance(value, dict) and isinstance(default, dict):
                return _readable_entries(value, read, _most(field))
            return default

    def body(self) -> dict[str, Any]:
        """The JSON that is written to the API server: camelCase, without absent fields and empty lists."""
        dumped = self.model_dump(by_alias=True, exclude_none=True, mode="json")
        return {key: _lean(value) for key, value in dumped.items() if value not in ({}, [])}


def _lean(value: Any) -> Any:
    """Without the empty lists and objects inside an object."""
    if not isinstance(value, dict):
        return value
    return {key: part for key, part in value.items() if part not in ({}, [])}


def _most(field: FieldInfo) -> int:
    return min(bound.max_length for bound in field.metadata if isinstance(bound, MaxLen))


def _readable_items(value: list[Any], read: ValidatorFunctionWrapHandler, most: int) -> list[Any]:
    kept: list[Any] = []
    for item in value:
        try:
            kept = [*kept, *read([item])] if len(kept) < most else kept
        except ValidationError:
            continue
    return kept


def _readable_entries(value: dict[Any, Any], read: ValidatorFunctionWrapHandler, most: int) -> dict[Any, Any]:
    kept: dict[Any, Any] = {}
    for key, entry in value.items():
        try:
            kept = {**kept, **read({key: entry})} if len(kept) < most else kept
        except ValidationError:
            continue
    return kept


class Condition(StatusModel):
    type: str = Field(min_length=1, max_length=316, description="Kind of the condition, for example Ready.")
    status: str = Field(
        max_length=7,
        pattern="^(True|False|Unknown)$",
        description="True, False or Unknown. The healthy value is True.",
    )
    observed_generation: int | None = Field(
        default=None,
        ge=0,
        description="The metadata.generation that the condition was set for.",
        json_schema_extra={"format": "int64"},
    )
    last_transition_time: Time | None = Field(default=None, description="When status last changed.")
    reason: str = Field(default_factory=str, max_length=1024, description="Reason in one word, for programs.")
    message: str = Field(
        default_factory=str, max_length=32768, description="What happened, and what can be done."
    )


class Resolved(StatusModel):
    model: ShortText | None = Field(default=None, description="Name of the registered model.")
    version: ShortText = Field(description="Version that the registry names for the reference.")
    alias: ShortText | None = Field(default=None, description="Alias that was resolved, if one was.")
    run_id: ShortText | None = Field(default=None, description="MLflow run that made the version.")
    source: LongText | None = Field(default=None, description="Where the registry keeps the version's files.")
    digest: ShortText | None = Field(default=None, description="Digest of the files, where one is known.")
    at: Time | None = Field(default=None, description="When the registry first gave this answer.")


class Serving(StatusModel):
    version: ShortText = Field(description="Version that serves.")
    revision: ShortText | None = Field(
        default=None, description="Revision that serves: the version with the pods it was rolled out with."
    )
    alias: ShortText | None = Field(default=None, description=_ALIAS)
    track: ShortText | None = Field(default=None, description=_TRACK)
    since: Time | None = Field(default=None, description="When it went live.")
    settled: bool | None = Field(
        default=None,
        description="Whether it outlived its watch (rollout.watchSeconds). Until then a fault takes it back "
        "to the last version that did.",
    )
    watch_ends: Time | None = Field(
        default=None,
        description="When the watch ends. Absent once it is settled, and before the watch has begun.",
    )
    self_test: ShortText | None = Field(
        default=None, description="Outcome of the self-test: Passed, LoadOnly or NoExample."
    )
    reason: ShortText | None = Field(
        default=None,
        description="A trouble that is only reported, in one word: it is not put down to the version, or "
        "revert.policy is Never. Absent when all is well.",
    )
    message: Message | None = Field(default=None, description="That trouble in words, and what can be done.")


class Candidate(StatusModel):
    version: ShortText = Field(description="Version that is being rolled out.")
    revision: ShortText | None = Field(default=None, description="Revision that is being rolled out.")
    alias: ShortText | None = Field(default=None, description=_ALIAS)
    track: ShortText | None = Field(default=None, description=_TRACK)
    phase: ShortText | None = Field(
        default=None,
        description="How far its slowest pod has come: WaitingForSlot, Applying, Scheduling, Fetching, "
        "Starting, Rolling; WaitingForApproval until gates.approval.approved names it; Withdrawn until "
        "retryAt; Failed, with nothing to go back to or with revert.policy Never.",
    )
    since: Time | None = Field(
        default=None, description="When its rollout began; until then, when it was wanted."
    )
    deadline: Time | None = Field(default=None, description="When the phase must have ended.")
    reason: ShortText | None = Field(default=None, description="What is in its way, in one word.")
    message: Message | None = Field(default=None, description="What it waits for.")
    attempts: Count | None = Field(default=None, description="How often this revision was tried.")
    retry_at: Time | None = Field(default=None, description="When it is tried again.")


class Rejected(StatusModel):
    version: ShortText = Field(description="Version that was rejected.")
    revision: ShortText | None = Field(default=None, description="Revision that was rejected.")
    alias: ShortText | None = Field(default=None, description=_ALIAS)
    side: ShortText | None = Field(
        default=None, description="Whose fault it was: Model, Configuration or Environment."
    )
    reason: ShortText | None = Field(default=None, description=_REASON)
    message: Message | None = Field(default=None, description="What happened, in the container's own words.")
    attempts: Count | None = Field(default=None, description="How often it was tried.")
    at: Time | None = Field(default=None, description="When it was rejected.")
    retry_at: Time | None = Field(
        default=None,
        description="When it is tried again: a failure that need not be the version's is, until three "
        "attempts failed. Absent: only a changed wish or the annotation model-operator.io/retry tries it again.",
    )
    served: bool | None = Field(
        default=None,
        description="True when it failed on live requests: then no commit tries it again, except one that raises "
        "the memory of a version that ran out of it. The annotation model-operator.io/retry does.",
    )


class Departed(StatusModel):
    version: ShortText = Field(description="Version that served.")
    revision: ShortText | None = Field(default=None, description="Revision that served.")
    alias: ShortText | None = Field(default=None, description=_ALIAS)
    from_: Time | None = Field(default=None, alias="from", description="When it went live.")
    to: Time | None = Field(default=None, description="When it served no more.")
    reason: ShortText | None = Field(default=None, description="Why it left, in one word, for programs.")
    message: Message | None = Field(default=None, description="Why it left.")


class PlannedGate(StatusModel):
    gate: ShortText = Field(description="The gate, for example Metrics.")
    outcome: ShortText | None = Field(
        default=None,
        description="Passed, Failed, Overridden (it failed, and spec.gates.overrides names this version), Warned, or "
        "Pending (the registry has not answered yet).",
    )
    message: Message | None = Field(default=None, description="The value, the bound, and what can be done.")


class PlannedStep(StatusModel):
    from_: ShortText | None = Field(
        default=None, alias="from", description="Version that serves. Absent: none does."
    )
    to: ShortText = Field(description="Version that is to serve.")
    revision: ShortText | None = Field(default=None, description="Revision that is to serve.")
    strategy: ShortText | None = Field(
        default=None, description="How it is rolled out: RollingUpdate or BlueGreen."
    )
    message: Message | None = Field(
        default=None,
        description="What the step does to pods: how many run besides those that serve, or how many are "
        "missing where there is no room (maxSurge 0).",
    )
    extra_pods: Count | None = Field(
        default=None, description="How many pods run at most above those that serve."
    )
    extra_resources: dict[str, ShortText] = Field(
        default_factory=dict,
        max_length=32,
        description="What the scheduler has to find for them together, such as cpu and memory.",
    )
    gates: list[PlannedGate] = Field(
        default_factory=list,
        max_length=16,
        description="What each gate said, in their order.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    signature: list[ShortText] = Field(
        default_factory=list,
        max_length=64,
        description="How the signature differs from that of the serving version, like a diff: - as it was, + as it "
        "would be.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class Address(StatusModel):
    url: LongText | None = Field(default=None, description="URL of the Service inside the cluster.")


class ModelDeploymentStatus(StatusModel):
    observed_generation: int | None = Field(
        default=None,
        ge=0,
        description="The metadata.generation that this status speaks of.",
        json_schema_extra={"format": "int64"},
    )
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=32,
        description="Ready: what the spec asks for is in force and serves. Current: the version that the "
        "registry names for the reference serves. Resolved: the registry named a version. Present only when "
        "True: Reconciling (something is under way or waits for its time) and Stalled (it stays so until a "
        "person acts). A rejected move of an alias beside a healthy service leaves Ready True and sets "
        "Current False; a rejected commit, or nothing that serves, is Ready False and Stalled True.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    model_name: ShortText | None = Field(default=None, description="Name of the registered model.")
    alias: ShortText | None = Field(
        default=None, description="What is followed: @champion, 3, latest or Production."
    )
    resolved: Resolved | None = Field(default=None, description="The registry's last answer.")
    serving: Serving | None = Field(default=None, description="What serves.")
    candidate: Candidate | None = Field(default=None, description="What is being rolled out.")
    plan: PlannedStep | None = Field(
        default=None,
        description="What the rollout under way, the one that waits, or the one that a gate keeps out does.",
    )
    rejected: list[Rejected] = Field(
        default_factory=list,
        max_length=MAX_REJECTED,
        description="What was rejected, newest first; it is not tried again until the wish changes, unless "
        "retryAt says when.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    history: list[Departed] = Field(
        default_factory=list,
        max_length=MAX_HISTORY,
        description="What served before, newest first: from when to when, and why it left.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    handled_requests: dict[str, ShortText] = Field(
        default_factory=dict,
        max_length=MAX_REQUESTS,
        description="A person's requests that were carried out: the value last answered of each annotation "
        "model-operator.io/retry, restart, revert and adopt, under the keys retry, restart, revert and adopt.",
    )
    replicas: Count | None = Field(default=None, description="How many pods exist.")
    ready_replicas: Count | None = Field(default=None, description="How many pods are ready.")
    selector: LongText | None = Field(
        default=None, description="Label selector of the pods, for autoscalers."
    )
    address: Address | None = Field(default=None, description="Where predictions are asked for.")

    @classmethod
    def read(cls, raw: object) -> Self:
        """Read a status of any origin; what can't be read is absent. Never raises."""
        try:
            return cls.model_validate(raw if isinstance(raw, dict) else {})
        except (ValidationError, RecursionError):
            return cls()

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type, or None."""
        return next((condition for condition in self.conditions if condition.type == kind), None)
