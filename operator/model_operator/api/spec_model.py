"""spec.model and spec.registry: the registered model, the choice of its version, and the registry."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from model_operator.api import reference
from model_operator.api.choices import DEFAULT_REGISTRY_KIND, RegistryKind
from model_operator.api.names import (
    DEFAULT_REGISTRY,
)
from model_operator.api.reference import MalformedReferenceError, ModelReference
from model_operator.api.schema import (
    Rule,
    SpecModel,
    rules,
)

Stage = Literal["None", "Staging", "Production", "Archived"]

# CEL's matches() finds a part of the text, so every pattern is anchored. reference.py has the same checks in
# Python. A test feeds the same texts to both, with a real API server.
_NAME_CEL = r"[^/:\p{Cc}]{1,256}"
_STAGE_OR_LATEST_CEL = "(?i:latest|none|staging|production|archived)"
_URI_RULES = (
    Rule(
        f"self.matches(r'^models:/{_NAME_CEL}(@[\\p{{L}}\\p{{N}}_-]{{1,255}}"
        f"|/[1-9][0-9]{{0,9}}|/{_STAGE_OR_LATEST_CEL})$')"
        r" && !self.matches(r'^models:/(\.\.|(\.|[\s\p{Z}]+)(@[^@/]*|/[^/]*)$)')",
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
        "type(self) == int ? self > 0 && self < 10000000000 "
        ": self.matches(r'^([1-9][0-9]{0,9}|(?i:latest))$')",
        reference.VERSION_MESSAGE,
    ),
)
_URI_ALONE = Rule(
    "!(has(self.uri) && (has(self.name) || has(self.alias) || has(self.version) || has(self.stage)))",
    "model.uri cannot be used together with model.name, alias, version or stage: keep either uri, or name with "
    "exactly one of alias, version, stage",
)
_MODEL_GIVEN = Rule(
    "has(self.uri) || has(self.name)",
    "model.uri or model.name is missing: set either uri, or name with exactly one of alias, version, stage",
)
_ONE_CHOICE = Rule(
    "has(self.uri) || !has(self.name) || "
    "[has(self.alias), has(self.version), has(self.stage)].filter(given, given).size() == 1",
    "model.name needs exactly one of model.alias, model.version, model.stage",
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


_Uri = Annotated[str, Field(max_length=reference.MAX_URI_LENGTH), AfterValidator(_uri_is_readable)]
_Name = Annotated[str, Field(max_length=reference.MAX_MODEL_NAME_LENGTH), AfterValidator(_name_is_valid)]
_Alias = Annotated[str, Field(max_length=reference.MAX_ALIAS_LENGTH), AfterValidator(_alias_is_valid)]
_Version = Annotated[
    str,
    BeforeValidator(_version_as_text),
    AfterValidator(_version_is_valid),
    WithJsonSchema({"x-kubernetes-int-or-string": True, **rules(*_VERSION_RULES)}),
]


class ModelSpec(SpecModel):
    model_config = ConfigDict(json_schema_extra=rules(_URI_ALONE, _MODEL_GIVEN, _ONE_CHOICE))

    uri: _Uri | None = Field(
        default=None,
        description=f"The model as one URI: {reference.URI_FORMS}. The operator reads it literally, "
        "without percent-decoding. Set either uri, or name with exactly one of alias, version, stage.",
        json_schema_extra=rules(*_URI_RULES),
    )
    name: _Name | None = Field(
        default=None,
        description="Name of the registered model. Set exactly one of alias, version, stage with it.",
        json_schema_extra=rules(*_NAME_RULES),
    )
    alias: _Alias | None = Field(
        default=None,
        description="Alias to follow, without the '@'. When you move it in the registry, the operator rolls out the "
        "new version.",
        json_schema_extra=rules(*_ALIAS_RULES),
    )
    version: _Version | None = Field(
        default=None,
        description="Exact version to serve, for example 3. With latest, the operator follows the highest version.",
    )
    stage: Stage | None = Field(
        default=None,
        description="Stage to follow (MLflow's older mechanism). The newest version in it serves.",
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
        """Returns the reference to the version, the same for both notations. Raises MalformedReferenceError."""
        if self.uri is not None:
            return reference.parse_reference(self.uri)
        if self.name is None:
            raise MalformedReferenceError(_MODEL_GIVEN.message)
        if self.version is not None:
            return reference.choose_version(self.name, self.version)
        return ModelReference(self.name, alias=self.alias, stage=self.stage)


# scheme, host (a name or an address) with port, path. A user or a query is not allowed
_URL = r"^https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?$"
_OBJECT_NAME = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
_NAME_OR_URL = Rule(
    "!has(self.url) || !has(self.name) || self.name == 'default'",
    "registry.name cannot be used together with registry.url: name a configured registry, or describe one by its url",
)
_ONLY_WITH_URL = Rule(
    "has(self.url) || !(has(self.credentialsSecret) || has(self.caConfigMap) || "
    f"(has(self.type) && self.type != '{DEFAULT_REGISTRY_KIND}'))",
    "registry.type, registry.credentialsSecret and registry.caConfigMap need registry.url: those of a configured "
    "registry are in the operator's configuration",
)
_NameOfObject = Annotated[str, Field(min_length=1, max_length=253, pattern=_OBJECT_NAME)]


class RegistrySpec(SpecModel):
    model_config = ConfigDict(json_schema_extra=rules(_NAME_OR_URL, _ONLY_WITH_URL))

    name: str = Field(
        default=DEFAULT_REGISTRY,
        min_length=1,
        max_length=63,
        pattern=_OBJECT_NAME,
        description="Name of a registry in the operator's configuration.",
    )
    url: Annotated[str, Field(min_length=1, max_length=2048, pattern=_URL)] | None = Field(
        default=None,
        description="URL of your own registry, instead of a name. The operator's configuration must allow it "
        "(inlineRegistries.allowedUrls).",
    )
    type: RegistryKind = Field(default=DEFAULT_REGISTRY_KIND, description="With url: kind of the registry.")
    credentials_secret: _NameOfObject | None = Field(
        default=None,
        description="With url: your Secret in this namespace, used by the operator and the pods. It has username and "
        "password, or token, and tls.crt and tls.key if the registry requires a client certificate. If you leave it "
        "out, no credentials are sent.",
    )
    ca_config_map: _NameOfObject | None = Field(
        default=None,
        description="With url: your ConfigMap in this namespace with the registry's certificate authority in ca.crt.",
    )

    @model_validator(mode="after")
    def _named_or_described(self) -> Self:
        if self.url is not None and self.name != DEFAULT_REGISTRY:
            raise ValueError(_NAME_OR_URL.message)
        described = self.credentials_secret or self.ca_config_map or self.type != DEFAULT_REGISTRY_KIND
        if self.url is None and described:
            raise ValueError(_ONLY_WITH_URL.message)
        return self
