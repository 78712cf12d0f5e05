"""spec.fetch, spec.server and spec.pod: the containers and the settings of the pods."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from model_operator.api.choices import DEFAULT_RUNTIME, RUNTIMES, Runtime, cel_is_one_of, describe, either
from model_operator.api.names import (
    RESERVED_KEY_PREFIX,
    RESERVED_LABELS,
    RESERVED_VOLUMES,
)
from model_operator.api.schema import (
    LabelMap,
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
    without_crd_default,
)


def _quote(names: tuple[str, ...]) -> str:
    return "[" + ", ".join(f"'{name}'" for name in names) + "]"


_FETCH_VOLUME = Rule(
    "!(has(self.emptyDir) && has(self.ephemeral))",
    "fetch.volume cannot have both emptyDir and ephemeral: remove one",
)


class FetchSpec(SpecModel):
    image: OptionalText = Field(
        default=None,
        description="Image that fetches the model's files. It needs python, mlflow and the artifact store's client. "
        "If you leave it out or empty, the operator's default image is used.",
    )
    env: NamedList = Field(
        default_factory=list, description="Environment variables added to the fetch container."
    )
    env_from: OpenList = Field(
        default_factory=list,
        description="Secrets and ConfigMaps in the same namespace whose keys become environment variables of the "
        "fetch container, for example your artifact store's credentials.",
    )
    volume_mounts: MountList = Field(
        default_factory=list,
        description="Mounts of your pod.volumes in the fetch container, for example the artifact store's certificate "
        "authority.",
    )
    resources: Resources = Field(
        default_factory=dict, description="CPU and memory requests and limits of the fetch container."
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
                        "description": "Space on the node, as in a pod's volumes. sizeLimit is its limit.",
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
        description="Volume for the model's files: emptyDir or ephemeral. If you leave it out, it is an emptyDir.",
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
        description="The image must start with one of these. The operator starts no pod with any other image. End "
        "each prefix with '/' or ':', or you also allow names that are longer.",
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


_WITHOUT_IMAGE = [name for name, row in RUNTIMES.items() if not row.default_image]
_OWN_IMAGE = Rule(
    f"{cel_is_one_of('self.runtime', _WITHOUT_IMAGE, negated=True)} "
    "|| (has(self.image) && self.image != '') || has(self.imageFrom)",
    f"server.runtime {either(_WITHOUT_IMAGE)} has no default image: set server.image or server.imageFrom",
)
_ONE_IMAGE = Rule(
    "!(has(self.image) && self.image != '' && has(self.imageFrom))",
    "server.image and server.imageFrom cannot be used together: remove one",
)

_BY_US = [name for name, row in RUNTIMES.items() if row.our_script]
_BY_THE_IMAGE = [name for name, row in RUNTIMES.items() if not row.our_script]
# settings of the operator's script, by their names in the manifest
_OF_OUR_SCRIPT = {
    alias: Rule(
        f"{cel_is_one_of('self.runtime', _BY_THE_IMAGE, negated=True)} || !has(self.{alias})",
        f"server.{alias} needs server.runtime {either(_BY_US)}: with {either(_BY_THE_IMAGE)}, remove it, and give "
        "the setting of your own server in server.command, server.args or server.env",
    )
    for alias in ("workers", "maxConcurrency", "maxQueue", "batch")
}


class BatchSpec(SpecModel):
    max_rows: int = Field(
        ge=2,
        le=10000,
        description="Most rows of a batch. A request with more rows is predicted by itself.",
    )
    max_wait_milliseconds: int = Field(
        default=5,
        ge=0,
        le=1000,
        description="Longest time that a request waits for others to join it. With 0, only requests that arrive in the "
        "same moment are predicted together.",
    )


class ServerSpec(SpecModel):
    model_config = ConfigDict(json_schema_extra=rules(_OWN_IMAGE, _ONE_IMAGE, *_OF_OUR_SCRIPT.values()))

    runtime: Runtime = Field(
        default=DEFAULT_RUNTIME,
        description=describe(RUNTIMES),
    )
    image: OptionalText = Field(
        default=None,
        description="Image that serves the model. If you leave it out or empty, the operator's default image is used "
        "(runtime MLflow only).",
    )
    image_from: ImageFrom | None = Field(
        default=None, description="Takes the image from a tag that you set on the model version."
    )
    port: Port = Field(default=8080, description="Port that the server listens on.")
    workers: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="Processes of a pod that predict at the same time (runtime MLflow only). If you leave it out, the "
        "pod takes one for each CPU of the server's CPU limit, and one without a limit.",
    )
    max_concurrency: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Requests that a pod works on at once (runtime MLflow only). If you leave it out, it is 32.",
    )
    max_queue: int | None = Field(
        default=None,
        ge=0,
        le=10000,
        description="Requests beyond maxConcurrency that wait in a pod for their turn (runtime MLflow only). If the "
        "queue is full, callers get 503 with Retry-After. If you leave it out, it is 256.",
    )
    batch: BatchSpec | None = Field(
        default=None,
        description="Predicts requests that arrive at about the same time in one call (runtime MLflow only). Use it "
        "for models that answer row by row. If you leave it out, each request is predicted by itself.",
    )
    resources: Resources = Field(
        default_factory=dict, description="CPU, memory and device requests and limits of the server."
    )
    env: NamedList = Field(default_factory=list, description="Environment variables added to the server.")
    env_from: OpenList = Field(
        default_factory=list,
        description="Secrets and ConfigMaps in the same namespace whose keys become environment variables of the "
        "server.",
    )
    volume_mounts: MountList = Field(
        default_factory=list, description="Mounts of your pod.volumes in the server."
    )
    command: TextList = Field(
        default_factory=list, description="Replaces the command of the server container (runtime Custom)."
    )
    args: TextList = Field(
        default_factory=list, description="Arguments of the server container (runtime Custom)."
    )
    security_context: OpenObject = Field(
        default_factory=dict,
        description="Fields that replace those of the server container's security context. The default is non-root, "
        "with a read-only root file system and without capabilities.",
    )
    probes: Probes = Field(default=Probes(), description="Changes to the probes of the server.")

    @model_validator(mode="after")
    def _one_image(self) -> Self:
        if not RUNTIMES[self.runtime].default_image and self.image is None and self.image_from is None:
            raise ValueError(_OWN_IMAGE.message)
        if self.image is not None and self.image_from is not None:
            raise ValueError(_ONE_IMAGE.message)
        return self

    @model_validator(mode="after")
    def _settings_of_our_script(self) -> Self:
        if not RUNTIMES[self.runtime].our_script:
            given = {
                "workers": self.workers,
                "maxConcurrency": self.max_concurrency,
                "maxQueue": self.max_queue,
                "batch": self.batch,
            }
            for alias, value in given.items():
                if value is not None:
                    raise ValueError(_OF_OUR_SCRIPT[alias].message)
        return self


_RESERVED_LABEL = Rule(
    f"!self.exists(key, key.startsWith('{RESERVED_KEY_PREFIX}') || key in {_quote(RESERVED_LABELS)})",
    f"pod.labels: keys under {RESERVED_KEY_PREFIX} and {', '.join(RESERVED_LABELS)} are set by the operator: "
    "remove them",
)
_RESERVED_ANNOTATION = Rule(
    f"!self.exists(key, key.startsWith('{RESERVED_KEY_PREFIX}'))",
    f"pod.annotations: keys under {RESERVED_KEY_PREFIX} are set by the operator: remove them",
)
_RESERVED_VOLUME = Rule(
    f"!self.exists(volume, volume.name in {_quote(RESERVED_VOLUMES)})",
    f"pod.volumes: the names {', '.join(RESERVED_VOLUMES)} are used by the operator: use another name",
)


RunAs = Literal["Fixed", "Platform"]


class PodSpec(SpecModel):
    service_account_name: OptionalText = Field(
        default=None,
        description="Service account of the pods. If you leave it out, it is the namespace's default.",
    )
    automount_service_account_token: bool = Field(
        default=False,
        description="Whether the pods get the account's token for the Kubernetes API. If your cloud gives the account "
        "an identity, such as IRSA, that has its own token, and you don't need this one.",
    )
    node_selector: LabelMap = Field(
        default_factory=dict, description="Labels that a node must have to run the pods."
    )
    tolerations: OpenList = Field(default_factory=list, description="Taints that the pods tolerate.")
    affinity: OpenObject = Field(default_factory=dict, description="Scheduling affinity of the pods.")
    topology_spread_constraints: OpenList = Field(
        default_factory=list, description="How the pods spread over zones and nodes."
    )
    volumes: NamedList = Field(
        default_factory=list,
        description="Volumes added to the pods. You mount them with server.volumeMounts or fetch.volumeMounts.",
        json_schema_extra=rules(_RESERVED_VOLUME),
    )
    labels: LabelMap = Field(
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
        default_factory=list, description="Secrets in the same namespace for pulling your images."
    )
    priority_class_name: OptionalText = Field(default=None, description="Priority class of the pods.")
    run_as: RunAs = Field(
        default="Fixed",
        json_schema_extra=without_crd_default,
        description="Fixed (default): the pods run as user and group 65532. Platform: the operator sets no "
        "runAsUser, runAsGroup and fsGroup, so your platform assigns them, as OpenShift does. The "
        "pods still must not run as root.",
    )
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
