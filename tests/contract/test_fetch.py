"""pod/fetch.py in real processes against a real MLflow server with basic auth."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.container import SCRIPTS, Container, running, without_passwd
from tests.mlflow_env import OLDEST, REQUIREMENTS
from tests.mlflow_server import MlflowServer, shared_servers

FILES = {"MLmodel": b"flavors: {}\n", "serving_input_example.json": b"{}", "data/weights.bin": b"\0" * 5000}
# what the page on integrity defines
DIGEST = hashlib.sha256(
    b"".join(
        f"{hashlib.sha256(content).hexdigest()}  ./{path}\n".encode()
        for path, content in sorted(FILES.items())
    )
).hexdigest()
OTHER_DIGEST = "0123456789abcdef" * 4
# '/' and ':' are refused by MLflow 3
ODD_NAME = "Söhne & co 100%?#+;[1]@x"
HOST = "mlflow.mlflow.svc:5000"


@pytest.fixture(scope="module")
def registry() -> MlflowServer:
    """A registry with two good models. The files of versions 2, 3 and 4 of "iris" can't be had."""
    server = shared_servers.with_users()
    with server.api() as api:
        run = api.post("runs/create", json={"experiment_id": "0"}).json()["run"]["info"]
        proxy = run["artifact_uri"].replace(
            "mlflow-artifacts:", f"{server.url}/api/2.0/mlflow-artifacts/artifacts"
        )
        for path, content in FILES.items():
            api.put(f"{proxy}/good/{path}", content=content)
        api.put(f"{proxy}/half/notes.txt", content=b"no model")
        for name in ("iris", ODD_NAME):
            api.post("registered-models/create", json={"name": name})
        for name, source in (
            ("iris", f"{run['artifact_uri']}/good"),
            (ODD_NAME, f"{run['artifact_uri']}/good"),
            ("iris", f"{run['artifact_uri']}/gone"),
            ("iris", f"{run['artifact_uri']}/half"),
            ("iris", "gs://bucket/model"),
        ):
            version = {"name": name, "source": source, "run_id": run["run_id"]}
            api.post("model-versions/create", json=version)
        # a logged model of MLflow 3, by the run that it is from, and a copy of that version
        logged = {"experiment_id": "0", "name": "logged", "source_run_id": run["run_id"]}
        model = api.post("logged-models", json=logged).json()["model"]["info"]
        proxy = model["artifact_uri"].replace(
            "mlflow-artifacts:", f"{server.url}/api/2.0/mlflow-artifacts/artifacts"
        )
        for path, content in FILES.items():
            api.put(f"{proxy}/{path}", content=content)
        for source in (f"runs:/{run['run_id']}/logged", "models:/iris/5", f"runs:/{run['run_id']}/good"):
            version = {"name": "iris", "source": source, "run_id": run["run_id"]}
            api.post("model-versions/create", json=version)
        api.post("users/create", json={"username": "stranger", "password": "strangers-password"})
    return server


class Faulty(BaseHTTPRequestHandler):
    """What stands before a registry that is down, or in its place: an error page in HTML.

    The first part of the path is the status.
    """

    def do_GET(self) -> None:
        status = int(self.path.split("/")[1])
        body = b"<html><body><h1>An error page</h1></body></html>"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@dataclass(frozen=True)
class Ending:
    code: int
    reason: str
    says: tuple[str, ...]
    version: str = "1"
    name: str = "iris"
    env: tuple[tuple[str, str], ...] = ()
    url: str = "{registry}"


