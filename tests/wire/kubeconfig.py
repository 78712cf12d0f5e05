"""What a client needs to trust a wire in front of an API server."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.api import load_context, tls_context
from tests.cluster.certificates import Authority, write_kubeconfig
from tests.wire.wire import Wire


class Listener:
    """The identity of wires: a certificate for loopback, and an authority that vouches for it."""

    def __init__(self, directory: Path) -> None:
        authority = Authority(directory, "wire")
        self._authority = authority.certificate
        # nobody asks for it: the wire has the administrator's rights, whoever uses it
        self._client = authority.issue("client", "somebody")
        own = authority.issue("server", "wire", addresses=["127.0.0.1"])
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(own.certificate, own.key)

    def kubeconfig(self, path: Path, url: str) -> Path:
        """Writes the kubeconfig of a client that comes by a wire; returns ``path``."""
        return write_kubeconfig(path, url, self._authority, self._client, "wire")


def upstream(kubeconfig: Path) -> tuple[str, ssl.SSLContext]:
    """The URL of the API server that a wire ends at, and what proves to it who we are. Raises KubeconfigError."""
    _, cluster, user = load_context(kubeconfig)
    return str(cluster["server"]), tls_context(cluster, user)


@contextlib.contextmanager
def wire_before(kubeconfig: Path, home: Path) -> Iterator[tuple[Wire, Path]]:
    """A wire in front of that API server, and the kubeconfig, in ``home``, of a client that comes by it."""
    server, tls = upstream(kubeconfig)
    listener = Listener(home / "pki")
    with Wire(server, tls, listener.tls) as wire:
        yield wire, listener.kubeconfig(home / "kubeconfig", wire.url)
