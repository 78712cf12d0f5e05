"""The spec of a ModelDeployment. The descriptions of its fields go into the CRD."""

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
from model_operator.api.spec_pod import FetchSpec, ImageFrom, PodSpec, Probes, RunAs, ServerSpec
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
    "RunAs",
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

    min_replicas: int = Field(default=1, ge=1, le=10000, description="Lowest number of pods.")
    max_replicas: int = Field(ge=1, le=10000, description="Highest number of pods.")
    target_cpu_utilization_percentage: int | None = Field(
        default=None,
        ge=1,
        le=10000,
        alias="targetCPUUtilizationPercentage",
        description="Average CPU use that the autoscaler aims for, in percent of server.resources.requests.cpu. "
        "If you set neither this nor metrics, it is 70.",
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
        description="Key of a ConfigMap that holds the request body: JSON, as you would send it to path."
    )


_PAYLOAD_UNUSED = Rule(
    "!(has(self.payload) && self.mode == 'LoadOnly')",
    "selfTest.payload is not used with selfTest.mode LoadOnly: remove it, or set mode to Auto or Required",
)
_PATH_MESSAGE = "selfTest.path must start with '/' and contain no spaces, for example /invocations"


class SelfTestSpec(SpecModel):
    model_config = ConfigDict(json_schema_extra=rules(_PAYLOAD_UNUSED))

    mode: SelfTestMode = Field(
        default="Auto",
        description="Auto: before the port opens, the model must answer your payload or, without one, its own "
        "input example. If it has neither, it only has to load. Required: a version with neither is rejected. "
        "LoadOnly: the model only has to load.",
    )
    timeout_seconds: int = Field(
        default=60, ge=1, le=3600, description="Seconds that the self-test may take."
    )
    path: str = Field(
        default="/invocations",
        max_length=1024,
        description="Path of the self-test's request.",
        json_schema_extra=rules(Rule(r"self.matches(r'^/[^\s\p{Cc}]*$')", _PATH_MESSAGE)),
    )
    payload: SelfTestPayload | None = Field(
        default=None, description="Your own request, used instead of the model's input example."
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
    "spec.replicas and spec.autoscaling cannot be used together: remove one",
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

    model: ModelSpec = Field(
        description="The registered model, and the alias, version or stage of it that you want to serve."
    )
    registry: RegistrySpec = Field(default=RegistrySpec(), description="The registry that has the model.")
    fetch: FetchSpec = Field(
        default=FetchSpec(), description="The init container that fetches the model's files."
    )
    server: ServerSpec = Field(default=ServerSpec(), description="The container that serves the model.")
    pod: PodSpec = Field(default=PodSpec(), description="Other settings of the pods.")
    replicas: int | None = Field(
        default=None,
        ge=0,
        le=10000,
        description="Number of pods. If you set neither this nor autoscaling, the operator starts with one pod and "
        "keeps the number that you set with kubectl scale. Cannot be used together with autoscaling.",
    )
    autoscaling: AutoscalingSpec | None = Field(
        default=None,
        description="Lets a HorizontalPodAutoscaler set the number of pods. Cannot be used together with replicas.",
    )
    service: ServiceSpec = Field(default=ServiceSpec(), description="The Service in front of the pods.")
    self_test: SelfTestSpec = Field(
        default=SelfTestSpec(), description="The request that a version must answer before its port opens."
    )
    gates: GatesSpec = Field(
        default=GatesSpec(), description="Checks that a version must pass before it may serve."
    )
    rollout: RolloutSpec = Field(
        default=RolloutSpec(),
        description="How a new version replaces the old one, and how long the operator watches it afterwards.",
    )
    revert: RevertSpec = Field(
        default=RevertSpec(),
        description="Reaction to a version that fails, and the number of revisions kept for your rollbacks.",
    )
    suspend: bool = Field(
        default=False,
        description="true: pauses the operator for this object. It ignores the registry's answers, scales nothing "
        "and repairs no drift. It starts, finishes and reverts no rollout. Your pods, the Service and an autoscaler "
        "keep running, and the serving version keeps serving. A rollout that Kubernetes has begun continues on its "
        "own. When you set it back to false, the operator continues from the state that it finds.",
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
