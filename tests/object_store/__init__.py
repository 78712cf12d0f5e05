"""A real S3 server for tests: moto's, with TLS by an authority of our own, users, and signatures that count."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.certificates import Authority
from tests.mlflow_env import REQUIREMENTS, ensure_python

OBJECT_STORE = REQUIREMENTS.with_name("object-store.txt")
BUCKET = "models"
START_SECONDS = 120
_FILL = Path(__file__).with_name("fill.py")


@dataclass(frozen=True)
class Key:
    """A user's access key, as the variables of S3's clients."""

    access_key_id: str
    secret_access_key: str

    @property
    def env(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": self.access_key_id, "AWS_SECRET_ACCESS_KEY": self.secret_access_key}


@dataclass(frozen=True)
class ObjectStore:
    """A running server; ``reader`` may read the bucket, ``stranger`` nothing."""

    url: str
    ca: Path
    reader: Key
    stranger: Key


@contextmanager
def object_store(directory: Path, files: Mapping[str, bytes]) -> Iterator[ObjectStore]:
    """A server on a free loopback port with these objects in BUCKET, by https, for the time of the block."""
    python = ensure_python(OBJECT_STORE)
    authority = Authority(directory / "pki", "object-store-ca")
    pair = authority.issue("server", "object store", addresses=["127.0.0.1"])
    for path, content in files.items():
        (directory / "files" / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / "files" / path).write_bytes(content)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # no configuration of the person who runs the tests
    env = {"PATH": os.environ["PATH"], "HOME": str(directory), "AWS_CA_BUNDLE": str(authority.certificate)}
    server = [str(python.with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    server += ["-c", str(pair.certificate), "-k", str(pair.key)]
    log = directory / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            server, env=env, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    url = f"https://127.0.0.1:{port}"
    try:
        _wait(process, port, log)
        filled = subprocess.run(
            [str(python), str(_FILL), url, BUCKET, str(directory / "files")],
            env=env,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        assert filled.returncode == 0, filled.stderr[-2000:]
        keys = {name: Key(*pair) for name, pair in json.loads(filled.stdout.splitlines()[-1]).items()}
        yield ObjectStore(url, authority.certificate, keys["reader"], keys["stranger"])
    finally:
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-2000:]
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise AssertionError(f"the object store does not listen: {log.read_text()[-2000:]}")
