"""The spec of a ModelDeployment. The descriptions of the fields become those of the CRD."""

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

from model_operator.api import reference
from model_operator.api.names import (
    DEFAULT_REGISTRY,
    RESERVED_KEY_PREFIX,
    RESERVED_LABELS,
    RESERVED_VOLUMES,
)
from model_operator.api.reference import MalformedReferenceError, ModelReference
from model_operator.api.schema import (
    MountList,
    NamedList,
    OpenList,
    OpenObject,
    OptionalText,
    Port,
    Resources,
    Rule,
    SpecModel,
    Text,
    TextList,
    TextMap,
    rules,
)

Runtime = Literal["MLflow", "Custom"]
SelfTestMode = Literal["Auto", "Required", "LoadOnly"]
ServiceType = Literal["ClusterIP", "NodePort", "LoadBalancer"]
Stage = Literal["None", "Staging", "Production", "Archived"]


def _quoted(names: tuple[str, ...]) -> str:
    return "[" + ", ".join(f"'{name}'" for name in names) + "]"


# CEL's matches() finds a part of the text, so every pattern is anchored. The same checks in Python are
# those of reference.py; a test on a real API server feeds both with the same texts.
_NAME_CEL = r"[^/:\p{Cc}]+"
_STAGE_OR_LATEST_CEL = "(?i:latest|none|staging|production|archived)"
_URI_RULES = (
    Rule(
        f"self.matches(r'^models:/{_NAME_CEL}(@[\\p{{L}}\\p{{N}}_-]{{1,255}}"
        f"|/[1-9][0-9]{{0,9}}|/{_STAGE_OR_LATEST_CEL})$')"
        r" && !self.matches(r'^models:/(\.\.|\.?[@/]|[\s\p{Z}]+([@/][^@/]*)$)')",
        reference.URI_MESSAGE,
    ),
    Rule(
        "!self.matches(r'@(?i:latest|v[0-9]+)$')",
        reference.RESERVED_ALIAS_MESSAGE.replace("model.alias", "model.uri", 1),
    ),
)
_NAME_RULES = (
    Rule(
        f"self.matches(r'^{_NAME_CEL}$')" r" && !self.matches(r'^(\.\.|\.$|[\s\p{Z}]*$)')",
        reference.NAME_MESSAGE,
    ),
)
_ALIAS_RULES = (
    Rule(r"self.matches(r'^[\p{L}\p{N}_-]+$')", reference.ALIAS_MESSAGE),
    Rule("!self.matches(r'^(?i:latest|v[0-9]+)$')", reference.RESERVED_ALIAS_MESSAGE),
)
_VERSION_RULES = (
    Rule(
        "type(self) == int ? self > 0 : self.matches(r'^([1-9][0-9]{0,9}|(?i:latest))$')",
        reference.VERSION_MESSAGE,
    ),
)
_URI_ALONE = Rule(
    "!(has(self.uri) && (has(self.name) || has(self.alias) || has(self.version) || has(self.stage)))",
    "model.uri cannot stand beside model.name, alias, version or stage: keep either uri, or name with "
    "exactly one of alias, version, stage",
)
_MODEL_GIVEN = Rule(
    "has(self.uri) || has(self.name)",
    "model.uri or model.name is missing: give either uri, or name with exactly one of alias, version, stage",
)
_ONE_CHOICE = Rule(
    "has(self.uri) || !has(self.name) || "
    "[has(self.alias), has(self.version), has(self.stage)].filter(given, given).size() == 1",
    "model.name needs exactly one of model.alias, model.version, model.stage beside it",
)


def _uri_is_readable(uri: str) -> str:
    reference.parse_reference(uri)
    return uri


def _name_is_valid(name: str) -> str:
    reference.check_name(name)
    return name


def _alias_is_valid(alias: str) -> str:
    reference.check_alias(alias)
    return alias


def _version_as_text(version: object) -> object:
    if isinstance(version, int) and not isinstance(version, bool):
        return str(version)
    return version


def _version_is_valid(version: str) -> str:
    reference.choose_version("any", version)
    return version


