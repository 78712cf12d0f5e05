"""The status of a ModelDeployment: its schema for the CRD, and a reader that accepts any input.

The status may come from another version of the operator, from a restore or from an edit by hand. A field that
can't be read counts as absent. In a list or map, only the entries that can't be read are left out.
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

_ALIAS = "Reference that selected the version: @champion, 3, latest."
_TRACK = (
    "Track that runs it: the name of your ModelDeployment, or that name with -green. Its Deployment has the same name, "
    "or one with a hash at the end if another ModelDeployment has taken that."
)
_REASON = "Reason in one word, for programs."


class StatusModel(BaseModel):
    """A part of the status: unknown fields are ignored, and fields that can't be read are absent."""

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
        """Returns the JSON for the API server: camelCase, without absent fields and empty lists."""
        dumped = self.model_dump(by_alias=True, exclude_none=True, mode="json")
        return {key: _lean(value) for key, value in dumped.items() if value not in ({}, [])}


def _lean(value: Any) -> Any:
    """Returns an object without its empty lists and objects, and any other value unchanged."""
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
        default_factory=str,
        max_length=32768,
        description="Explanation of the state, and the remedy if you can act.",
    )


class Resolved(StatusModel):
    model: ShortText | None = Field(default=None, description="Name of the registered model.")
    version: ShortText = Field(description="Version that the registry returns for the reference.")
    alias: ShortText | None = Field(default=None, description="Alias that was resolved, if one was.")
    run_id: ShortText | None = Field(default=None, description="MLflow run that made the version.")
    source: LongText | None = Field(
        default=None, description="Location of the version's files, as the registry has it."
    )
    digest: ShortText | None = Field(default=None, description="Digest of the files, if one is known.")
    at: Time | None = Field(default=None, description="When the registry first gave this answer.")


class Serving(StatusModel):
    version: ShortText = Field(description="Serving version.")
    revision: ShortText | None = Field(
        default=None, description="Serving revision: the version with the pod settings of its rollout."
    )
    alias: ShortText | None = Field(default=None, description=_ALIAS)
    track: ShortText | None = Field(default=None, description=_TRACK)
    since: Time | None = Field(default=None, description="When it went live.")
    settled: bool | None = Field(
        default=None,
        description="Whether it has passed its watch window (rollout.watchSeconds). Until then, if it fails, the "
        "operator reverts to the last version that did.",
    )
    watch_ends: Time | None = Field(
        default=None,
        description="When the watch window ends. Absent when the version is settled, and before the window begins.",
    )
    self_test: ShortText | None = Field(
        default=None, description="Outcome of the self-test: Passed, LoadOnly or NoExample."
    )
    reason: ShortText | None = Field(
        default=None,
        description="Reason of a fault that is only reported, in one word: either the version is not blamed for it, "
        "or your revert.policy is Never. Absent when there is no fault.",
    )
    message: Message | None = Field(default=None, description="Description of that fault, and the remedy.")
    errors_not_judged: Message | None = Field(
        default=None,
        description="Why 5xx answers do not count in its watch window: the operator can read the metrics of none of "
        "its pods. It stays when the version settles. Absent if they are counted.",
    )
    errors_not_judged_since: Time | None = Field(default=None, description="Since when they are not counted.")


class Candidate(StatusModel):
    version: ShortText = Field(description="Version that is being rolled out.")
    revision: ShortText | None = Field(default=None, description="Revision that is being rolled out.")
    alias: ShortText | None = Field(default=None, description=_ALIAS)
    track: ShortText | None = Field(default=None, description=_TRACK)
    phase: ShortText | None = Field(
        default=None,
        description="Progress of its slowest pod: WaitingForSlot, Applying, Scheduling, Fetching, Starting or "
        "Rolling. WaitingForApproval: until you name it in gates.approval.approved. Withdrawn: until retryAt. "
        "Failed: it failed, and there is no version to revert to, or your revert.policy is Never.",
    )
    since: Time | None = Field(
        default=None, description="When its rollout began. Before that, when it became the desired revision."
    )
    deadline: Time | None = Field(default=None, description="When the phase must have ended.")
    reason: ShortText | None = Field(default=None, description="Reason for a delay or failure, in one word.")
    message: Message | None = Field(default=None, description="Description of that reason.")
    attempts: Count | None = Field(default=None, description="How often the operator tried this revision.")
    retry_at: Time | None = Field(default=None, description="When the operator tries it again.")


class Rejected(StatusModel):
    version: ShortText = Field(description="Version that was rejected.")
    revision: ShortText | None = Field(default=None, description="Revision that was rejected.")
    alias: ShortText | None = Field(default=None, description=_ALIAS)
    side: ShortText | None = Field(
        default=None, description="Side that can fix the failure: Model, Configuration or Environment."
    )
    reason: ShortText | None = Field(default=None, description=_REASON)
    message: Message | None = Field(
        default=None, description="Description of the failure, as the container reported it."
    )
    attempts: Count | None = Field(default=None, description="How often the operator tried it.")
    at: Time | None = Field(default=None, description="When it was rejected.")
    retry_at: Time | None = Field(
        default=None,
        description="When the operator tries it again. It makes up to three attempts if the failure may have "
        "another cause than the version. Absent: the operator tries it again only after a change of your spec, or "
        "when you set the annotation model-operator.io/retry.",
    )
    served: bool | None = Field(
        default=None,
        description="true if it failed on live requests. A change of your spec does not try it again then, except "
        "one that raises the memory of a version that ran out of it. The annotation model-operator.io/retry does.",
    )


