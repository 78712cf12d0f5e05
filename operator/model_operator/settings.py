"""The operator's configuration file, read once into frozen values.

The file is YAML with the keys of ``Settings`` in camelCase. An unknown, missing or malformed key is an error that names
the key. A typing error therefore never counts as a default.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from model_operator.api.choices import DEFAULT_REGISTRY_KIND, REGISTRY_KINDS, RegistryKind

CONFIG_VARIABLE = "MODEL_OPERATOR_CONFIG"
DEFAULT_PATH = Path("/etc/model-operator/config.yaml")
MAX_LEASE_SECONDS = 300
DEFAULT_SERVER_IMAGE = "model-operator.io/server:dev"
_MAX_FILE_BYTES = 1024 * 1024


class SettingsError(ValueError):
    """The configuration can't be used. The message names the file, each invalid key and the remedy."""


def _http_url(value: str) -> str:
    """Returns an http or https URL without its trailing slash.

    Raises ValueError for another URL, and for one with credentials, query or fragment.
    """
    try:
        parts = urlsplit(value)
        hostname, _port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not hostname:
        raise ValueError("must be a URL such as http://mlflow.mlflow.svc:5000")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not contain credentials: put them into files and set credentialsDir")
    if parts.query or parts.fragment:
        raise ValueError("must have neither a query nor a fragment")
    return value.rstrip("/")


def _http_url_or_empty(value: str) -> str:
    return _http_url(value) if value else value


_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def _dns_label(value: str) -> str:
    if not _LABEL.fullmatch(value):
        raise ValueError("must be lower-case letters, digits and hyphens, at most 63 characters")
    return value


def _dns_label_or_empty(value: str) -> str:
    return _dns_label(value) if value else value


def _object_name_or_empty(value: str) -> str:
    if value and (len(value) > 253 or not _SUBDOMAIN.fullmatch(value)):
        raise ValueError("must be the name of a Kubernetes object")
    return value


def _image(value: str) -> str:
    if not value or re.search(r"\s", value):
        raise ValueError("must be an image reference without spaces")
    return value


def _image_or_empty(value: str) -> str:
    return _image(value) if value else value


_CLUSTER = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def _cluster_name(value: str) -> str:
    if not _CLUSTER.fullmatch(value):
        raise ValueError(
            "must be letters, digits, '-', '_' and '.', begin and end with a letter or digit, "
            "and have at most 63 characters"
        )
    return value


def _workspace(value: str) -> str:
    # it becomes a header and a variable in the pods' environment
    if value and (len(value) > 255 or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value)):
        raise ValueError("must be letters, digits, '-', '_' and '.', and begin with a letter or digit")
    return value


DNSLabel = Annotated[str, AfterValidator(_dns_label)]
ObjectName = Annotated[str, AfterValidator(_object_name_or_empty)]


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        validate_default=True,
    )


class PodCredentials(_Section):
    """The Secret with the registry's credentials for the pods, in the ModelDeployment's namespace."""

    secret: ObjectName = ""
    """Its name. Its keys are username and password, or token. Empty: the pods need no credentials."""


class PodCA(_Section):
    """The ConfigMap with the registry's certificate authority for the pods, in the ModelDeployment's namespace."""

    config_map: ObjectName = ""
    """Its name. Its key is ``ca.crt``. Empty: the image's own authorities are used."""