ENDINGS = {
    "a version that exists": Ending(0, "Fetched", ("iris version 1",)),
    "a name that is no part of a URI": Ending(0, "Fetched", (ODD_NAME,), name=ODD_NAME),
    "a logged model by its run": Ending(0, "Fetched", ("iris version 5",), version="5"),
    "a copy of such a version": Ending(0, "Fetched", ("iris version 6",), version="6"),
    "a directory of a run by its run": Ending(0, "Fetched", ("iris version 7",), version="7"),
    "a version that does not exist": Ending(41, "ArtifactMissing", ("has no iris version 99",), version="99"),
    "a model that does not exist": Ending(41, "ArtifactMissing", ("has no rose version 1",), name="rose"),
    "files that were deleted": Ending(
        41,
        "ArtifactMissing",
        ("iris version 2 is registered, but", "/artifacts/gone", "the MLflow server {registry}"),
        version="2",
    ),
    "files that are no model": Ending(
        41,
        "ArtifactMissing",
        ("no MLmodel file at", "/artifacts/half", "the MLflow server {registry} has only notes.txt there"),
        version="3",
    ),
    "a store whose client the image lacks": Ending(
        44, "FetchMisconfigured", ("gs://bucket/model", "google", "spec.fetch.image"), version="4"
    ),
    "nobody listening": Ending(
        42,
        "StoreUnreachable",
        ("http://127.0.0.1:9 can't be reached", "Connection refused)"),
        url="http://127.0.0.1:9",
    ),
    "an error page": Ending(
        42,
        "StoreUnreachable",
        ("can't be reached", "503"),
        env=(("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1"),),
        url="{faulty}/503",
    ),
    "a web server that is no registry": Ending(
        44, "FetchMisconfigured", ("not as MLflow does", "URL"), url="{faulty}/404"
    ),
    "a registry that never answers": Ending(
        42,
        "StoreUnreachable",
        ("can't be reached", "timed out"),
        env=(("MLFLOW_HTTP_REQUEST_TIMEOUT", "1"), ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")),
        url="{silent}",
    ),
    "a wrong password": Ending(
        43,
        "StoreRefused",
        ("401", "credentials Secret in this namespace"),
        env=(("MLFLOW_TRACKING_PASSWORD", "wrong-password"),),
    ),
    "a user who may not read the model": Ending(
        43,
        "StoreRefused",
        ("403", "credentials Secret in this namespace"),
        env=(("MLFLOW_TRACKING_USERNAME", "stranger"), ("MLFLOW_TRACKING_PASSWORD", "strangers-password")),
    ),
    "a host name that the registry does not know": Ending(
        43,
        "StoreRefused",
        ("--allowed-hosts", HOST),
        env=(("HTTP_PROXY", "{registry}"),),
        url=f"http://{HOST}",
    ),
    "files that are what the digest tag says": Ending(
        0, "Fetched", ("iris version 1",), env=(("MODEL_DIGEST", f"sha256:{DIGEST}"),)
    ),
    "files that are not what the digest tag says": Ending(
        40,
        "DigestMismatch",
        (f"sha256:{OTHER_DIGEST}", f"sha256:{DIGEST}", "iris version 1", "digest tag", "/artifacts/good"),
        env=(("MODEL_DIGEST", f"sha256:{OTHER_DIGEST}"),),
    ),
    "a digest tag that is no digest": Ending(
        44,
        "FetchMisconfigured",
        ("spec.gates.integrity.digestTag", "'md5:12'", "64 hexadecimal digits"),
        env=(("MODEL_DIGEST", "md5:12"),),
    ),
    "an alias for a version": Ending(44, "FetchMisconfigured", ("MODEL_VERSION",), version="champion"),
    "no volume": Ending(
        44, "FetchMisconfigured", ("MODEL_DIR", "spec.fetch.volume"), env=(("MODEL_DIR", "/nowhere"),)
    ),
}
FRESH = ("a version that exists", "nobody listening", "a host name that the registry does not know")
"""Of these the interpreter starts as in a pod; the others are forked with MLflow imported."""


@pytest.fixture(scope="module")
def endings(
    registry: MlflowServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Container]]:
    """What became of the fetch in each case; the cases run three at a time. The volume is at model/."""
    faulty = ThreadingHTTPServer(("127.0.0.1", 0), Faulty)
    threading.Thread(target=faulty.serve_forever, daemon=True).start()
    silent = socket.create_server(("127.0.0.1", 0))
    urls = {
        "registry": registry.url,
        "faulty": f"http://127.0.0.1:{faulty.server_port}",
        "silent": f"http://127.0.0.1:{silent.getsockname()[1]}",
    }

    def until_the_end(case: str, stack: ExitStack) -> Container:
        ending = ENDINGS[case]
        directory = tmp_path_factory.mktemp("case")
        env = environment(registry, directory, ending.name, ending.version)
        env["MLFLOW_TRACKING_URI"] = ending.url.format(**urls)
        env |= {name: value.format(**urls) for name, value in ending.env}
        if "HTTP_PROXY" in env:
            env["NO_PROXY"] = ""
        # kept open only for the clean-up
        container = stack.enter_context(running("fetch.py", directory, env, forked=case not in FRESH))
        container.ended()
        return container

    with ExitStack() as stack, ThreadPoolExecutor(3) as pool, silent:
        yield dict(zip(ENDINGS, pool.map(lambda case: until_the_end(case, stack), ENDINGS), strict=True))
        faulty.shutdown()
        faulty.server_close()