class Departed(StatusModel):
    version: ShortText = Field(description="Version that served.")
    revision: ShortText | None = Field(default=None, description="Revision that served.")
    alias: ShortText | None = Field(default=None, description=_ALIAS)
    from_: Time | None = Field(default=None, alias="from", description="When it went live.")
    to: Time | None = Field(default=None, description="When it stopped serving.")
    reason: ShortText | None = Field(
        default=None, description="Why it stopped serving, in one word, for programs."
    )
    message: Message | None = Field(default=None, description="Why it stopped serving.")


class PlannedGate(StatusModel):
    gate: ShortText = Field(description="The gate, for example Metrics.")
    outcome: ShortText | None = Field(
        default=None,
        description="Passed, Failed, Overridden (it failed, and your spec.gates.overrides names this version), Warned, "
        "or Pending (the registry has not answered yet).",
    )
    message: Message | None = Field(default=None, description="The value, the bound, and the remedy.")


class PlannedStep(StatusModel):
    from_: ShortText | None = Field(
        default=None, alias="from", description="Serving version. Absent if none serves."
    )
    to: ShortText = Field(description="Version that will serve.")
    revision: ShortText | None = Field(default=None, description="Revision that will serve.")
    strategy: ShortText | None = Field(
        default=None, description="How it is rolled out: RollingUpdate or BlueGreen."
    )
    message: Message | None = Field(
        default=None,
        description="Effect on your pods: how many run besides the serving ones, or how many are missing if there is "
        "no room (maxSurge 0).",
    )
    extra_pods: Count | None = Field(
        default=None, description="Highest number of pods that run besides the serving ones."
    )
    extra_resources: dict[str, ShortText] = Field(
        default_factory=dict,
        max_length=32,
        description="Total resources that these pods need, such as cpu and memory.",
    )
    gates: list[PlannedGate] = Field(
        default_factory=list,
        max_length=16,
        description="Result of each gate, in the order of the checks.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    signature: list[ShortText] = Field(
        default_factory=list,
        max_length=64,
        description="Differences from the signature of the serving version, as in a diff: - for the serving one, + "
        "for the new one.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class Address(StatusModel):
    url: LongText | None = Field(default=None, description="URL of the Service inside the cluster.")


class ModelDeploymentStatus(StatusModel):
    observed_generation: int | None = Field(
        default=None,
        ge=0,
        description="The metadata.generation that this status describes.",
        json_schema_extra={"format": "int64"},
    )
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=32,
        description="Ready: your spec has been rolled out and is serving. Current: the version that the registry "
        "returns for the reference is serving. Resolved: the registry returned a version. Two are present only when "
        "True: Reconciling (something is under way, or waits for its time) and Stalled (nothing changes until you "
        "act). If you move an alias to a version that is rejected while the service is healthy, Ready stays True and "
        "Current is False. If your commit is rejected or no version serves, Ready is False and Stalled True.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    model_name: ShortText | None = Field(default=None, description="Name of the registered model.")
    alias: ShortText | None = Field(
        default=None, description="Reference that your spec follows: @champion, 3, latest or Production."
    )
    resolved: Resolved | None = Field(default=None, description="Last answer of the registry.")
    serving: Serving | None = Field(default=None, description="The serving version.")
    candidate: Candidate | None = Field(default=None, description="The version that is being rolled out.")
    plan: PlannedStep | None = Field(
        default=None,
        description="Plan of the rollout that is under way, waits, or is blocked by a gate.",
    )
    rejected: list[Rejected] = Field(
        default_factory=list,
        max_length=MAX_REJECTED,
        description="Rejected versions, newest first. The operator tries one again at retryAt, if that is set, after "
        "a change of your spec that may have fixed it, or when you set the annotation model-operator.io/retry.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    history: list[Departed] = Field(
        default_factory=list,
        max_length=MAX_HISTORY,
        description="Versions that served before, newest first: from when to when, and why they stopped serving.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    handled_requests: dict[str, ShortText] = Field(
        default_factory=dict,
        max_length=MAX_REQUESTS,
        description="Your requests that were carried out: the last handled value of each annotation "
        "model-operator.io/retry, restart, revert and adopt, under the keys retry, restart, revert and adopt.",
    )
    replicas: Count | None = Field(default=None, description="How many pods exist.")
    ready_replicas: Count | None = Field(default=None, description="How many pods are ready.")
    selector: LongText | None = Field(
        default=None, description="Label selector of the pods, for autoscalers."
    )
    address: Address | None = Field(default=None, description="Address for your prediction requests.")

    @classmethod
    def read(cls, raw: object) -> Self:
        """Reads a status of any origin. Parts that can't be read are absent. Never raises."""
        try:
            return cls.model_validate(raw if isinstance(raw, dict) else {})
        except (ValidationError, RecursionError):
            return cls()

    def condition(self, kind: str) -> Condition | None:
        """Returns the condition of that type, or None."""
        return next((condition for condition in self.conditions if condition.type == kind), None)
