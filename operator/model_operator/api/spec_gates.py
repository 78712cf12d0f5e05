"""spec.gates: the checks that a version must pass before it may serve."""

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
    model_validator,
)

from model_operator.api.choices import GateName
from model_operator.api.schema import Rule, SpecModel, rules, without_crd_default

ApprovalMode = Literal["Automatic", "Manual"]
ApprovalAt = Literal["BeforeStart", "BeforeTraffic"]
Better = Literal["Higher", "Lower"]
SignatureMode = Literal["IfKnown", "Compatible", "Warn", "Ignore"]
InputExampleMode = Literal["Required", "Ignore"]
RequirementsMode = Literal["Enforce", "Warn", "Ignore"]


MAX_GATES = 32
MAX_OVERRIDES = 16

_APPROVED_LENGTH = 64
_APPROVED = r"[1-9][0-9]{0,9}|v[0-9]*-[0-9a-f]{10}"


def _approved_rule(field: str) -> Rule:
    return Rule(
        f"type(self) == int ? self > 0 && self < 10000000000 : self.matches(r'^({_APPROVED})?$')",
        f"{field} must be a version number such as 8, or the name of a revision such as "
        "v8-5d9f8a2b1c (status.plan.revision)",
    )


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _version_or_revision(field: str) -> list[Any]:
    """Returns the validators of a text that names a version or a revision.

    Numbers are accepted, because YAML reads a version without quotes as one.
    """
    rule = _approved_rule(field)

    def check(approved: str) -> str:
        if len(approved) > _APPROVED_LENGTH or not re.fullmatch(f"({_APPROVED})?", approved):
            raise ValueError(rule.message)
        return approved

    schema = {"x-kubernetes-int-or-string": True, "maxLength": _APPROVED_LENGTH, **rules(rule)}
    return [BeforeValidator(_number_as_text), AfterValidator(check), WithJsonSchema(schema)]


class ApprovalGate(SpecModel):
    mode: ApprovalMode = Field(
        default="Automatic",
        description="Automatic: no approval is needed. Manual: a candidate waits in phase WaitingForApproval until "
        "you name it in approved. The serving version keeps serving. A revert never waits for an approval.",
    )
    at: ApprovalAt = Field(
        default="BeforeStart",
        description="Point at which a candidate waits with mode Manual. BeforeStart: before any of its pods starts. "
        "BeforeTraffic: when all its pods are ready beside the serving ones, and you can try it at the Service "
        "NAME-candidate. BeforeTraffic needs rollout.strategy BlueGreen.",
    )
    approved: Annotated[str, *_version_or_revision("gates.approval.approved")] = Field(
        default="",
        description="Your approval with mode Manual. A version number such as 8 approves every revision of that "
        "version. The name of a revision, as shown in status.candidate.revision, approves that version with those "
        "pod settings only. Empty: nothing is approved.",
    )


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def _plain_text(field: str, example: str) -> list[Any]:
    """Returns the validators of a key or value in the registry: any text without control characters.

    The message of the rule has `field` and `example`.
    """
    rule = Rule(
        r"!self.matches(r'\p{Cc}')", f"{field} must not contain control characters (example: {example})"
    )

    def check(text: str) -> str:
        if _CONTROL.search(text):
            raise ValueError(rule.message)
        return text

    return [AfterValidator(check), Field(json_schema_extra=rules(rule))]


class IntegrityGate(SpecModel):
    digest_tag: Annotated[str, *_plain_text("gates.integrity.digestTag", "sha256")] = Field(
        default="sha256",
        min_length=1,
        max_length=250,
        description="Key of the tag of the model version that holds the digest of its files: sha256: and 64 hex "
        "digits, or only the digits. If a version has the tag, the pod compares the fetched files with it before "
        "anything loads them. A version whose files differ is rejected with reason DigestMismatch.",
    )
    required: bool = Field(
        default=False,
        description="true: a version without that tag is blocked before any pod starts. false: such a version is "
        "served without the comparison.",
    )


_BOUNDED = Rule(
    "has(self.min) || has(self.max) || has(self.noWorseThanServingBy)",
    "a metric gate needs a bound: set min, max or noWorseThanServingBy",
)
_BETTER = Rule(
    "has(self.better) == has(self.noWorseThanServingBy)",
    "gates.metrics[].better and noWorseThanServingBy must be set together: set better to Higher or Lower, or "
    "remove both",
)
_IN_ORDER = Rule(
    "!(has(self.min) && has(self.max)) || self.min <= self.max",
    "gates.metrics[].min is greater than max: no value could pass",
)