class RegistryConfig(_Section):
    """One model registry, with the connections of the operator and of the pods."""

    type: RegistryKind = DEFAULT_REGISTRY_KIND
    url: Annotated[str, AfterValidator(_http_url)]
    pod_url: Annotated[str, AfterValidator(_http_url_or_empty)] = ""
    credentials_dir: str = ""
    """Directory with the files username and password, or token, and tls.crt with tls.key if the server requires a
    client certificate. Empty: the operator sends no credentials."""
    ca_file: str = ""
    workspace: Annotated[str, AfterValidator(_workspace)] = ""
    """MLflow's workspace (3.10 and newer), for the operator and the pods. Empty: the server's default."""
    requests_per_second: float = Field(default=50, ge=1, le=10_000)
    """Highest average rate of requests to this registry. The requests of one second may be sent at once."""
    pod_credentials: PodCredentials = PodCredentials()
    pod_ca: PodCA = PodCA()

    @model_validator(mode="after")
    def _has_workspaces(self) -> RegistryConfig:
        if self.workspace and not REGISTRY_KINDS[self.type].workspaces:
            raise ValueError("workspace is for MLflow: a Databricks workspace is chosen by its url")
        return self

    @property
    def url_for_pods(self) -> str:
        """The URL for pods: ``pod_url``, or else the operator's own."""
        return self.pod_url or self.url


_PYTHON = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}(\.[0-9A-Za-z.+-]{1,16})?")
_PACKAGE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")


def _python_or_empty(value: str) -> str:
    if value and not _PYTHON.fullmatch(value):
        raise ValueError("must be a version of Python such as 3.11 or 3.11.9")
    return value


def _package(value: str) -> str:
    if not _PACKAGE.fullmatch(value):
        raise ValueError("must be the name of a Python package")
    # the normalized name of PEP 503
    return re.sub(r"[-_.]+", "-", value).lower()


class Contents(_Section):
    """The packages of a serving image, for the gate ``requirements``."""

    python_version: Annotated[str, AfterValidator(_python_or_empty)] = ""
    packages: dict[Annotated[str, AfterValidator(_package)], Annotated[str, Field(max_length=64)]] = Field(
        default_factory=dict, max_length=2000
    )
    """Version by package. Empty: unknown."""


class Images(_Section):
    """The default images of pods, and the packages of images."""

    server: Annotated[str, AfterValidator(_image)] = DEFAULT_SERVER_IMAGE
    fetch: Annotated[str, AfterValidator(_image_or_empty)] = ""
    contents: dict[Annotated[str, AfterValidator(_image)], Contents] = Field(
        default_factory=dict, max_length=100
    )
    """Packages by serving image, for the images whose packages are known."""

    @property
    def fetch_image(self) -> str:
        """The image of the fetch container: ``fetch``, or else the server's."""
        return self.fetch or self.server


class Webhooks(_Section):
    """The receiver of MLflow's webhooks, which only trigger a poll earlier."""

    port: int = Field(default=0, ge=0, le=65535)
    """0: off."""
    certificate_dir: str = ""
    """Directory with tls.crt and tls.key, read again when they change. Empty: plain http."""
    secret_dir: str = ""
    """Directory with the secrets for signed deliveries, one per file."""
    max_age_seconds: float = Field(default=300, ge=10, le=3600)
    """Largest difference between a delivery's timestamp and our clock, in either direction."""

    @model_validator(mode="after")
    def _signed(self) -> Webhooks:
        if self.port and not self.secret_dir:
            raise ValueError("port needs secretDir: without a secret, anybody could send webhooks")
        return self


class LeaderElection(_Section):
    """Leader election by a Lease. The replica that holds and renews it is the leader. Times are in seconds."""

    enabled: bool = False
    """False: only one replica may run."""
    namespace: Annotated[str, AfterValidator(_dns_label_or_empty)] = ""
    lease_name: ObjectName = "model-operator"
    lease_seconds: int = Field(default=15, ge=2, le=MAX_LEASE_SECONDS)
    """Time until the others take over from a leader that no longer renews."""
    renew_seconds: float = Field(default=10, gt=0)
    """Time until a leader that can't renew its Lease exits."""
    retry_seconds: float = Field(default=2, ge=0.1)
    """Between two reads or renewals of the Lease, with a jitter of a fifth."""

    @model_validator(mode="after")
    def _in_order(self) -> LeaderElection:
        if self.enabled and not (self.namespace and self.lease_name):
            raise ValueError("enabled needs namespace and leaseName of the Lease")
        if not self.retry_seconds * 2 < self.renew_seconds < self.lease_seconds:
            raise ValueError(
                "renewSeconds must be less than leaseSeconds, or two replicas could lead at once, and more than "
                "twice retrySeconds, or one lost answer could end the leadership"
            )
        return self


