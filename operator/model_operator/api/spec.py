"""The spec of a ModelDeployment. The descriptions of the fields become those of the CRD."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from model_operator.api.choices import (
    RUNTIMES,
    STRATEGIES,
    GateName,
    Runtime,
    Strategy,
    cel_is_one_of,
    either,
)
from model_operator.api.schema import (
    OpenList,
    OpenObject,
    Port,
    Rule,
    SpecModel,
    TextMap,
    rules,
)
from model_operator.api.spec_gates import (
    ApprovalAt,
    ApprovalGate,
    ApprovalMode,
    GateOverride,
    GatesSpec,
    IntegrityGate,
    MetricGate,
    TagGate,
)
from model_operator.api.spec_model import ModelSpec, RegistrySpec, Stage
from model_operator.api.spec_pod import FetchSpec, ImageFrom, PodSpec, Probes, ServerSpec
from model_operator.api.spec_rollout import (
    RevertPolicy,
    RevertSpec,
    RolloutSpec,
    TagVersion,
)

__all__ = [
    "ApprovalAt",
    "ApprovalGate",
    "ApprovalMode",
    "AutoscalingSpec",
    "ConfigMapKey",
    "FetchSpec",
    "GateName",
    "GateOverride",
    "GatesSpec",
    "ImageFrom",
    "IntegrityGate",
    "MetricGate",
    "ModelDeploymentSpec",
    "ModelSpec",
    "PodSpec",
    "Probes",
    "RegistrySpec",
    "RevertPolicy",
    "RevertSpec",
    "RolloutSpec",
    "Runtime",
    "SelfTestMode",
    "SelfTestPayload",
    "SelfTestSpec",
    "ServerSpec",
    "ServiceSpec",
    "ServiceType",
    "Stage",
    "Strategy",
    "TagGate",
    "TagVersion",
]

SelfTestMode = Literal["Auto", "Required", "LoadOnly"]
ServiceType = Literal["ClusterIP", "NodePort", "LoadBalancer"]

_MIN_MAX = Rule(
    "self.minReplicas <= self.maxReplicas",
    "autoscaling.minReplicas is greater than autoscaling.maxReplicas: lower minReplicas or raise maxReplicas",
)


class AutoscalingSpec(SpecModel):
    model_config = ConfigDict(json_schema_extra=rules(_MIN_MAX))

    min_replicas: int = Field(default=1, ge=1, le=10000, description="Fewest pods.")
    max_replicas: int = Field(ge=1, le=10000, description="Most pods.")
    target_cpu_utilization_percentage: int | None = Field(
        default=None,
        ge=1,
        le=10000,
        alias="targetCPUUtilizationPercentage",
        description="Average CPU use to keep, in percent of server.resources.requests.cpu. "
        "Left out, and without metrics: 70.",
    )
    metrics: OpenList = Field(
        default_factory=list, description="Metrics of a HorizontalPodAutoscaler (autoscaling/v2)."
    )
    behavior: OpenObject = Field(
        default_factory=dict, description="Scaling behavior of a HorizontalPodAutoscaler (autoscaling/v2)."
    )

    @model_validator(mode="after")
    def _min_below_max(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(_MIN_MAX.message)
        return self


class ServiceSpec(SpecModel):
    port: Port = Field(default=80, description="Port of the Service.")
    type: ServiceType = Field(default="ClusterIP", description="Type of the Service.")
    annotations: TextMap = Field(default_factory=dict, description="Annotations of the Service.")


class ConfigMapKey(SpecModel):
    name: str = Field(min_length=1, max_length=253, description="Name of a ConfigMap in the same namespace.")
    key: str = Field(min_length=1, max_length=253, description="Key in the ConfigMap.")


class SelfTestPayload(SpecModel):
    config_map: ConfigMapKey = Field(
        description="The key of a ConfigMap that holds the request body (JSON, as sent to path)."
    )


_PAYLOAD_UNUSED = Rule(
    "!(has(self.payload) && self.mode == 'LoadOnly')",
    "selfTest.payload is not used with selfTest.mode LoadOnly: remove it, or set mode to Auto or Required",
)
_PATH_MESSAGE = "selfTest.path must start with '/' and hold no spaces, for example /invocations"


class SelfTestSpec(SpecModel):
    model_config = ConfigDict(json_schema_extra=rules(_PAYLOAD_UNUSED))

    mode: SelfTestMode = Field(
        default="Auto",
        description="Auto: put the payload, or else the model's own input example, through the model before "
        "the port opens; without either, loading is enough. Required: without either, the version is "
        "refused. LoadOnly: loading is enough.",
    )
    timeout_seconds: int = Field(
        default=60, ge=1, le=3600, description="Seconds that the self-test may take."
    )
    path: str = Field(
        default="/invocations",
        max_length=1024,
        description="Path of the request.",
        json_schema_extra=rules(Rule(r"self.matches(r'^/[^\s\p{Cc}]*$')", _PATH_MESSAGE)),
    )
    payload: SelfTestPayload | None = Field(
        default=None, description="Request to use instead of the model's own input example."
    )

    @field_validator("path")
    @classmethod
    def _path_is_absolute(cls, path: str) -> str:
        if not re.fullmatch(r"/[^\s\x00-\x1f\x7f-\x9f]*", path):
            raise ValueError(_PATH_MESSAGE)
        return path

    @model_validator(mode="after")
    def _payload_is_used(self) -> Self:
        if self.payload is not None and self.mode == "LoadOnly":
            raise ValueError(_PAYLOAD_UNUSED.message)
        return self


_ONE_SCALE = Rule(
    "!(has(self.replicas) && has(self.autoscaling))",
    "spec.replicas and spec.autoscaling cannot stand together: remove one",
)
_BY_US = [name for name, row in RUNTIMES.items() if row.our_script]
_BY_THE_IMAGE = [name for name, row in RUNTIMES.items() if not row.our_script]
_TESTED_BY_US = Rule(
    f"{cel_is_one_of('self.server.runtime', _BY_THE_IMAGE, negated=True)} || "
    "!(has(self.selfTest.payload) || self.selfTest.mode == 'Required')",
    f"selfTest.payload and selfTest.mode Required need server.runtime {either(_BY_US)}: with "
    f"{either(_BY_THE_IMAGE)}, the image tests itself before it answers its health path",
)
_NO_COMMAND = Rule(
    f"{cel_is_one_of('self.server.runtime', _BY_THE_IMAGE)} || "
    "!(has(self.server.command) && self.server.command.size() > 0 || "
    "has(self.server.args) && self.server.args.size() > 0)",
    f"server.command and server.args need server.runtime {either(_BY_THE_IMAGE)}: with {either(_BY_US)}, "
    "the operator's script is the command",
)
_BEFORE_TRAFFIC = [name for name, row in STRATEGIES.items() if row.before_traffic]
_IN_TRAFFIC = [name for name, row in STRATEGIES.items() if not row.before_traffic]
_TRIED_BESIDE_TRAFFIC = Rule(
    "!(has(self.gates) && self.gates.approval.mode == 'Manual' && self.gates.approval.at == 'BeforeTraffic') "
    f"|| {cel_is_one_of('self.rollout.strategy', _BEFORE_TRAFFIC)}",
    f"gates.approval.at BeforeTraffic needs rollout.strategy {either(_BEFORE_TRAFFIC)}, since with "
    f"{either(_IN_TRAFFIC)} a ready pod takes requests at once: set rollout.strategy to "
    f"{either(_BEFORE_TRAFFIC)}, or gates.approval.at to BeforeStart",
)


class ModelDeploymentSpec(SpecModel):
    model_config = ConfigDict(
        json_schema_extra=rules(_ONE_SCALE, _TESTED_BY_US, _NO_COMMAND, _TRIED_BESIDE_TRAFFIC)
    )

    model: ModelSpec = Field(description="Which version of which registered model is served.")
    registry: RegistrySpec = Field(default=RegistrySpec(), description="Where the model is registered.")
    fetch: FetchSpec = Field(
        default=FetchSpec(), description="The init container that fetches the model's files."
    )
    server: ServerSpec = Field(default=ServerSpec(), description="The container that serves the model.")
    pod: PodSpec = Field(default=PodSpec(), description="What else the pods need.")
    replicas: int | None = Field(
        default=None,
        ge=0,
        le=10000,
        description="How many pods serve. Left out, and without autoscaling: one at first, and nobody changes "
        "it back when kubectl scale sets another number. Cannot stand beside autoscaling.",
    )
    autoscaling: AutoscalingSpec | None = Field(
        default=None,
        description="Let a HorizontalPodAutoscaler choose the number of pods. Cannot stand beside replicas.",
    )
    service: ServiceSpec = Field(default=ServiceSpec(), description="The Service in front of the pods.")
    self_test: SelfTestSpec = Field(
        default=SelfTestSpec(), description="The request that a version must answer before its port opens."
    )
    gates: GatesSpec = Field(default=GatesSpec(), description="What a version must pass before it may serve.")
    rollout: RolloutSpec = Field(
        default=RolloutSpec(),
        description="How a new version replaces the old one, and how long it is watched afterwards.",
    )
    revert: RevertSpec = Field(
        default=RevertSpec(), description="What happens when a version fails, and what is kept to go back to."
    )
    suspend: bool = Field(
        default=False,
        description="Freeze everything: the registry's answers are not acted on, no rollout is begun, "
        "finished or taken back, nothing is scaled and no drift is repaired. Nothing is touched: the pods, "
        "the Service and an autoscaler go on as they are, so what serves goes on serving. A rollout that "
        "Kubernetes has begun runs on by itself. Set to false again, and the operator goes on from where "
        "things stand.",
    )

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.replicas is not None and self.autoscaling is not None:
            raise ValueError(_ONE_SCALE.message)
        by_us = RUNTIMES[self.server.runtime].our_script
        if not by_us and (self.self_test.payload is not None or self.self_test.mode == "Required"):
            raise ValueError(_TESTED_BY_US.message)
        if by_us and (self.server.command or self.server.args):
            raise ValueError(_NO_COMMAND.message)
        approval = self.gates.approval
        beside_traffic = approval.mode == "Manual" and approval.at == "BeforeTraffic"
        if beside_traffic and not STRATEGIES[self.rollout.strategy].before_traffic:
            raise ValueError(_TRIED_BESIDE_TRAFFIC.message)
        return self
