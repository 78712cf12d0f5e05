"""Credentials and CA of a registry, read from files or from a tenant's own objects."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from model_operator.domain.registry import ResolutionReason
from model_operator.registry.clients.base import RegistryError

MAX_BYTES = 65_536
MAX_CA_BYTES = 1024 * 1024
KEYS = "username and password, or token, or tls.crt and tls.key"
CERTIFICATE, KEY = "tls.crt", "tls.key"
CA_KEY = "ca.crt"
_NAMES = ("username", "password", "token", CERTIFICATE, KEY)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The value of the Authorization header (None: no credentials), never printed."""

    authorization: str | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Every form in which a server's answer could contain the secret, longest first."""

    def redact(self, text: str) -> str:
        """The text without these secrets."""
        for secret in self.secrets:
            text = text.replace(secret, "[redacted]")
        return text


@dataclass(frozen=True, slots=True)
class Trust:
    """The CA and the client certificate of a TLS connection, as PEM. Empty means none."""

    ca: bytes = b""
    certificate: bytes = field(default=b"", repr=False)
    """The client certificate, with its key."""


class Access(Protocol):
    """The access to a registry for its followers. Renewed credentials are read again without a restart."""

    @property
    def untrusted(self) -> bool:
        """Whether a tenant named the URL. If so, addresses of this machine and proxies are not used."""
        ...

    @property
    def place(self) -> str:
        """The place of the credentials, for messages. Empty without credentials."""
        ...

    @property
    def remedy(self) -> str:
        """The remedy for missing credentials, for messages."""
        ...

    @property
    def authority(self) -> str:
        """The remedy for an untrusted or broken CA, for messages."""
        ...

    async def read(self) -> tuple[Credentials, Trust]:
        """The current credentials. Raises RegistryError (RegistryMisconfigured)."""
        ...


class FileAccess:
    """The operator's own credentials for an entry of its configuration, in files that Kubernetes mounts and renews."""

    untrusted = False
    remedy = "Set its credentialsDir to a directory with username and password, or token"

    def __init__(self, entry: str, directory: Path | None, ca_file: Path | None) -> None:
        """``directory`` is the entry's credentialsDir, ``ca_file`` its caFile. None if not set."""
        self._entry = entry
        self._directory = directory
        self._ca_file = ca_file

    @property
    def place(self) -> str:
        """See Access."""
        return str(self._directory or "")

    @property
    def authority(self) -> str:
        """See Access."""
        return f"Check {self._ca_file}" if self._ca_file else "Set caFile to the CA that signed it"

    async def read(self) -> tuple[Credentials, Trust]:
        """See Access."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> tuple[Credentials, Trust]:
        credentials = read_credentials(self._directory, self._entry)
        certificate = read_certificate(self._directory, self._entry)
        if self._ca_file is None:
            return credentials, Trust(b"", certificate)
        try:
            with self._ca_file.open("rb") as file:
                ca = file.read(MAX_CA_BYTES)
        except OSError as error:
            raise misconfigured(
                self._entry,
                f"CA file {self._ca_file} can't be read: {error.strerror}. Mount the CA's ConfigMap there",
            ) from None
        return credentials, Trust(ca, certificate)


ReadObject = Callable[[str, str, str], Awaitable[Mapping[str, bytes] | str]]
"""Takes Secret or ConfigMap, a namespace and a name. Returns the data, or the reason why there is none."""


class ObjectAccess:
    """A tenant's credentials for its own registry, in a Secret and a ConfigMap of its namespace, read by name."""

    untrusted = True
    remedy = "Name a Secret of this namespace in spec.registry.credentialsSecret"

    def __init__(
        self, entry: str, read_object: ReadObject, namespace: str, secret: str, config_map: str
    ) -> None:
        """An empty name is "none". ``entry`` is the registry's name in messages."""
        self._entry = entry
        self._read_object = read_object
        self._namespace = namespace
        self._secret = secret
        self._config_map = config_map

    @property
    def place(self) -> str:
        """See Access."""
        return f"Secret {self._secret} of namespace {self._namespace}" if self._secret else ""

    @property
    def authority(self) -> str:
        """See Access."""
        if self._config_map:
            return f"Check {CA_KEY} in ConfigMap {self._config_map} of namespace {self._namespace}"
        return f"Name a ConfigMap with {CA_KEY} in spec.registry.caConfigMap"

    async def read(self) -> tuple[Credentials, Trust]:
        """See Access."""
        ca = b""
        if self._config_map:
            ca = (await self._data("ConfigMap", self._config_map)).get(CA_KEY, b"")[:MAX_CA_BYTES]
            if not ca:
                raise misconfigured(self._entry, f"ConfigMap {self._config_map} has no value for {CA_KEY}")
        if not self._secret:
            return Credentials(), Trust(ca)
        data = await self._data("Secret", self._secret)
        keys = Keys(data, self._entry, self.place, "key")
        return credentials_in(keys), Trust(ca, certificate_in(keys))

    async def _data(self, kind: str, name: str) -> Mapping[str, bytes]:
        found = await self._read_object(kind, self._namespace, name)
        if isinstance(found, str):
            raise misconfigured(self._entry, found)
        return found


