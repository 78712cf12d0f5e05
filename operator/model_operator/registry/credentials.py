"""The operator's own credentials for one registry: files that Kubernetes mounts and renews."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path

from model_operator.registry.client import RegistryError
from model_operator.world import ResolutionReason

MAX_BYTES = 65_536
KEYS = "username and password, or token, or tls.crt and tls.key"


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


def read_credentials(directory: Path | None, entry: str) -> Credentials:
    """Read ``username`` and ``password``, or ``token``, from the directory of the registry entry.

    None means that no credentials are configured. Raises RegistryError (RegistryMisconfigured), which names
    the directory and the file that is missing or malformed, never its content.
    """
    if directory is None:
        return Credentials()
    if not directory.is_dir():
        raise _misconfigured(entry, directory, f"does not exist; mount the Secret with {KEYS} there")
    username = _read(directory, "username", entry)
    password = _read(directory, "password", entry)
    token = _read(directory, "token", entry)
    if token is not None:
        if username is not None or password is not None:
            raise _misconfigured(entry, directory, f"has token beside username or password; keep {KEYS}")
        return Credentials(f"Bearer {token}", (token,))
    if username is None and password is None and (directory / CERTIFICATE).exists():
        return Credentials()  # the certificate says who we are
    if username is None and password is None:
        raise _misconfigured(entry, directory, f"has none of the files {KEYS}")
    if username is None or password is None:
        missing = "username" if username is None else "password"
        raise _misconfigured(entry, directory, f"has no file {missing}; it needs {KEYS}")
    if ":" in username:
        raise _misconfigured(
            entry, directory, "has a username with a colon, which HTTP basic auth can't carry"
        )
    encoded = base64.b64encode(f"{username}:{password}".encode()).decode()
    return Credentials(f"Basic {encoded}", tuple(sorted({encoded, password}, key=len, reverse=True)))


CERTIFICATE, KEY = "tls.crt", "tls.key"


def read_certificate(directory: Path | None, entry: str) -> bytes:
    """The client certificate in the registry entry's credentials directory, followed by its key; empty without one.

    They are the two files of a Secret of type kubernetes.io/tls. Raises RegistryError (RegistryMisconfigured) when
    one of the two is missing.
    """
    if directory is None:
        return b""
    certificate, key = _bytes(directory, CERTIFICATE, entry), _bytes(directory, KEY, entry)
    if (certificate is None) != (key is None):
        missing, present = (CERTIFICATE, KEY) if certificate is None else (KEY, CERTIFICATE)
        raise _misconfigured(
            entry, directory, f"has a file {present} and no {missing}; it needs both or none"
        )
    return certificate + b"\n" + key if certificate and key else b""


def _bytes(directory: Path, name: str, entry: str) -> bytes | None:
    try:
        with (directory / name).open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _misconfigured(
            entry, directory, f"has a file {name} that can't be read: {error.strerror}"
        ) from None
    if not raw or len(raw) > MAX_BYTES:
        raise _misconfigured(entry, directory, f"has a file {name} that is empty or over 64 KiB")
    return raw


def _read(directory: Path, key: str, entry: str) -> str | None:
    path = directory / key
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _misconfigured(
            entry, directory, f"has a file {key} that can't be read: {error.strerror}"
        ) from None
    try:
        text = raw.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise _misconfigured(entry, directory, f"has a file {key} that is not UTF-8 text") from None
    if not text or len(raw) > MAX_BYTES or not text.isprintable():
        raise _misconfigured(
            entry, directory, f"has a file {key} that is empty, over 64 KiB or has control characters"
        )
    if key == "token" and not text.isascii():
        raise _misconfigured(entry, directory, "has a file token with characters outside ASCII")
    return text


def _misconfigured(entry: str, directory: Path, what: str) -> RegistryError:
    return RegistryError(
        ResolutionReason.MISCONFIGURED, f"registry '{entry}': credentials directory {directory} {what}"
    )
