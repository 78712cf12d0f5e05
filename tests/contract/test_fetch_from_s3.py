"""pod/fetch.py with models that are not proxied: straight from a real S3 server behind a private authority."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from tests.contract.container import Container, running
from tests.mlflow_server import MlflowServer, shared_servers
from tests.object_store import BUCKET, ObjectStore, object_store

FILES = {"MLmodel": b"flavors: {}\n", "serving_input_example.json": b"{}", "data/weights.bin": b"\0" * 5000}


@dataclass(frozen=True)
class Case:
    """What the environment says beside the right endpoint, and how it ends."""

    code: int
    reason: str
    says: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    """``{...}`` stands for a part of the store."""
    version: str = "1"


READER = (
    ("AWS_ACCESS_KEY_ID", "{reader.access_key_id}"),
    ("AWS_SECRET_ACCESS_KEY", "{reader.secret_access_key}"),
)
CASES = {
    "the right credentials": Case(0, "Fetched", ("iris version 1",), READER),
    "no credentials": Case(
        43, "StoreRefused", ("got no credentials", "spec.fetch.envFrom", f"s3://{BUCKET}/iris"), ()
    ),
    "a key that the store does not know": Case(
        43,
        "StoreRefused",
        ("403", "spec.fetch.envFrom", f"s3://{BUCKET}/iris"),
        (("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "stale-secret-key")),
    ),
    "a wrong secret": Case(
        43,
        "StoreRefused",
        ("403", "spec.fetch.envFrom"),
        (("AWS_ACCESS_KEY_ID", "{reader.access_key_id}"), ("AWS_SECRET_ACCESS_KEY", "stale-secret-key")),
    ),
    "a user who may not read the bucket": Case(
        43,
        "StoreRefused",
        ("403", "permission to read"),
        (
            ("AWS_ACCESS_KEY_ID", "{stranger.access_key_id}"),
            ("AWS_SECRET_ACCESS_KEY", "{stranger.secret_access_key}"),
        ),
    ),
    "an authority that is not trusted": Case(
        42, "StoreUnreachable", ("certificate", "AWS_CA_BUNDLE"), (*READER, ("AWS_CA_BUNDLE", ""))
    ),
    "nobody listening": Case(
        42,
        "StoreUnreachable",
        ("can't be reached",),
        (*READER, ("MLFLOW_S3_ENDPOINT_URL", "https://127.0.0.1:9")),
    ),
    "files that were deleted": Case(41, "ArtifactMissing", (f"s3://{BUCKET}/gone",), READER, version="2"),
    "a bucket that does not exist": Case(
        41, "ArtifactMissing", ("s3://elsewhere/iris",), READER, version="3"
    ),
}
FRESH = ("the right credentials", "an authority that is not trusted")
"""Of these the interpreter starts as in a pod; the others are forked with MLflow imported."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    files = {f"iris/{path}": content for path, content in FILES.items()}
    with object_store(tmp_path_factory.mktemp("s3"), files) as made:
        yield made


@pytest.fixture(scope="module")
def registry() -> MlflowServer:
    """A registry whose versions lie in the object store, which the server itself never touches."""
    server = shared_servers.without_users()
    with server.api() as api:
        api.post("registered-models/create", json={"name": "iris"})
        for source in (f"s3://{BUCKET}/iris", f"s3://{BUCKET}/gone", "s3://elsewhere/iris"):
            api.post("model-versions/create", json={"name": "iris", "source": source})
    return server


@pytest.fixture(scope="module")
def endings(
    store: ObjectStore, registry: MlflowServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Container]]:
    """What became of the fetch in each case; the cases run three at a time."""

    def until_the_end(name: str, stack: ExitStack) -> Container:
        case, directory = CASES[name], tmp_path_factory.mktemp("case")
        (directory / "model").mkdir()
        env = {
            "MODEL_NAME": "iris",
            "MODEL_VERSION": case.version,
            "MODEL_DIR": str(directory / "model"),
            "MLFLOW_TRACKING_URI": registry.url,
            "MLFLOW_S3_ENDPOINT_URL": store.url,
            "AWS_CA_BUNDLE": str(store.ca),
            "AWS_DEFAULT_REGION": "us-east-1",
            # no metadata service is asked for credentials
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        given = {key: value.format(reader=store.reader, stranger=store.stranger) for key, value in case.env}
        env = {key: value for key, value in (env | given).items() if value}
        container = stack.enter_context(running("fetch.py", directory, env, forked=name not in FRESH))
        container.ended()
        return container

    with ExitStack() as stack, ThreadPoolExecutor(3) as pool:
        yield dict(zip(CASES, pool.map(lambda name: until_the_end(name, stack), CASES), strict=True))


@pytest.mark.parametrize("name", CASES, ids=list(CASES))
def test_a_fetch_from_a_direct_store_ends_with_its_code_and_says_why(
    endings: dict[str, Container], store: ObjectStore, name: str
) -> None:
    case, container = CASES[name], endings[name]
    words = container.last_words
    assert (container.process.returncode, words.get("reason")) == (case.code, case.reason), container.log
    for part in case.says:
        assert part in words["message"]
    for secret in (store.reader.secret_access_key, store.stranger.secret_access_key, "stale-secret-key"):
        assert secret not in container.log
        assert secret not in str(words)


def test_what_is_fetched_is_complete(endings: dict[str, Container]) -> None:
    directory = endings["the right credentials"].directory / "model"
    assert {path: (directory / path).read_bytes() for path in FILES} == FILES