class MetricGate(SpecModel):
    model_config = ConfigDict(json_schema_extra=rules(_BOUNDED, _BETTER, _IN_ORDER))

    name: Annotated[str, *_plain_text("gates.metrics[].name", "auc")] = Field(
        min_length=1, max_length=250, description="Name of the metric, as the run logged it."
    )
    dataset: Annotated[str, *_plain_text("gates.metrics[].dataset", "holdout")] = Field(
        default="",
        max_length=500,
        description="Name of the dataset that it was measured on, if the registry knows it. Empty: every value of "
        "the metric must pass.",
    )
    min: float | None = Field(default=None, allow_inf_nan=False, description="Lowest value that passes.")
    max: float | None = Field(default=None, allow_inf_nan=False, description="Highest value that passes.")
    no_worse_than_serving_by: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="How much worse the value may be than the same metric of the serving version. Passes while no "
        "version serves. Needs better.",
    )
    better: Better | None = Field(
        default=None,
        description="Whether a Higher or a Lower value is better. Needed by noWorseThanServingBy.",
    )

    @model_validator(mode="after")
    def _has_a_bound(self) -> Self:
        if self.min is None and self.max is None and self.no_worse_than_serving_by is None:
            raise ValueError(_BOUNDED.message)
        if (self.better is None) != (self.no_worse_than_serving_by is None):
            raise ValueError(_BETTER.message)
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(_IN_ORDER.message)
        return self


_ONE_TEST = Rule(
    "[has(self.value), has(self.notValue), has(self.exists)].filter(given, given).size() == 1",
    "a tag gate needs exactly one of value, notValue, exists",
)


class TagGate(SpecModel):
    model_config = ConfigDict(json_schema_extra=rules(_ONE_TEST))

    key: Annotated[str, *_plain_text("gates.tags[].key", "validation_status")] = Field(
        min_length=1, max_length=250, description="Key of a tag of the model version."
    )
    value: str | None = Field(
        default=None, max_length=4096, description="Exact value that the tag must have."
    )
    not_value: str | None = Field(
        default=None,
        max_length=4096,
        description="Value that the tag must not have. A version without the tag passes.",
    )
    exists: bool | None = Field(
        default=None,
        description="true: the version must have the tag, with any value. false: it must not have it.",
    )

    @model_validator(mode="after")
    def _tests_one_thing(self) -> Self:
        if sum(test is not None for test in (self.value, self.not_value, self.exists)) != 1:
            raise ValueError(_ONE_TEST.message)
        return self


class GateOverride(SpecModel):
    gate: GateName = Field(description="The gate that you override.")
    approved: Annotated[str, *_version_or_revision("gates.overrides[].approved")] = Field(
        min_length=1,
        description="The version number, or the name of one revision as shown in status.plan.revision, that may "
        "pass although the gate fails it. The override is for that one only. The next version is checked again.",
    )


_SIZE_PATTERN = r"^([1-9][0-9]*)([KMGT]i?|k)?$"
_SIZE = Rule(
    f"type(self) == int ? self > 0 : self.matches(r'{_SIZE_PATTERN}')",
    "gates.maxModelBytes must be a whole number of bytes, or a quantity such as 500Mi or 2Gi",
)


def _is_a_size(size: int | str) -> int | str:
    good = size > 0 if isinstance(size, int) else re.fullmatch(_SIZE_PATTERN.strip("^$"), size) is not None
    if not good or len(str(size)) > _APPROVED_LENGTH:
        raise ValueError(_SIZE.message)
    return size


_Size = Annotated[
    StrictInt | StrictStr,
    AfterValidator(_is_a_size),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "maxLength": _APPROVED_LENGTH, **rules(_SIZE)}),
]


class GatesSpec(SpecModel):
    tags: list[TagGate] = Field(
        default_factory=list,
        max_length=MAX_GATES,
        description="Conditions on the tags of the version.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    metrics: list[MetricGate] = Field(
        default_factory=list,
        max_length=MAX_GATES,
        description="Bounds of the version's metrics. A metric that is missing, NaN or infinite never passes.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    input_example: InputExampleMode = Field(
        default="Ignore",
        description="Required: a version whose model has no input example is blocked, because its self-test could "
        "only load it. Ignore: no check.",
    )
    max_model_bytes: _Size | None = Field(
        default=None,
        description="Largest model that may start, such as 2Gi. If you leave it out, any size may.",
    )
    signature: SignatureMode = Field(
        default="IfKnown",
        json_schema_extra=without_crd_default,
        description="Whether your callers are protected from a signature that does not fit. IfKnown (default): a "
        "version is blocked if it would reject a request that the serving version accepts, or if its "
        "answers have another shape. If a signature is missing or can't be read, you only get a "
        "warning. Compatible: like IfKnown, but a signature that can't be read blocks the version. "
        "Warn: the difference is only shown. Ignore: no check.",
    )
    requirements: RequirementsMode = Field(
        default="Ignore",
        description="Enforce: a version is blocked if its Python version or packages do not fit the serving image. "
        "The gate needs the image's packages in the operator's configuration (images.contents). Warn: the "
        "difference is only shown. Ignore: no check.",
    )
    overrides: list[GateOverride] = Field(
        default_factory=list,
        max_length=MAX_OVERRIDES,
        description="Gates that you let one named version or revision pass although they fail it.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    approval: ApprovalGate = Field(
        default=ApprovalGate(), description="Whether you must approve a version, and when."
    )
    integrity: IntegrityGate = Field(
        default=IntegrityGate(), description="Comparison of the fetched files with the registered digest."
    )