class ModelSpec(SpecModel):
    model_config = ConfigDict(json_schema_extra=rules(_URI_ALONE, _MODEL_GIVEN, _ONE_CHOICE))

    uri: Annotated[str, AfterValidator(_uri_is_readable)] | None = Field(
        default=None,
        max_length=reference.MAX_URI_LENGTH,
        description=f"The model as one URI: {reference.URI_FORMS}. It is taken literally, without "
        "percent-decoding. Give either uri, or name with exactly one of alias, version, stage.",
        json_schema_extra=rules(*_URI_RULES),
    )
    name: Annotated[str, AfterValidator(_name_is_valid)] | None = Field(
        default=None,
        max_length=reference.MAX_MODEL_NAME_LENGTH,
        description="Name of the registered model, beside exactly one of alias, version, stage.",
        json_schema_extra=rules(*_NAME_RULES),
    )
    alias: Annotated[str, AfterValidator(_alias_is_valid)] | None = Field(
        default=None,
        max_length=reference.MAX_ALIAS_LENGTH,
        description="Alias to follow, without the '@': when it moves in the registry, the pods follow.",
        json_schema_extra=rules(*_ALIAS_RULES),
    )
    version: (
        Annotated[
            str,
            BeforeValidator(_version_as_text),
            AfterValidator(_version_is_valid),
            WithJsonSchema({"x-kubernetes-int-or-string": True, **rules(*_VERSION_RULES)}),
        ]
        | None
    ) = Field(
        default=None,
        description="Exact version to serve, for example 3; or latest, which follows the highest version.",
    )
    stage: Stage | None = Field(
        default=None, description="Stage to follow (MLflow's older way): its newest version is served."
    )

    @model_validator(mode="after")
    def _one_notation(self) -> Self:
        choices = [choice for choice in (self.alias, self.version, self.stage) if choice is not None]
        if self.uri is not None and (self.name is not None or choices):
            raise ValueError(_URI_ALONE.message)
        if self.uri is None and self.name is None:
            raise ValueError(_MODEL_GIVEN.message)
        if self.uri is None and len(choices) != 1:
            raise ValueError(_ONE_CHOICE.message)
        return self

    def reference(self) -> ModelReference:
        """The version that is meant, the same for both notations."""
        if self.uri is not None:
            return reference.parse_reference(self.uri)
        if self.name is None:
            raise MalformedReferenceError(_MODEL_GIVEN.message)
        if self.version is not None:
            return reference.choose_version(self.name, self.version)
        return ModelReference(self.name, alias=self.alias, stage=self.stage)


class RegistrySpec(SpecModel):
    name: str = Field(
        default=DEFAULT_REGISTRY,
        min_length=1,
        max_length=63,
        pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$",
        description="Name of a registry in the operator's configuration.",
    )


_FETCH_VOLUME = Rule(
    "!(has(self.emptyDir) && has(self.ephemeral))",
    "fetch.volume takes one of emptyDir and ephemeral: remove the other",
)


class FetchSpec(SpecModel):
    image: OptionalText = Field(
        default=None,
        description="Image that fetches the model's files: needs python, mlflow and the artifact store's "
        "client. Left out or empty: the operator's default.",
    )
    env: NamedList = Field(
        default_factory=list, description="Environment variables added to the fetching container."
    )
    env_from: OpenList = Field(
        default_factory=list,
        description="Secrets and ConfigMaps of the same namespace whose keys become environment variables of "
        "the fetching container, for example the artifact store's credentials.",
    )
    resources: Resources = Field(
        default_factory=dict, description="CPU and memory requests and limits of the fetching container."
    )
    volume: Annotated[
        dict[str, Any],
        WithJsonSchema(
            {
                "type": "object",
                "properties": {
                    "emptyDir": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                        "description": "Space on the node, as in a pod's volumes; sizeLimit bounds it.",
                    },
                    "ephemeral": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                        "description": "A claim per pod, as in a pod's volumes: volumeClaimTemplate.",
                    },
                },
                **rules(_FETCH_VOLUME),
            }
        ),
    ] = Field(
        default_factory=dict,
        description="Where the model's files are put: emptyDir or ephemeral. Left out: an emptyDir.",
    )

    @field_validator("volume")
    @classmethod
    def _one_known_source(cls, volume: dict[str, Any]) -> dict[str, Any]:
        if len(volume) > 1:
            raise ValueError(_FETCH_VOLUME.message)
        if not volume.keys() <= {"emptyDir", "ephemeral"}:
            raise ValueError("fetch.volume must be emptyDir or ephemeral")
        return volume


_PREFIXES = Rule(
    "self.allowedPrefixes.size() > 0",
    "server.imageFrom.allowedPrefixes must name at least one prefix of the images that may run, for example "
    "registry.example.com/models/",
)


class ImageFrom(SpecModel):
    model_config = ConfigDict(json_schema_extra=rules(_PREFIXES))

    tag: str = Field(
        min_length=1, max_length=250, description="Tag of the model version whose value is the image to run."
    )
    allowed_prefixes: Annotated[
        list[Text],
        WithJsonSchema(
            {
                "type": "array",
                "items": {"type": "string", "minLength": 1, "maxLength": 1024},
                "maxItems": 32,
                "x-kubernetes-list-type": "set",
            }
        ),
    ] = Field(
        max_length=32,
        description="The image must start with one of these; anything else is refused. End a prefix with '/' "
        "or ':' so that no longer name matches it.",
    )

    @field_validator("allowed_prefixes")
    @classmethod
    def _at_least_one(cls, prefixes: list[str]) -> list[str]:
        if not prefixes:
            raise ValueError(_PREFIXES.message)
        return prefixes


