"""pod/fetch.py before a registry that asks for a client certificate: a real MLflow server behind a TLS front."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.cluster.certificates import Authority
from tests.contract.container import running
from tests.mlflow_server import MlflowServer, shared_servers

FILES = {"MLmodel": b"flavors: {}\n", "data/weights.bin": b"\0" * 300_000}


@pytest.fixture(scope="module")
def registry() -> MlflowServer:
    server = shared_servers.without_users()
    with server.api() as api:
        run = api.post("runs/create", json={"experiment_id": "0"}).json()["run"]["info"]
        proxy = run["artifact_uri"].replace(
            "mlflow-artifacts:", f"{server.url}/api/2.0/mlflow-artifacts/artifacts"
        )
        for path, content in FILES.items():
            api.put(f"{proxy}/model/{path}", content=content)
        api.post("registered-models/create", json={"name": "certified"})
        version = {"name": "certified", "source": f"{run['artifact_uri']}/model", "run_id": run["run_id"]}
        api.post("model-versions/create", json=version)
    return server


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"), "registry-ca")


@pytest.fixture(scope="module")
def front(registry: MlflowServer, authority: Authority) -> Iterator[str]:
    """The URL at which the registry asks for a certificate of this authority."""
    pair = authority.issue("server", "registry", addresses=["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    with tls_front(context, urlsplit(registry.url).port or 0) as port:
        yield f"https://127.0.0.1:{port}"


@contextmanager
def tls_front(context: ssl.SSLContext, behind: int) -> Iterator[int]:
    """A loopback port that takes TLS and hands the bytes on to another port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while chunk := source.recv(65_536):
                target.sendall(chunk)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def serve(connection: socket.socket) -> None:
        with (
            suppress(OSError),
            context.wrap_socket(connection, server_side=True) as outside,
            socket.create_connection(("127.0.0.1", behind)) as inside,
        ):
            back = threading.Thread(target=copy, args=(inside, outside), daemon=True)
            back.start()
            copy(outside, inside)
            back.join()

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        # a blocked accept() is not woken by close() alone
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()


def environment(directory: Path, front: str, authority: Authority) -> dict[str, str]:
    (directory / "model").mkdir()
    return {
        "MODEL_NAME": "certified",
        "MODEL_VERSION": "1",
        "MODEL_DIR": str(directory / "model"),
        "MLFLOW_TRACKING_URI": front,
        "MLFLOW_TRACKING_SERVER_CERT_PATH": str(authority.certificate),
    }


def mounted(directory: Path, authority: Authority) -> Path:
    """The two keys of the Secret, as the kubelet mounts them."""
    pair = authority.issue("pod", "pod")
    mount = directory / "client"
    mount.mkdir()
    (mount / "tls.crt").write_bytes(pair.certificate.read_bytes())
    (mount / "tls.key").write_bytes(pair.key.read_bytes())
    return mount


def test_a_pod_shows_its_certificate_and_leaves_no_copy_of_the_key(
    front: str, authority: Authority, tmp_path: Path
) -> None:
    client = mounted(tmp_path, authority)
    key = (client / "tls.key").read_bytes()
    work = tmp_path / "work"
    work.mkdir()
    env = environment(work, front, authority) | {"REGISTRY_CLIENT_CERT_DIR": str(client)}
    with running("fetch.py", work, env) as container:
        code = container.ended()
    assert code == 0, container.log
    assert {path: (work / "model" / path).read_bytes() for path in FILES} == FILES
    left = [path for path in work.rglob("*") if path.is_file() and key in path.read_bytes()]
    assert left == []


def test_a_pod_without_one_is_told_apart_from_a_bad_model(
    front: str, authority: Authority, tmp_path: Path
) -> None:
    with running("fetch.py", tmp_path, environment(tmp_path, front, authority)) as container:
        code = container.ended()
    words = container.last_words
    # whether the server's alert is read before it hangs up is the network's affair
    assert (code, words["reason"]) in ((43, "StoreRefused"), (42, "StoreUnreachable")), container.log
    assert "requires a client certificate" in words["message"]
    assert "tls.crt and tls.key" in words["message"]


def test_a_certificate_that_cannot_be_read_is_named(front: str, authority: Authority, tmp_path: Path) -> None:
    client = mounted(tmp_path, authority)
    (client / "tls.key").unlink()
    work = tmp_path / "work"
    work.mkdir()
    env = environment(work, front, authority) | {"REGISTRY_CLIENT_CERT_DIR": str(client)}
    with running("fetch.py", work, env) as container:
        code = container.ended()
    assert (code, container.last_words["reason"]) == (44, "FetchMisconfigured"), container.log
    assert "tls.key" in container.last_words["message"]
