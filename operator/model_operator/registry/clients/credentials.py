"""Who asks a registry, and which authority it is believed by: read from files, or from a tenant's own objects."""

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
    """Every form in which the secret could come back in a server's answer, longest first."""

    def redact(self, text: str) -> str:
        """The text without these secrets."""
        for secret in self.secrets:
            text = text.replace(secret, "[redacted]")
        return text


@dataclass(frozen=True, slots=True)
class Trust:
    """What a TLS connection is made with, as PEM; empty is none."""

    ca: bytes = b""
    certificate: bytes = field(default=b"", repr=False)
    """Our own, with its key."""


class Access(Protocol):
    """How a registry is reached by whoever follows it. Renewed credentials need no restart: they are read anew."""

    @property
    def untrusted(self) -> bool:
        """Whether a tenant named the registry's URL: then no address of this machine is asked, and no proxy."""
        ...

    @property
    def place(self) -> str:
        """Where credentials are, for messages; empty where there are none."""
        ...

    @property
    def remedy(self) -> str:
        """What to do where there are none, for messages."""
        ...

    @property
    def authority(self) -> str:
        """Where the registry's authority is, or what to set to name one, for messages."""
        ...

    async def read(self) -> tuple[Credentials, Trust]:
        """What is there now. Raises RegistryError (RegistryMisconfigured)."""
        ...


class FileAccess:
    """The operator's own credentials for an entry of its configuration: files that Kubernetes mounts and renews."""

    untrusted = False
    remedy = "set its credentialsDir to a directory with username and password, or token"

    def __init__(self, entry: str, directory: Path | None, ca_file: Path | None) -> None:
        """``directory`` is the entry's credentialsDir, ``ca_file`` its caFile; None where they are not set."""
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
        return f"check {self._ca_file}" if self._ca_file else "set caFile to the CA that signed it"

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
                f"CA file {self._ca_file} can't be read: {error.strerror}; mount the CA's ConfigMap there",
            ) from None
        return credentials, Trust(ca, certificate)


ReadObject = Callable[[str, str, str], Awaitable[Mapping[str, bytes] | str]]
"""Takes Secret or ConfigMap, a namespace and a name; gives its data, or in one sentence why there is none."""


class ObjectAccess:
    """A tenant's credentials for a registry of its own: a Secret and a ConfigMap of its namespace, read by name."""

    untrusted = True
    remedy = "name a Secret of this namespace in spec.registry.credentialsSecret"

    def __init__(
        self, entry: str, read_object: ReadObject, namespace: str, secret: str, config_map: str
    ) -> None:
        """An empty name is "none"; ``entry`` is what the registry is called in messages."""
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
            return f"check {CA_KEY} in ConfigMap {self._config_map} of namespace {self._namespace}"
        return f"name a ConfigMap with {CA_KEY} in spec.registry.caConfigMap"

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
    """Values by the names of a Secret's keys; how they are called in messages."""

    values: Mapping[str, bytes] = field(repr=False)
    entry: str
    place: str
    noun: str

    def bytes(self, name: str) -> bytes | None:
        """One value; None where there is none. Raises RegistryError for one that is empty or too long."""
        raw = self.values.get(name)
        if raw is not None and (not raw or len(raw) > MAX_BYTES):
            raise self.unusable(f"has a {self.noun} {name} that is empty or over 64 KiB")
        return raw

    def text(self, name: str) -> str | None:
        """One value as a line of text, without the line break at its end. Raises RegistryError."""
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
        """That this is no way to be let in; never a value."""
        return misconfigured(self.entry, f"{self.place} {what}")


def credentials_in(keys: Keys) -> Credentials:
    """Username and password, or a token. Raises RegistryError, which names the key and never its content."""
    username, password, token = keys.text("username"), keys.text("password"), keys.text("token")
    if token is not None:
        if username is not None or password is not None:
            raise keys.unusable(f"has token beside username or password; keep {KEYS}")
        return Credentials(f"Bearer {token}", (token,))
    if username is None and password is None and CERTIFICATE in keys.values:
        return Credentials()  # the certificate says who we are
    if username is None and password is None:
        raise keys.unusable(f"has none of the {keys.noun}s {KEYS}")
    if username is None or password is None:
        missing = "username" if username is None else "password"
        raise keys.unusable(f"has no {keys.noun} {missing}; it needs {KEYS}")
    if ":" in username:
        raise keys.unusable("has a username with a colon, which HTTP basic auth can't carry")
    encoded = base64.b64encode(f"{username}:{password}".encode()).decode()
    return Credentials(f"Basic {encoded}", tuple(sorted({encoded, password}, key=len, reverse=True)))


def certificate_in(keys: Keys) -> bytes:
    """The client certificate, followed by its key; empty without one. Raises RegistryError when one is missing.

    They are the two keys of a Secret of type kubernetes.io/tls.
    """
    certificate, key = keys.bytes(CERTIFICATE), keys.bytes(KEY)
    if (certificate is None) != (key is None):
        missing, present = (CERTIFICATE, KEY) if certificate is None else (KEY, CERTIFICATE)
        raise keys.unusable(f"has a {keys.noun} {present} and no {missing}; it needs both or none")
    return certificate + b"\n" + key if certificate and key else b""


def read_credentials(directory: Path | None, entry: str) -> Credentials:
    """Read ``username`` and ``password``, or ``token``, from the directory of the registry entry.

    None means that no credentials are configured. Raises RegistryError (RegistryMisconfigured), which names
    the directory and the file that is missing or malformed, never its content.
    """
    return Credentials() if directory is None else credentials_in(_files(directory, entry))


def read_certificate(directory: Path | None, entry: str) -> bytes:
    """The client certificate in the registry entry's credentials directory, as ``certificate_in`` has it."""
    return b"" if directory is None else certificate_in(_files(directory, entry))


def _files(directory: Path, entry: str) -> Keys:
    keys = Keys({}, entry, f"credentials directory {directory}", "file")
    if not directory.is_dir():
        raise keys.unusable(f"does not exist; mount the Secret with {KEYS} there")
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
    """A failure that names the registry."""
    return RegistryError(ResolutionReason.MISCONFIGURED, f"registry '{entry}': {what}")