class Probes(SpecModel):
    startup: OpenObject = Field(
        default_factory=dict, description="Fields that replace those of the startup probe."
    )
    readiness: OpenObject = Field(
        default_factory=dict, description="Fields that replace those of the readiness probe."
    )
    liveness: OpenObject = Field(
        default_factory=dict, description="Fields that replace those of the liveness probe."
    )


_CUSTOM_IMAGE = Rule(
    "self.runtime != 'Custom' || (has(self.image) && self.image != '') || has(self.imageFrom)",
    "server.runtime Custom has no default image: set server.image or server.imageFrom",
)
_ONE_IMAGE = Rule(
    "!(has(self.image) && self.image != '' && has(self.imageFrom))",
    "server.image and server.imageFrom cannot stand together: remove one",
)


class ServerSpec(SpecModel):
    model_config = ConfigDict(json_schema_extra=rules(_CUSTOM_IMAGE, _ONE_IMAGE))

    runtime: Runtime = Field(
        default="MLflow",
        description="MLflow: the operator's script loads the model with MLflow, tests it, then serves it. "
        "Custom: the image's own command serves the model from /model and answers on a health path.",
    )
    image: OptionalText = Field(
        default=None,
        description="Image that serves the model. Left out or empty: the operator's default (runtime MLflow "
        "only).",
    )
    image_from: ImageFrom | None = Field(
        default=None, description="Take the image from a tag of the model version."
    )
    port: Port = Field(default=8080, description="Port that the server listens on.")
    resources: Resources = Field(
        default_factory=dict, description="CPU, memory and device requests and limits of the server."
    )
    env: NamedList = Field(default_factory=list, description="Environment variables added to the server.")
    env_from: OpenList = Field(
        default_factory=list,
        description="Secrets and ConfigMaps of the same namespace whose keys become environment variables of "
        "the server.",
    )
    volume_mounts: MountList = Field(
        default_factory=list, description="Mounts of the volumes of pod.volumes in the server."
    )
    command: TextList = Field(
        default_factory=list, description="Replaces the command of the server container (runtime Custom)."
    )
    args: TextList = Field(
        default_factory=list, description="Arguments of the server container (runtime Custom)."
    )
    security_context: OpenObject = Field(
        default_factory=dict,
        description="Fields that replace those of the server container's security context, which by default "
        "is non-root, with a read-only root file system and without capabilities.",
    )
    probes: Probes = Field(default=Probes(), description="Changes to the probes of the server.")

    @model_validator(mode="after")
    def _one_image(self) -> Self:
        if self.runtime == "Custom" and self.image is None and self.image_from is None:
            raise ValueError(_CUSTOM_IMAGE.message)
        if self.image is not None and self.image_from is not None:
            raise ValueError(_ONE_IMAGE.message)
        return self


_RESERVED_LABEL = Rule(
    f"!self.exists(key, key.startsWith('{RESERVED_KEY_PREFIX}') || key in {_quoted(RESERVED_LABELS)})",
    f"pod.labels: keys under {RESERVED_KEY_PREFIX} and {', '.join(RESERVED_LABELS)} are set by the operator: "
    "remove them",
)
_RESERVED_ANNOTATION = Rule(
    f"!self.exists(key, key.startsWith('{RESERVED_KEY_PREFIX}'))",
    f"pod.annotations: keys under {RESERVED_KEY_PREFIX} are set by the operator: remove them",
)
_RESERVED_VOLUME = Rule(
    f"!self.exists(volume, volume.name in {_quoted(RESERVED_VOLUMES)})",
    f"pod.volumes: the names {', '.join(RESERVED_VOLUMES)} are taken by the operator: use another name",
)


