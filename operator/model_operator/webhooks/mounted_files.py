"""Secrets and certificates from mounted files, which are looked at again now and then: a rotation needs no restart."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

log = logging.getLogger(__name__)

REREAD_SECONDS = 2.0
"""Files with secrets and certificates are looked at again when so much time has passed."""
LOG_SECONDS = 60.0
"""One line of the log for each kind of refusal within so many seconds."""

_MAX_SECRETS = 16
_MAX_SECRET_BYTES = 4096


class Secrets:
    """The files of a directory, read again now and then, so that rotation needs no restart."""

    def __init__(self, directory: Path, clock: Callable[[], float]) -> None:
        self._directory = directory
        self._clock = clock
        self._read_at = float("-inf")
        self._secrets: tuple[bytes, ...] = ()
        self._seldom = Seldom(clock)

    def read(self) -> tuple[bytes, ...]:
        """The secrets that are valid now; none while the directory has none."""
        now = self._clock()
        if not 0 <= now - self._read_at < REREAD_SECONDS:
            self._secrets, self._read_at = tuple(self._files()), now
        return self._secrets

    def _files(self) -> Iterator[bytes]:
        try:
            # Kubernetes keeps its own bookkeeping in names that begin with two dots
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
                words = f"webhooks.secretDir: {path} is empty or over {_MAX_SECRET_BYTES} bytes; not used"
                self._seldom.warn(path.name, words)


class Certificate:
    """A TLS context whose certificate is taken from its files anew when they change."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._files = (directory / "tls.crt", directory / "tls.key")
        self._clock = clock
        self._looked_at = float("-inf")
        self._state: object = None
        self._current: ssl.SSLContext | None = None
        self._seldom = Seldom(clock)
        # has no certificate of its own: without a good one no handshake succeeds, and nothing goes over in the clear
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
            # a context of its own: a pair that does not fit must not spoil the one that works
            context = _tls_context()
            context.load_cert_chain(*self._files, password=_no_password)
        except (OSError, ValueError) as error:
            what = "kept the one before" if self._current else "until then no webhook is received"
            words = f"webhooks.certificateDir needs a fitting tls.crt and tls.key in {self._files[0].parent}"
            self._seldom.warn("", f"{words} ({type(error).__name__}: {error}); {what}")
            return
        self._state, self._current = state, context


def _tls_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _no_password() -> str:
    # OpenSSL would ask the terminal
    raise ValueError("the key is encrypted")


class Seldom:
    """Warns about each kind of thing once in ``LOG_SECONDS``, and says how often it was silent."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[str, tuple[float, int]] = {}

    def warn(self, kind: str, words: str, exc_info: bool = False) -> None:
        """``kind`` comes from a small set: each one is remembered."""
        now = self._clock()
        said_at, silent = self._said.get(kind, (float("-inf"), 0))
        if 0 <= now - said_at < LOG_SECONDS:
            self._said[kind] = (said_at, silent + 1)
            return
        self._said[kind] = (now, 0)
        more = f" (and {silent} times more since the last line)" if silent else ""
        log.warning("%s%s", words, more, exc_info=exc_info)