def environment(registry: MlflowServer, directory: Path, name: str, version: str) -> dict[str, str]:
    (directory / "model").mkdir(exist_ok=True)
    return {
        "MODEL_NAME": name,
        "MODEL_VERSION": version,
        "MODEL_DIR": str(directory / "model"),
        "MLFLOW_TRACKING_URI": registry.url,
        "MLFLOW_TRACKING_USERNAME": registry.username,
        "MLFLOW_TRACKING_PASSWORD": registry.password,
    }


def fetched(directory: Path) -> dict[str, bytes]:
    """The files in the volume that are the model's."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name not in (".model-operator-fetched", "registered_model_meta")
    }


@pytest.mark.parametrize("case", ENDINGS, ids=list(ENDINGS))
def test_a_fetch_ends_with_its_code_and_says_why(
    endings: dict[str, Container], registry: MlflowServer, case: str
) -> None:
    ending, container = ENDINGS[case], endings[case]
    words = container.last_words
    assert (container.process.returncode, words.get("reason")) == (ending.code, ending.reason), container.log
    for part in ending.says:
        assert part.replace("{registry}", registry.url) in words["message"]
    for secret in (registry.password, "wrong-password", "strangers-password"):
        assert secret not in container.log
        assert secret not in str(words)


@pytest.mark.parametrize(
    "case",
    [
        "a version that exists",
        "a name that is no part of a URI",
        "a logged model by its run",
        "a copy of such a version",
        "a directory of a run by its run",
    ],
)
def test_a_fetched_model_is_complete_and_says_that_it_has_an_example(
    endings: dict[str, Container], case: str
) -> None:
    assert fetched(endings[case].directory / "model") == FILES
    assert endings[case].last_words["inputExample"] is True


@pytest.mark.parametrize(
    "case",
    [
        "files that were deleted",
        "files that are no model",
        "files that are not what the digest tag says",
        "a wrong password",
    ],
)
def test_a_failed_fetch_leaves_nothing_in_the_volume(endings: dict[str, Container], case: str) -> None:
    assert list((endings[case].directory / "model").iterdir()) == []


def test_a_container_that_was_killed_begins_anew_and_one_that_was_done_needs_no_registry(
    registry: MlflowServer, tmp_path: Path
) -> None:
    env = environment(registry, tmp_path, "iris", "1")
    volume = tmp_path / "model"
    for left_over in (volume / ".model-operator-partial-x" / "MLmodel", volume / "data" / "old.bin"):
        left_over.parent.mkdir()
        left_over.write_bytes(b"half")
    (volume / "MLmodel").write_bytes(b"half")
    with running("fetch.py", tmp_path, env) as container:
        assert container.ended() == 0, container.log
    assert fetched(volume) == FILES

    with running("fetch.py", tmp_path, env | {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}) as container:
        assert container.ended() == 0, container.log
    assert container.last_words["inputExample"] is True


def test_a_container_that_starts_again_compares_what_was_not_compared(
    registry: MlflowServer, tmp_path: Path
) -> None:
    env = environment(registry, tmp_path, "iris", "1")
    for digest, code in ((DIGEST, 0), (OTHER_DIGEST, 40)):
        with running("fetch.py", tmp_path, env | {"MODEL_DIGEST": digest}, forked=True) as container:
            assert container.ended() == code, container.log


@pytest.mark.parametrize(
    "version",
    [
        pytest.param("1", id="a path in the store"),
        pytest.param("5", id="a logged model by its run"),
        pytest.param("6", id="a copy of that"),
    ],
)
def test_the_client_of_the_oldest_mlflow_fetches_the_same_files(
    registry: MlflowServer, tmp_path: Path, version: str
) -> None:
    env = environment(registry, tmp_path, "iris", version) | {"MODEL_DIGEST": DIGEST}
    with running("fetch.py", tmp_path, env, OLDEST) as container:
        assert container.ended() == 0, container.log
    assert fetched(tmp_path / "model") == FILES


@pytest.mark.parametrize("requirements", [REQUIREMENTS, OLDEST], ids=["MLflow 3", "the oldest MLflow"])
def test_an_image_that_does_not_know_the_user_fetches(
    registry: MlflowServer, tmp_path: Path, requirements: Path
) -> None:
    env = environment(registry, tmp_path, "iris", "1") | without_passwd(tmp_path / "site")
    # a store's client that wants to know, as that of HDFS does
    with (tmp_path / "site" / "sitecustomize.py").open("a") as site:
        site.write(
            "import os\n\nend = os._exit\n\n\ndef name_user(code):\n    import getpass\n\n"
            "    print('fetched by', getpass.getuser(), flush=True)\n    end(code)\n\n\nos._exit = name_user\n"
        )
    with running("fetch.py", tmp_path, env, requirements) as container:
        assert container.ended() == 0, container.log
    assert "fetched by model-server" in container.log


@pytest.fixture(scope="module", params=[REQUIREMENTS, OLDEST], ids=["MLflow 3", "the oldest MLflow"])
def storeless(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MlflowServer]:
    """A server without artifacts. "local" lies on its disk, "proxied" was logged while it still served artifacts."""
    directory = tmp_path_factory.mktemp("storeless")
    options = ("--no-serve-artifacts", "--default-artifact-root", str(directory / "mlruns"))
    server = MlflowServer.start(directory, basic_auth=False, requirements=request.param, options=options)
    with server.api() as api:
        proxied = {"name": "proxied", "artifact_location": "mlflow-artifacts:/proxied"}
        for name, experiment in (("local", {"name": "local"}), ("proxied", proxied)):
            made = api.post("experiments/create", json=experiment).json()["experiment_id"]
            run = api.post("runs/create", json={"experiment_id": made}).json()["run"]["info"]
            api.post("registered-models/create", json={"name": name})
            version = {"name": name, "source": f"{run['artifact_uri']}/model", "run_id": run["run_id"]}
            api.post("model-versions/create", json=version)
            api.post("model-versions/create", json=version | {"source": f"runs:/{run['run_id']}/model"})
    yield server
    server.stop()


@pytest.mark.parametrize("version", ["1", "2"], ids=["a path", "by the run"])
@pytest.mark.parametrize(
    ("name", "says"),
    [
        pytest.param("local", ("/mlruns/", "on the machine of the MLflow server", "spec.fetch.volumeMounts")),
        pytest.param("proxied", ("are at mlflow-artifacts:/proxied/", "runs with --no-serve-artifacts")),
    ],
)
def test_a_server_without_artifacts_is_not_the_models_fault(
    storeless: MlflowServer, tmp_path: Path, name: str, says: tuple[str, ...], version: str
) -> None:
    env = environment(storeless, tmp_path, name, version) | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    with running("fetch.py", tmp_path, env, forked=True) as container:
        assert container.ended() == 44, container.log
    words = container.last_words
    assert words["reason"] == "FetchMisconfigured"
    for part in (*says, storeless.url):
        assert part in words["message"]


def test_the_registry_of_these_tests_checks_passwords(registry: MlflowServer) -> None:
    assert urlsplit(registry.url).hostname == "127.0.0.1"
    url = f"{registry.url}/api/2.0/mlflow/registered-models/get?name=iris"
    assert httpx.get(url, trust_env=False).status_code == 401


# ---- faults that can't be had from a real store --------------------------------------------------------


@pytest.fixture(scope="module")
def fetch() -> ModuleType:
    """The script as a module; its judgement needs no MLflow."""
    spec = importlib.util.spec_from_file_location("pod_fetch", SCRIPTS / "fetch.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pod_fetch", module)
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(OSError(errno.ENOSPC, "No space left on device"), id="as the file system says it"),
        pytest.param(
            RuntimeError("##### File data #####\n[Errno 28] No space left on device"),
            id="as MLflow repeats it",
        ),
    ],
)
def test_a_full_volume_is_not_the_models_fault(fetch: ModuleType, tmp_path: Path, error: Exception) -> None:
    settings = fetch.Settings("iris", "1", tmp_path, "http://registry")
    failure = fetch.judge(error, settings, "mlflow-artifacts:/good")
    assert failure.code == fetch.FETCH_MISCONFIGURED
    assert "No space left on device" in failure.message
    assert "spec.fetch.volume" in failure.message


def test_a_message_carries_no_credentials_and_fits_in_a_kilobyte(fetch: ModuleType) -> None:
    env = {
        "MLFLOW_TRACKING_USERNAME": "ada",
        "MLFLOW_TRACKING_PASSWORD": "p/w&d",
        "AWS_SECRET_ACCESS_KEY": "aws-key-value",
    }
    text = (
        "GET https://ada:p%2Fw%26d@store/x?X-Amz-Signature=feed failed: <html><b>p/w&d</b></html> aws-key-value"
        " Authorization: Basic YWRhOnAvdyZk " + "ü" * 2000
    )
    said = fetch.clean(text, env)
    assert len(said.encode()) <= 1024
    for secret in ("p/w&d", "p%2Fw%26d", "feed", "aws-key-value", "YWRhOnAvdyZk", "<"):
        assert secret not in said


# ---- the digest --------------------------------------------------------------------------------------

INTEGRITY = Path(__file__).parents[2] / "docs" / "guides" / "integrity.md"


def by_the_documented_command(directory: Path) -> str:
    """The digest as a person computes it, by the command of the page on integrity."""
    command = re.search(r"^```sh\n(find .*?)\n```$", INTEGRITY.read_text(), re.DOTALL | re.MULTILINE)
    assert command
    done = subprocess.run(
        ["sh", "-euc", command.group(1)],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return f"sha256:{done.stdout.split()[0]}"


def write(directory: Path, files: Mapping[str, bytes]) -> None:
    for path, content in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)


# a directory and a file of one name exclude each other, so directories end otherwise
FILE_NAME = st.text(st.sampled_from("aAbä .-_'\"$*~\t日"), min_size=1, max_size=4).map(
    lambda name: name + "f"
)
DIRECTORY = st.sampled_from(["", "", "d/", "d-/", "d/e/", ".d/", "D d/"])
MODEL_FILES = st.dictionaries(
    st.builds("{}{}".format, DIRECTORY, FILE_NAME), st.binary(max_size=3), min_size=1
)


@settings(max_examples=30, deadline=None)
@given(files=MODEL_FILES)
def test_the_digest_is_what_the_documented_command_prints(fetch: ModuleType, files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        write(Path(one), files)
        # the order in which files are made, what MLflow's client adds, and empty directories are no part of it
        write(Path(other), dict(reversed(files.items())) | {"registered_model_meta": b"model_name: iris"})
        (Path(other) / "empty").mkdir()
        assert (
            fetch.digest_of(Path(one)) == fetch.digest_of(Path(other)) == by_the_documented_command(Path(one))
        )
        assert by_the_documented_command(Path(other)) == fetch.digest_of(Path(one))


@pytest.mark.parametrize(
    "files",
    [
        pytest.param(FILES | {"data/weights.bin": b"\1" * 5000}, id="other content"),
        pytest.param(FILES | {"more.py": b""}, id="a file more"),
        pytest.param({path: FILES[path] for path in sorted(FILES)[1:]}, id="a file less"),
        pytest.param(
            {path.replace("data/", "code/"): content for path, content in FILES.items()},
            id="another directory",
        ),
        pytest.param(FILES | {"data/registered_model_meta": b""}, id="the client's file deeper down"),
    ],
)
def test_any_change_of_the_files_changes_the_digest(
    fetch: ModuleType, tmp_path: Path, files: dict[str, bytes]
) -> None:
    write(tmp_path, files)
    assert fetch.digest_of(tmp_path) != f"sha256:{DIGEST}"


def printed(directory: Path) -> subprocess.CompletedProcess[str]:
    """``fetch.py --digest`` as a data scientist runs it: any Python, no MLflow, no variables."""
    return subprocess.run(
        [sys.executable, "-I", str(SCRIPTS / "fetch.py"), "--digest", str(directory)],
        env={},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_script_prints_the_digest_of_a_directory(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    done = printed(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"sha256:{DIGEST}\n", "")


def link(directory: Path) -> None:
    (directory / "weights.bin").symlink_to("/etc/hostname")


@pytest.mark.parametrize(
    ("make", "named"),
    [
        pytest.param(link, "'./weights.bin' is a link", id="a link to a file"),
        pytest.param(
            lambda at: (at / "code").symlink_to("/usr"), "'./code' is a link", id="a link to a directory"
        ),
        pytest.param(lambda at: os.mkfifo(at / "pipe"), "'./pipe' is a link or a special file", id="a pipe"),
        pytest.param(
            lambda at: (at / "a\nb").touch(), r"'./a\nb' has a line break", id="a line feed in a name"
        ),
        pytest.param(lambda at: (at / "a\rb").touch(), r"'./a\rb' has a line break", id="a carriage return"),
        pytest.param(lambda at: (at / "a\\b").touch(), "a backslash in it", id="a backslash in a name"),
    ],
)
def test_what_no_digest_can_cover_is_refused(
    tmp_path: Path, make: Callable[[Path], object], named: str
) -> None:
    write(tmp_path, FILES)
    make(tmp_path)
    done = printed(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert named in done.stderr


@pytest.mark.parametrize(
    ("tag", "digest"),
    [
        pytest.param("", "", id="no tag"),
        pytest.param(f"sha256:{DIGEST}", f"sha256:{DIGEST}", id="with its algorithm"),
        pytest.param(DIGEST, f"sha256:{DIGEST}", id="the digits alone"),
        pytest.param(f" SHA256:{DIGEST.upper()}\n", f"sha256:{DIGEST}", id="in capital letters, with blanks"),
    ],
)
def test_a_digest_tag_is_read_as_it_is_meant(
    fetch: ModuleType, tmp_path: Path, tag: str, digest: str
) -> None:
    env = {
        "MODEL_NAME": "iris",
        "MODEL_VERSION": "1",
        "MODEL_DIR": str(tmp_path),
        "MLFLOW_TRACKING_URI": "http://registry",
        "MODEL_DIGEST": tag,
    }
    assert fetch.Settings.from_env(env).digest == digest


def test_fetched_files_that_no_digest_can_cover_are_a_mismatch(fetch: ModuleType, tmp_path: Path) -> None:
    write(tmp_path, FILES)
    link(tmp_path)
    settings_ = fetch.Settings("iris", "1", tmp_path, "http://registry", f"sha256:{DIGEST}")
    with pytest.raises(fetch.FetchError, match=r"iris version 1 .* '\./weights\.bin' is a link") as failure:
        fetch._compare_digest(settings_, tmp_path, "file:///good")
    assert failure.value.code == fetch.DIGEST_MISMATCH
