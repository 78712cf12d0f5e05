"""The pods' access to a registry: the Secrets and ConfigMaps of their namespace.

The operator checks them before a rollout starts, since a pod whose Secret is missing waits without a clear error. It
also uses the Secret's values to redact them from a container's termination message before it quotes the message.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote

from model_operator.domain.objects import Kind, Object, ObjectRef, change_messages, part
from model_operator.domain.world import PodRegistry
from model_operator.kube import ApiError, Forbidden, KubeClient, NotFound
from model_operator.planner.manifests.registry_env import REGISTRY_ACCESS, REGISTRY_CA_KEY
from model_operator.registry import RegistryId
from model_operator.settings import PodCA, PodCredentials, RegistryConfig, Settings

TTL_SECONDS = 60.0
STRUCK_OUT = "***"
_SHORTEST_SECRET = 4
"""A shorter value would redact ordinary words, and protects nothing."""
_NO_SECRET = frozenset({"username", "tls.crt", REGISTRY_CA_KEY})


def describe_registry(registry: RegistryId, configured: Settings) -> RegistryConfig | None:
    """The registry in the form of a configuration entry. None if there is no such entry or it is not allowed."""
    if registry.entry:
        return configured.registries.get(registry.entry)
    inline = configured.inline_registries
    if registry.url not in inline.allowed_urls:
        return None
    if registry.credentials_secret and registry.credentials_secret not in inline.secret_names:
        return None
    return RegistryConfig.model_validate(
        {
            "type": registry.type,
            "url": registry.url,
            "pod_credentials": PodCredentials(secret=registry.credentials_secret),
            "pod_ca": PodCA(config_map=registry.ca_config_map),
        }
    )


class TenantObjects:
    """Reads the Secrets and ConfigMaps of registries in specs. It reads only Secrets with allowed names."""

    def __init__(self, kube: KubeClient, secret_names: Collection[str]) -> None:
        self._kube = kube
        self._secret_names = frozenset(secret_names)

    async def read(self, kind: str, namespace: str, name: str) -> Mapping[str, bytes] | str:
        """The values of the Secret or ConfigMap, or the reason why there are none. Never raises."""
        if kind == "Secret" and name not in self._secret_names:
            known = ", ".join(sorted(self._secret_names)) or "none"
            return (
                f"spec.registry.credentialsSecret: {name} is not one of inlineRegistries.secretNames in the operator's "
                f"configuration, which are: {known}"
            )
        where = ObjectRef(Kind(kind), namespace, name)
        try:
            found = await self._kube.get(where)
        except NotFound:
            return f"there is no {where} in namespace {namespace}: create it"
        except Forbidden:
            return f"the operator may not read the {where} in namespace {namespace}: grant it get"
        except ApiError as error:
            return f"the {where} in namespace {namespace} can't be read: {error.message[:200]}"
        data = part(found, "data")
        if kind == "ConfigMap":
            return {key: str(value).encode() for key, value in data.items()}
        try:
            return {key: base64.b64decode(value, validate=True) for key, value in data.items()}
        except ValueError:
            return f"the {where} in namespace {namespace} holds values that are not base64"


class PodRegistries:
    """Looks up Secrets and ConfigMaps by name. It caches existing ones for a minute, and missing ones not at all."""

    def __init__(self, kube: KubeClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._clock = clock
        self._found: dict[ObjectRef, tuple[float, frozenset[str]]] = {}
        self._words: dict[ObjectRef, tuple[frozenset[str], frozenset[str]]] = {}
        """For each Secret, every form in which a message could contain it, now and before its last change."""

    async def of(self, namespace: str, config: RegistryConfig | None) -> tuple[PodRegistry, str]:
        """The access of pods in ``namespace`` to that registry, and a problem, which is empty if there is none.

        Returns names of keys and never a value. Raises ApiError if the API server can't be reached.
        """
        if config is None:
            return PodRegistry(""), ""  # the resolver reports an unknown registry
        secret, ca = config.pod_credentials.secret, config.pod_ca.config_map
        plain = PodRegistry(
            config.url_for_pods, ca_config_map=ca, workspace=config.workspace, type=config.type
        )
        if ca:
            where = ObjectRef(Kind.CONFIG_MAP, namespace, ca)
            keys, error = await self._keys(where)
            if error or REGISTRY_CA_KEY not in keys:
                return plain, error or f"the {where} in namespace {namespace} has no key {REGISTRY_CA_KEY}"
        if not secret:
            return plain, ""
        where = ObjectRef(Kind.SECRET, namespace, secret)
        keys, error = await self._keys(where)
        if error:
            return plain, error
        access = REGISTRY_ACCESS[config.type]
        if missing := access.missing(keys):
            return plain, f"the {where} in namespace {namespace} has no value for {missing}"
        return replace(plain, secret=secret, secret_keys=keys & access.keys), ""

    def redact(self, namespace: str, pods: Sequence[Object]) -> list[Object]:
        """The pods, with the known secrets of their namespace redacted from the messages in their status.

        A custom server may print its password before it crashes, and the kubelet keeps the end of its log.
        """
        found = [both for where, both in self._words.items() if where.namespace == namespace]
        words = sorted({word for both in found for word in (*both[0], *both[1])}, key=len, reverse=True)
        if not words:
            return list(pods)
        return [change_messages(pod, lambda message: _strike_out(message, words)) for pod in pods]

    async def _keys(self, where: ObjectRef) -> tuple[frozenset[str], str]:
        """The keys with a value, and a problem."""
        now = self._clock()
        asked, known = self._found.get(where, (now - TTL_SECONDS, frozenset[str]()))
        if now - asked < TTL_SECONDS:
            return known, ""
        try:
            found = await self._ask(where)
        except Forbidden:
            return (
                frozenset(),
                f"the operator may not read the {where} in namespace {where.namespace}: grant it get",
            )
        if found is None:
            remedy = (
                f"with the key {REGISTRY_CA_KEY}"
                if where.kind is Kind.CONFIG_MAP
                else "with username and password, or token"
            )
            return frozenset(), f"there is no {where} in namespace {where.namespace}: create it, {remedy}"
        self._found[where] = (now, found)
        return found, ""

    async def _ask(self, where: ObjectRef) -> frozenset[str] | None:
        if where.kind is Kind.SECRET:
            secret = await self._kube.get_secret(where.namespace, where.name)
            if secret is None:
                return None
            words, (known, before) = _forms(secret), self._words.get(where, (frozenset(), frozenset()))
            # a pod that started before the change has the previous values
            self._words[where] = (words, before if words == known else known)
            return frozenset(secret)
        try:
            found = await self._kube.get(where)
        except NotFound:
            return None
        return frozenset(key for key, value in part(found, "data").items() if value)


def _forms(secret: Mapping[str, bytes]) -> frozenset[str]:
    """The secret values in plain text, in base64, in a URL, in JSON, and in a basic Authorization header."""
    user = secret.get("username", b"")
    words: set[str] = set()
    for key, value in secret.items():
        text = value.decode(errors="replace").strip()
        if key in _NO_SECRET or len(text) < _SHORTEST_SECRET:
            continue
        # each line of a private key is a secret
        lines = [line for line in text.splitlines() if len(line) >= _SHORTEST_SECRET and "-----" not in line]
        words |= {text, *lines, quote(text, safe=""), json.dumps(text)[1:-1]}
        words |= {base64.b64encode(whole).decode() for whole in (value, user + b":" + value)}
    return frozenset(words)


def _strike_out(message: str, words: Sequence[str]) -> str:
    """Redacts messages only, since a password may equal one of Kubernetes' own words."""
    for word in words:
        message = message.replace(word, STRUCK_OUT)
    return message