class PodSpec(SpecModel):
    service_account_name: OptionalText = Field(
        default=None, description="Service account of the pods. Left out: the namespace's default."
    )
    node_selector: TextMap = Field(
        default_factory=dict, description="Labels that a node must have to run the pods."
    )
    tolerations: OpenList = Field(default_factory=list, description="Taints that the pods tolerate.")
    affinity: OpenObject = Field(default_factory=dict, description="Scheduling affinity of the pods.")
    topology_spread_constraints: OpenList = Field(
        default_factory=list, description="How the pods spread over zones and nodes."
    )
    volumes: NamedList = Field(
        default_factory=list,
        description="Volumes added to the pods; server.volumeMounts mounts them.",
        json_schema_extra=rules(_RESERVED_VOLUME),
    )
    labels: TextMap = Field(
        default_factory=dict,
        description="Labels added to the pods.",
        json_schema_extra=rules(_RESERVED_LABEL),
    )
    annotations: TextMap = Field(
        default_factory=dict,
        description="Annotations added to the pods.",
        json_schema_extra=rules(_RESERVED_ANNOTATION),
    )
    termination_grace_period_seconds: int = Field(
        default=60,
        ge=10,
        le=3600,
        description="Seconds that a pod may take to finish its requests and stop.",
    )
    image_pull_secrets: NamedList = Field(
        default_factory=list, description="Secrets of the same namespace that open image registries."
    )
    priority_class_name: OptionalText = Field(default=None, description="Priority class of the pods.")
    security_context: OpenObject = Field(
        default_factory=dict, description="Fields that replace those of the pods' security context."
    )
    runtime_class_name: OptionalText = Field(default=None, description="Runtime class of the pods.")

    @field_validator("volumes")
    @classmethod
    def _volumes_are_free(cls, volumes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if any(volume.get("name") in RESERVED_VOLUMES for volume in volumes):
            raise ValueError(_RESERVED_VOLUME.message)
        return volumes

    @field_validator("labels")
    @classmethod
    def _labels_are_free(cls, labels: dict[str, str]) -> dict[str, str]:
        if any(key.startswith(RESERVED_KEY_PREFIX) or key in RESERVED_LABELS for key in labels):
            raise ValueError(_RESERVED_LABEL.message)
        return labels

    @field_validator("annotations")
    @classmethod
    def _annotations_are_free(cls, annotations: dict[str, str]) -> dict[str, str]:
        if any(key.startswith(RESERVED_KEY_PREFIX) for key in annotations):
            raise ValueError(_RESERVED_ANNOTATION.message)
        return annotations


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
        "Left out, and without metrics: 80.",
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

    max_surge: Annotated[StrictInt | StrictStr, *_count_or_percent(_SURGE_PERCENT, _SURGE_MESSAGE)] = Field(
        default=1,
        description="How many pods may run above the wanted number during a rollout: a number or a percent.",
    )
    max_unavailable: Annotated[
        StrictInt | StrictStr, *_count_or_percent(_UNAVAILABLE_PERCENT, _UNAVAILABLE_MESSAGE)
    ] = Field(
        default=0,
        description="How many pods may be missing during a rollout: a number or a percent. Where there is "
        "no spare capacity: 1, with maxSurge 0.",
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

    @model_validator(mode="after")
    def _room_to_move(self) -> Self:
        if str(self.max_surge) in ("0", "0%") and str(self.max_unavailable) in ("0", "0%"):
            raise ValueError(_NO_ROOM.message)
        return self


class RevertSpec(SpecModel):
    history_limit: int = Field(
        default=10, ge=1, le=50, description="How many former revisions are kept to go back to."
    )


_ONE_SCALE = Rule(
    "!(has(self.replicas) && has(self.autoscaling))",
    "spec.replicas and spec.autoscaling cannot stand together: remove one",
)
_TESTED_BY_US = Rule(
    "self.server.runtime != 'Custom' || !(has(self.selfTest.payload) || self.selfTest.mode == 'Required')",
    "selfTest.payload and selfTest.mode Required need server.runtime MLflow: with Custom, the image tests "
    "itself before it answers its health path",
)
_NO_COMMAND = Rule(
    "self.server.runtime == 'Custom' || "
    "!(has(self.server.command) && self.server.command.size() > 0 || "
    "has(self.server.args) && self.server.args.size() > 0)",
    "server.command and server.args need server.runtime Custom: with MLflow, the operator's script is "
    "the command",
)


class ModelDeploymentSpec(SpecModel):
    model_config = ConfigDict(json_schema_extra=rules(_ONE_SCALE, _TESTED_BY_US, _NO_COMMAND))

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
        description="How many pods serve. Left out, and without autoscaling: kubectl scale decides, from 1. "
        "Cannot stand beside autoscaling.",
    )
    autoscaling: AutoscalingSpec | None = Field(
        default=None,
        description="Let a HorizontalPodAutoscaler choose the number of pods. Cannot stand beside replicas.",
    )
    service: ServiceSpec = Field(default=ServiceSpec(), description="The Service in front of the pods.")
    self_test: SelfTestSpec = Field(
        default=SelfTestSpec(), description="The request that a version must answer before its port opens."
    )
    rollout: RolloutSpec = Field(default=RolloutSpec(), description="How a new version replaces the old one.")
    revert: RevertSpec = Field(default=RevertSpec(), description="What is kept to go back to.")

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.replicas is not None and self.autoscaling is not None:
            raise ValueError(_ONE_SCALE.message)
        custom = self.server.runtime == "Custom"
        if custom and (self.self_test.payload is not None or self.self_test.mode == "Required"):
            raise ValueError(_TESTED_BY_US.message)
        if not custom and (self.server.command or self.server.args):
            raise ValueError(_NO_COMMAND.message)
        return self