@dataclass(frozen=True, slots=True)
class Keys:
    """Values by the names of a Secret's keys, with the words for them in messages."""

    values: Mapping[str, bytes] = field(repr=False)
    entry: str
    place: str
    noun: str

    def bytes(self, name: str) -> bytes | None:
        """One value, or None. Raises RegistryError if it is empty or too long."""
        raw = self.values.get(name)
        if raw is not None and (not raw or len(raw) > MAX_BYTES):
            raise self.unusable(f"has a {self.noun} {name} that is empty or over 64 KiB")
        return raw

    def text(self, name: str) -> str | None:
        """One value as a line of text without a final line break. Raises RegistryError."""
        raw = self.values.get(name)
        if raw is None:
            return None
        try:
            text = raw.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise self.unusable(f"has a {self.noun} {name} that is not UTF-8 text") from None
        if not text or len(raw) > MAX_BYTES or not text.isprintable():
            raise self.unusable(
                f"has a {self.noun} {name} that is empty, over 64 KiB or has control characters"
            )
        if name == "token" and not text.isascii():
            raise self.unusable(f"has a {self.noun} token with characters outside ASCII")
        return text

    def unusable(self, what: str) -> RegistryError:
        """The error for unusable credentials. It never contains a value."""
        return misconfigured(self.entry, f"{self.place} {what}")


def credentials_in(keys: Keys) -> Credentials:
    """Username and password, or a token. Raises RegistryError, which names the key and never its content."""
    username, password, token = keys.text("username"), keys.text("password"), keys.text("token")
    if token is not None:
        if username is not None or password is not None:
            raise keys.unusable(f"has a token beside username or password. Keep only {KEYS}")
        return Credentials(f"Bearer {token}", (token,))
    if username is None and password is None and CERTIFICATE in keys.values:
        return Credentials()  # the certificate is the identity
    if username is None and password is None:
        raise keys.unusable(f"has none of the {keys.noun}s {KEYS}")
    if username is None or password is None:
        missing = "username" if username is None else "password"
        raise keys.unusable(f"has no {keys.noun} {missing}. It needs {KEYS}")
    if ":" in username:
        raise keys.unusable("has a username with a colon, which HTTP basic auth can't carry")
    encoded = base64.b64encode(f"{username}:{password}".encode()).decode()
    return Credentials(f"Basic {encoded}", tuple(sorted({encoded, password}, key=len, reverse=True)))


def certificate_in(keys: Keys) -> bytes:
    """The client certificate, followed by its key. Empty without both. Raises RegistryError if one is missing.

    They are the two keys of a Secret of type kubernetes.io/tls.
    """
    certificate, key = keys.bytes(CERTIFICATE), keys.bytes(KEY)
    if (certificate is None) != (key is None):
        missing, present = (CERTIFICATE, KEY) if certificate is None else (KEY, CERTIFICATE)
        raise keys.unusable(f"has a {keys.noun} {present} and no {missing}. It needs both or none")
    return certificate + b"\n" + key if certificate and key else b""


def read_credentials(directory: Path | None, entry: str) -> Credentials:
    """Read ``username`` and ``password``, or ``token``, from the directory of the registry entry.

    None means that no credentials are configured. Raises RegistryError (RegistryMisconfigured), which names the
    directory and the missing or malformed file, but never its content.
    """
    return Credentials() if directory is None else credentials_in(_files(directory, entry))


def read_certificate(directory: Path | None, entry: str) -> bytes:
    """The client certificate in the entry's credentials directory, in the form of ``certificate_in``."""
    return b"" if directory is None else certificate_in(_files(directory, entry))


def _files(directory: Path, entry: str) -> Keys:
    keys = Keys({}, entry, f"credentials directory {directory}", "file")
    if not directory.is_dir():
        raise keys.unusable(f"does not exist. Mount the Secret with {KEYS} there")
    values: dict[str, bytes] = {}
    for name in _NAMES:
        try:
            with (directory / name).open("rb") as file:
                values[name] = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise keys.unusable(f"has a file {name} that can't be read: {error.strerror}") from None
    return Keys(values, entry, keys.place, keys.noun)


def misconfigured(entry: str, what: str) -> RegistryError:
    """The error for a wrong configuration. It names the registry."""
    return RegistryError(ResolutionReason.MISCONFIGURED, f"registry '{entry}': {what}")
