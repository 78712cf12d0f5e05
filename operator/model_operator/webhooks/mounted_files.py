"""Secrets and certificates from mounted files. They are read again regularly, and a rotation needs no restart."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

log = logging.getLogger(__name__)

REREAD_SECONDS = 2.0
"""Shortest time between two reads of the files."""
LOG_SECONDS = 60.0
"""Within this time, one line is logged for each kind of rejection."""

_MAX_SECRETS = 16
_MAX_SECRET_BYTES = 4096


class Secrets:
    """The secrets in the files of a directory. They are read again after REREAD_SECONDS."""

    def __init__(self, directory: Path, clock: Callable[[], float]) -> None:
        self._directory = directory
        self._clock = clock
        self._read_at = float("-inf")
        self._secrets: tuple[bytes, ...] = ()
        self._seldom = Seldom(clock)

    def read(self) -> tuple[bytes, ...]:
        """Returns the present secrets. Empty if the directory has none."""
        now = self._clock()
        if not 0 <= now - self._read_at < REREAD_SECONDS:
            self._secrets, self._read_at = tuple(self._files()), now
        return self._secrets

    def _files(self) -> Iterator[bytes]:
        try:
            # the kubelet's own files in a mounted Secret begin with two dots
            paths = sorted(path for path in self._directory.iterdir() if not path.name.startswith("."))
        except OSError as error:
            self._seldom.warn("directory", f"webhooks.secretDir {self._directory}: {error.strerror}")
            return
        for path in paths[:_MAX_SECRETS]:
            try:
                with path.open("rb") as file:
                    secret = file.read(_MAX_SECRET_BYTES + 1).rstrip(b"\r\n")
            except OSError as error:
                self._seldom.warn(path.name, f"webhooks.secretDir: {path} can't be read: {error.strerror}")
                continue
            if 0 < len(secret) <= _MAX_SECRET_BYTES:
                yield secret
            else:
                words = f"webhooks.secretDir: {path} is ignored, because it is empty or over {_MAX_SECRET_BYTES} bytes"
                self._seldom.warn(path.name, words)


class Certificate:
    """A TLS context that loads its certificate again when the files change."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._files = (directory / "tls.crt", directory / "tls.key")
        self._clock = clock
        self._looked_at = float("-inf")
        self._state: object = None
        self._current: ssl.SSLContext | None = None
        self._seldom = Seldom(clock)
        # it has no certificate: without a valid one, handshakes fail and nothing is sent in plain text
        self.context = _tls_context()
        self.context.sni_callback = self._choose
        self._renew()

    def _choose(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> int | None:
        self._renew()
        if self._current is None:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        connection.context = self._current
        return None

    def _renew(self) -> None:
        now = self._clock()
        if now - self._looked_at < REREAD_SECONDS:
            return
        self._looked_at = now
        try:
            state = [(s.st_ino, s.st_mtime_ns, s.st_size) for s in (path.stat() for path in self._files)]
            if state == self._state:
                return
            # a new context, because a pair that does not match must not break the present one
            context = _tls_context()
            context.load_cert_chain(*self._files, password=_no_password)
        except (OSError, ValueError) as error:
            result = (
                "the previous one is still used" if self._current else "no webhook is received until then"
            )
            words = f"webhooks.certificateDir needs a matching tls.crt and tls.key in {self._files[0].parent}"
            self._seldom.warn("", f"{words} ({type(error).__name__}: {error}): {result}")
            return
        self._state, self._current = state, context


def _tls_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _no_password() -> str:
    # without it, OpenSSL would read a password from the terminal
    raise ValueError("the key is encrypted")


class Seldom:
    """Logs one warning of each kind within ``LOG_SECONDS``, with the number of omitted ones."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[str, tuple[float, int]] = {}

    def warn(self, kind: str, words: str, exc_info: bool = False) -> None:
        """Logs the warning, or counts it. ``kind`` must be from a small set, because each is remembered."""
        now = self._clock()
        said_at, silent = self._said.get(kind, (float("-inf"), 0))
        if 0 <= now - said_at < LOG_SECONDS:
            self._said[kind] = (said_at, silent + 1)
            return
        self._said[kind] = (now, 0)
        more = f" (and {silent} times more since the last line)" if silent else ""
        log.warning("%s%s", words, more, exc_info=exc_info)