class InlineRegistries(_Section):
    """Registries that ModelDeployments bring themselves, in spec.registry.url. None is allowed by default."""

    allowed_urls: tuple[Annotated[str, AfterValidator(_http_url)], ...] = Field(default=(), max_length=1000)
    """The exact URLs that are allowed there."""
    secret_names: tuple[ObjectName, ...] = Field(default=(), max_length=100)
    """The allowed names of their credentials' Secrets. The operator reads no other Secret of a namespace."""


class Settings(_Section):
    """The configuration of the whole operator."""

    registries: dict[DNSLabel, RegistryConfig] = Field(min_length=1)
    inline_registries: InlineRegistries = InlineRegistries()
    poll_seconds: float = Field(default=15, ge=1, le=3600)
    cluster_name: Annotated[str, AfterValidator(_cluster_name)] = "default"
    """Distinguishes this cluster's tags on model versions from those of other clusters with the same registry."""
    images: Images = Images()
    max_concurrent_rollouts: int = Field(default=5, ge=1)
    workers: int = Field(default=8, ge=1, le=256)
    watch_namespaces: tuple[DNSLabel, ...] = ()
    """The namespaces that the operator watches. Empty: all."""
    watch_silence_seconds: float = Field(default=70, ge=1, le=3600)
    """A watch without any event for this time is restarted. An API server sends something at least once a minute."""
    resync_seconds: float = Field(default=600, ge=1, le=3600)
    """Between two full lists of the cluster, with a jitter of a fifth. They find changes that no watch reported."""
    metrics_port: int = Field(default=8080, ge=0, le=65535)
    """Port of /metrics, /healthz and /readyz. 0: a free one."""
    metrics_max_model_deployments: int = Field(default=2000, ge=0, le=100_000)
    """How many ModelDeployments have their own series at /metrics, in the order of their names."""
    webhooks: Webhooks = Webhooks()
    leader_election: LeaderElection = LeaderElection()
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


def load(path: Path) -> Settings:
    """Reads and validates the configuration file.

    Raises SettingsError if the file can't be read, is not a YAML mapping, or has an invalid key.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SettingsError(
            f"{path}: cannot be read ({error.strerror}): name the file with --config or {CONFIG_VARIABLE}"
        ) from None
    if len(text) > _MAX_FILE_BYTES:
        raise SettingsError(f"{path}: larger than {_MAX_FILE_BYTES} bytes")
    return parse(text, str(path))


def parse(text: str | bytes, origin: str) -> Settings:
    """Validates a configuration given as YAML text. ``origin`` is its name in errors. Raises SettingsError."""
    try:
        raw = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{origin}: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise SettingsError(f"{origin}: must be a mapping of keys such as registries and pollSeconds")
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        raise SettingsError(f"{origin}: {_explain(error)}") from None


def _explain(error: ValidationError) -> str:
    # never quote the input: a value in the wrong place may be a password
    complaints = []
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        key = ".".join(str(part) for part in problem["loc"] if part != "[key]")
        match problem["type"]:
            case "extra_forbidden":
                message = f"unknown key, known here: {', '.join(_known_keys(problem['loc'][:-1]))}"
            case "missing":
                message = "is missing: add it"
            case _:
                message = problem["msg"].removeprefix("Value error, ")
        complaints.append(f"{key}: {message}")
    return "; ".join(complaints)


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    section: type[BaseModel] = Settings
    if location[:1] == ("registries",):
        section, location = RegistryConfig, location[2:]
    for part in location:
        nested = next(f.annotation for f in section.model_fields.values() if f.alias == part)
        if not (isinstance(nested, type) and issubclass(nested, BaseModel)):
            break
        section = nested
    return sorted(field.alias or name for name, field in section.model_fields.items())
