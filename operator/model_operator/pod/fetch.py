"""Fetch one exact version of a registered model into a directory. The init container of a serving pod runs this.

The image needs MLflow. The script runs as non-root on a read-only root file system. These variables configure it:

    MODEL_NAME, MODEL_VERSION    the version: models:/NAME/VERSION
    MODEL_DIR                    an empty, writable volume, default /model
    MODEL_DIGEST                 the digest in the version's tag. Without it, nothing is compared
    MLFLOW_TRACKING_URI          the registry, with MLFLOW_TRACKING_USERNAME and _PASSWORD, or _TOKEN
    MLFLOW_REGISTRY_URI          databricks-uc for Unity Catalog, then with DATABRICKS_HOST and _TOKEN
    REGISTRY_CLIENT_CERT_DIR     a directory with tls.crt and tls.key, if the registry requires a client certificate

MLflow's client and the artifact store's client read their own variables as well. A container that starts again after
a success has nothing to do. After a failure it starts over. The script exits with one of the exit codes below and
leaves a line of JSON in the termination message. On success, "inputExample" is true if the model has an example.

``fetch.py --digest DIRECTORY`` prints the digest of the model in that directory. It needs Python only.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

DIGEST_MISMATCH = 40
ARTIFACT_MISSING = 41
STORE_UNREACHABLE = 42
STORE_REFUSED = 43
FETCH_MISCONFIGURED = 44
TERMINATED = 128 + signal.SIGTERM

REASONS = {
    DIGEST_MISMATCH: "DigestMismatch",
    ARTIFACT_MISSING: "ArtifactMissing",
    STORE_UNREACHABLE: "StoreUnreachable",
    STORE_REFUSED: "StoreRefused",
    FETCH_MISCONFIGURED: "FetchMisconfigured",
}

MESSAGE_BYTES = 1024
# names in the volume: the marker names the version that was fetched completely
MARKER = ".model-operator-fetched"
PARTIAL_PREFIX = ".model-operator-partial-"
# in the model's own directory: files that MLflow's client and this script add
NOT_THE_MODELS = (b"./registered_model_meta", f"./{MARKER}".encode())
# by the name's last words: TOKENIZERS_PARALLELISM=false is no secret, and "false" no word to hide
SECRET_VARIABLE = re.compile(r"(PASSWORD|PASSWD|TOKEN|SECRET|CREDENTIALS?|(^|_)KEY)(_|$)", re.IGNORECASE)
# in Azure's addresses the container stands where others have a user
USER = re.compile(r"(?<!wasb)(?<!wasbs)(?<!abfs)(?<!abfss)(://)[^/@\s]+@")
# of the clients of S3, of Google's and of Azure's store
STORES = {
    "gs": "Google Cloud Storage",
    "r2": "Cloudflare R2",
    "b2": "Backblaze B2",
}
STORE_CLIENTS = frozenset({"botocore", "boto3", "s3transfer", "google", "azure"})
NO_CREDENTIALS = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "CredentialUnavailableError"}
)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


class FetchError(Exception):
    """An exit code and the text of the termination message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Settings:
    name: str
    version: str
    model_dir: Path
    registry: str
    digest: str = ""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Reads and checks the environment. Raises FetchError that names the variable."""
        for variable in ("MODEL_NAME", "MODEL_VERSION", "MLFLOW_TRACKING_URI"):
            if not env.get(variable):
                raise FetchError(FETCH_MISCONFIGURED, f"the environment variable {variable} is not set")
        version = env["MODEL_VERSION"]
        if not re.fullmatch(r"[0-9]{1,18}", version):
            raise FetchError(
                FETCH_MISCONFIGURED, f"MODEL_VERSION is {version!r}: it must be an exact version"
            )
        model_dir = Path(env.get("MODEL_DIR") or "/model")
        if not model_dir.is_dir() or not os.access(model_dir, os.W_OK | os.X_OK):
            raise FetchError(
                FETCH_MISCONFIGURED,
                f"MODEL_DIR: {model_dir} is not a directory that user {os.getuid()} may write:"
                " check spec.fetch.volume and the pod's fsGroup",
            )
        digest = env.get("MODEL_DIGEST", "").strip().lower()
        if digest and not re.fullmatch(r"(sha256:)?[0-9a-f]{64}", digest):
            raise FetchError(
                FETCH_MISCONFIGURED,
                f"the digest tag of {env['MODEL_NAME']} version {version} (spec.gates.integrity.digestTag) is"
                f" {env['MODEL_DIGEST'][:100]!r}: it must be sha256: and 64 hexadecimal digits",
            )
        if digest:
            digest = "sha256:" + digest.removeprefix("sha256:")
        registry = env["MLFLOW_TRACKING_URI"]
        if env.get("MLFLOW_REGISTRY_URI", "").startswith("databricks"):
            registry = env.get("DATABRICKS_HOST") or registry
        return cls(env["MODEL_NAME"], version, model_dir, registry, digest)

    @property
    def model(self) -> str:
        return f"{self.name} version {self.version}"

    @property
    def receipt(self) -> str:
        """The content of the marker after a success: the version, and the digest that the files match."""
        return f"{self.model}\n{self.digest or 'not compared'}\n"


def fetch(settings: Settings) -> None:
    """Fetches the model's files into MODEL_DIR. The marker is written last. Raises FetchError."""
    for left_over in settings.model_dir.glob(PARTIAL_PREFIX + "*"):
        shutil.rmtree(left_over, ignore_errors=True)
    source = location = ""
    partial = Path(tempfile.mkdtemp(prefix=PARTIAL_PREFIX, dir=settings.model_dir))
    try:
        try:
            _show_certificate(os.environ)
            source = _read_source(settings)
            location, uri = _locate(settings)
            _refuse_other_machines(settings, location)
            _download(uri, partial)
        except FetchError:
            raise
        except Exception as error:
            raise judge(_add_reason(error, location), settings, source, location) from error
        if not (partial / "MLmodel").is_file():
            _refuse_incomplete(settings, partial, Place(source, location, settings.registry))
        if settings.digest:
            _compare_digest(settings, partial, source)
        for entry in partial.iterdir():
            _replace(entry, settings.model_dir / entry.name)
        (settings.model_dir / MARKER).write_text(settings.receipt)
    except OSError as error:
        raise judge(error, settings, source, location) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _show_certificate(env: MutableMapping[str, str]) -> None:
    """Configures MLflow's client with the certificate in REGISTRY_CLIENT_CERT_DIR. Raises FetchError.

    The client needs certificate and key in one file. It is in memory, because the server mounts the volumes, too.
    """
    directory = env.get("REGISTRY_CLIENT_CERT_DIR")
    if not directory:
        return
    try:
        parts = [(Path(directory) / name).read_bytes() for name in ("tls.crt", "tls.key")]
    except OSError as error:
        raise FetchError(
            FETCH_MISCONFIGURED,
            f"the client certificate for the registry can't be read ({error.filename}: {error.strerror}): check"
            " tls.crt and tls.key in the registry's credentials Secret in this namespace",
        ) from error
    file = os.memfd_create("registry-client-certificate")
    os.write(file, b"\n".join(parts))
    env["MLFLOW_TRACKING_CLIENT_CERT_PATH"] = f"/proc/self/fd/{file}"


def _read_source(settings: Settings) -> str:
    """Returns the version's source. This comes first, to distinguish a missing version from missing files."""
    try:
        from mlflow import MlflowClient  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise FetchError(
            FETCH_MISCONFIGURED,
            f"the fetching image has no MLflow ({type(error).__name__}: {error}): set spec.fetch.image",
        ) from error
    found = MlflowClient().get_model_version(settings.name, settings.version)
    return str(found.source)


def _locate(settings: Settings) -> tuple[str, str]:
    """Returns the address of the version's files in their store, and the URI for MLflow's client.

    The address is empty if the registry does not share it.
    """
    from mlflow import MlflowClient

    uri = f"models:/{settings.name}/{settings.version}"
    if os.environ.get("MLFLOW_REGISTRY_URI", "").startswith("databricks"):
        # Unity Catalog gives credentials for the files of a version, and only to MLflow's own client
        return "", uri
    location = str(MlflowClient().get_model_version_download_uri(settings.name, settings.version))
    if found := re.fullmatch(r"runs:/+([^/]+)/([^/]+)(/.*)?", location):
        uri = location = _locate_in_run(found.group(1), found.group(2), found.group(3) or "")
    elif found := re.fullmatch(r"models:/+(m-[^/]+)(/.*)?", location):
        answer = _request(f"logged-models/{found.group(1)}")
        location = str(answer["model"]["info"]["artifact_uri"]).rstrip("/") + (found.group(2) or "")
    if re.search(r"[?#;%/:@\[\]]|^\s|\s$", settings.name):
        # such a name can't be a part of a URI, and the registry takes it as a parameter
        uri = location
    return location, uri


def _locate_in_run(run_id: str, name: str, below: str) -> str:
    """Returns the address of ``runs:/RUN/NAME/...``. In MLflow 3, a logged model of that name has its own directory.

    MLflow's client finds it from version 3 on only, never by the version, and hides errors.
    """
    info = _request("runs/get", params={"run_id": run_id})["run"]["info"]
    query = {
        "experiment_ids": [info["experiment_id"]],
        "filter": f"name = '{name}' AND source_run_id = '{run_id}'",
    }
    # a quote would end the name in the filter, and MLflow rejects it in a model's name
    found = (
        _request("logged-models/search", absent={}, json=query) if re.fullmatch(r"[^'\"\\]+", name) else {}
    )
    models = [model["info"] for model in found.get("models", []) if model["info"].get("name") == name]
    newest = max(models, key=lambda model: int(model.get("creation_timestamp_ms") or 0), default=None)
    if newest:
        return str(newest["artifact_uri"]).rstrip("/") + below
    return f"{info['artifact_uri'].rstrip('/')}/{name}{below}"


def _request(endpoint: str, absent: dict[str, Any] | None = None, **content: Any) -> dict[str, Any]:
    """Sends a request to the registry's REST API. The MLflow of the image may have no method for the endpoint.

    Returns ``absent``, if that is given, where the server does not know the endpoint.
    """
    from mlflow import MlflowClient
    from mlflow.utils.rest_utils import (  # type: ignore[import-not-found,unused-ignore]
        http_request,
        verify_rest_response,
    )

    path = f"/api/2.0/mlflow/{endpoint}"
    credentials = MlflowClient()._tracking_client.store.get_host_creds()
    response = http_request(credentials, path, "POST" if "json" in content else "GET", **content)
    if absent is not None and response.status_code in (404, 405) and '"error_code"' not in response.text:
        return absent
    return dict(json.loads(verify_rest_response(response, path).text))


def _add_reason(error: Exception, location: str) -> Exception:
    """Adds the server's reason for serving no artifacts. MLflow's client retries such an answer and drops its text."""
    if not location.startswith("mlflow-artifacts:/") or "503" not in str(error):
        return error
    try:
        from mlflow import MlflowClient
        from mlflow.utils.rest_utils import http_request

        credentials = MlflowClient()._tracking_client.store.get_host_creds()
        path = "/api/2.0/mlflow-artifacts/artifacts"
        answer = http_request(credentials, path, "GET", max_retries=0, raise_on_status=False, timeout=5)
        explained = RuntimeError(f"{error}: {answer.text[:500]}")
    except Exception:
        return error
    explained.__cause__ = error
    return explained


def _refuse_other_machines(settings: Settings, location: str) -> None:
    """Raises FetchError if the files are on another machine's disk, as with an MLflow server without a store."""
    path = _local_path(location)
    if path is None or _has_content(path):
        return
    # if a directory above has content, it was mounted, and the model was deleted. Not so for /tmp or /home
    if any(_has_content(parent) for parent in path.parents[:3] if len(parent.parts) > 2):
        return
    raise FetchError(
        FETCH_MISCONFIGURED,
        f"the files of {settings.model} are at {path}, a path on the machine of the MLflow server"
        f" {redact_uri(settings.registry)} or on the one that logged the model. This pod has no such path. Start the"
        " server with --artifacts-destination (and without --no-serve-artifacts) or with an artifact root in a store"
        " such as s3://, and log the model again. Or mount the directory in spec.pod.volumes and"
        " spec.fetch.volumeMounts",
    )


def _has_content(path: Path) -> bool:
    """Whether the path is a directory with content. False for one that this user may not read, such as /root/mlruns."""
    try:
        return any(path.iterdir())
    except OSError:
        return False


def _local_path(location: str) -> Path | None:
    """The path in a location without a store, or None."""
    if re.match(r"[A-Za-z]:[\\/]", location):  # Windows
        return Path(location)
    parts = urllib.parse.urlsplit(location)
    if parts.scheme == "file":
        return Path(urllib.parse.unquote(parts.path))
    return Path(location) if location and not parts.scheme else None


def _refuse_incomplete(settings: Settings, directory: Path, place: Place) -> NoReturn:
    names = sorted(entry.name for entry in directory.iterdir() if entry.name != "registered_model_meta")
    found = f"only {', '.join(names[:5])}" + (" and more" if len(names) > 5 else "") if names else "nothing"
    raise FetchError(
        ARTIFACT_MISSING,
        f"{settings.model} is registered, but there is no MLmodel file at {place.at}, {place.server} has {found} there:"
        " the files were deleted, or never uploaded",
    )


def _download(uri: str, directory: Path) -> None:
    import mlflow.artifacts  # type: ignore[import-not-found,unused-ignore]

    fetched = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(directory)))
    if fetched != directory and fetched.is_dir():
        # some stores put the files into a directory of the artifact's name
        for entry in list(fetched.iterdir()):
            _replace(entry, directory / entry.name)


def _replace(entry: Path, target: Path) -> None:
    """Moves a file within the volume. An interrupted fetch of the same version may have left another in its place."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    entry.rename(target)


# ---- are they the files that were approved? ------------------------------------------------------------


class UncoveredError(Exception):
    """A directory holds something that no digest can cover. The text names it."""


def digest_of(directory: Path) -> str:
    """The canonical digest of the model in ``directory``, ``sha256:`` and 64 hexadecimal digits.

    It is the SHA-256 of the output of ``sha256sum`` for all files, sorted bytewise by their path ``./...``. See
    docs/guides/integrity.md. Raises UncoveredError on a link or a special file, and on a name that releases of
    sha256sum write differently. Raises OSError if something can't be read.
    """
    lines = []
    for path in _files(directory):
        content = hashlib.sha256()
        with (directory / os.fsdecode(path)).open("rb") as file:
            while chunk := file.read(2**20):
                content.update(chunk)
        lines.append((path, content.hexdigest().encode()))
    listing = b"".join(digest + b"  " + path + b"\n" for path, digest in sorted(lines))
    return "sha256:" + hashlib.sha256(listing).hexdigest()


def _files(directory: Path, prefix: bytes = b"./") -> Iterator[bytes]:
    """The paths ``./...`` of the plain files under the directory, without those that are not the model's."""
    with os.scandir(os.fsencode(directory)) as entries:
        for entry in entries:
            path = prefix + entry.name
            if path in NOT_THE_MODELS:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _files(directory / os.fsdecode(entry.name), path + b"/")
            elif not entry.is_file(follow_symlinks=False):
                raise UncoveredError(f"{os.fsdecode(path)!r} is a link or a special file")
            elif re.search(rb"[\n\r\\]", path):
                raise UncoveredError(f"the name {os.fsdecode(path)!r} has a line break or a backslash in it")
            else:
                yield path


def _compare_digest(settings: Settings, directory: Path, source: str) -> None:
    """Raises FetchError if the fetched files do not match the tag."""
    started = time.monotonic()
    try:
        found = digest_of(directory)
    except UncoveredError as error:
        raise FetchError(
            DIGEST_MISMATCH,
            f"{settings.model} has the digest tag {settings.digest}, but no digest can cover the files at"
            f" {redact_uri(source)}: {error}",
        ) from error
    if found != settings.digest:
        raise FetchError(
            DIGEST_MISMATCH,
            f"the files of {settings.model} do not match its digest tag: the tag has {settings.digest}, the files at"
            f" {redact_uri(source)} have {found}. The files changed after the tag was set, or the tag was computed"
            " from other files",
        )
    print(f"the digest matches the tag, checked in {time.monotonic() - started:.1f} s", flush=True)


def print_digest(arguments: list[str]) -> int:
    """``--digest DIRECTORY`` on the command line. Returns the exit code."""
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("usage: fetch.py --digest DIRECTORY_OF_THE_MODEL", file=sys.stderr)
        return 2
    try:
        print(digest_of(Path(arguments[0])))
    except (UncoveredError, OSError) as error:
        print(f"{arguments[0]} can't have a digest: {error}", file=sys.stderr)
        return 1
    return 0


# ---- the cause of a failure ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where the files of a version are."""

    source: str
    """The version's source. Empty until the registry has returned it."""
    location: str
    """The address in their store. Empty if it is unknown."""
    registry: str

    @property
    def at(self) -> str:
        """The address, with the source that led to it."""
        if self.location in ("", self.source):
            return redact_uri(self.source)
        return f"{redact_uri(self.location)} (source {redact_uri(self.source)})"

    @property
    def server(self) -> str:
        """The server that holds the files."""
        parts = urllib.parse.urlsplit(self.location or self.source)
        host = parts.netloc.rpartition("@")[2]
        if parts.scheme == "s3":
            variables = ("MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
            endpoint = next(filter(None, map(os.environ.get, variables)), None)
            return (
                redact_uri(endpoint)
                if endpoint
                else "Amazon S3 (MLFLOW_S3_ENDPOINT_URL names no other store)"
            )
        if parts.scheme == "dbfs":
            return redact_uri(os.environ.get("DATABRICKS_HOST") or self.registry)
        if parts.scheme in STORES:
            return STORES[parts.scheme]
        if _local_path(self.location or self.source):
            return "the file system of this pod"
        return host or f"the MLflow server {redact_uri(self.registry)}"


@dataclass(frozen=True)
class Failure:
    """A failed fetch, with the fields for the conditions and messages of the rules below."""

    settings: Settings
    place: Place
    error: BaseException
    causes: tuple[BaseException, ...]
    text: str
    """The texts of all causes."""
    status: int
    """The HTTP status behind it, or 0."""

    @property
    def full(self) -> str:
        """The file system's reason why the volume is not writable, also as text in MLflow's error. Empty if it is."""
        for cause in self.causes:
            if isinstance(cause, OSError) and cause.errno in FULL and not _is_network(cause):
                return cause.strerror or str(cause)
        found = re.search(r"No space left on device|Disk quota exceeded|Read-only file system", self.text)
        return found.group() if found else ""

    @property
    def free(self) -> int:
        return shutil.disk_usage(self.settings.model_dir).free // 2**20

    @property
    def lacking(self) -> ImportError | None:
        return next((cause for cause in self.causes if isinstance(cause, ImportError)), None)

    @property
    def library(self) -> str:
        """The shared library that the image lacks."""
        found = re.search(r"([^\s'\"/]+): cannot open shared object file|Unable to load (lib\w+)", self.text)
        return (found.group(1) or found.group(2)) if found else ""

    @property
    def missing(self) -> bool:
        return _says_missing(self.causes)

    @property
    def direct(self) -> bool:
        """Whether the store's own client failed, and not MLflow's, which sends the registry's credentials."""
        return any(type(cause).__module__.split(".")[0] in STORE_CLIENTS for cause in self.causes)

    @property
    def anonymous(self) -> bool:
        return any(type(cause).__name__ in NO_CREDENTIALS for cause in self.causes)

    @property
    def unreached(self) -> bool:
        return (
            self.status >= 500
            or self.status in (408, 429)
            or any(_is_network(cause) for cause in self.causes)
            or _says_unreached(self.text)
        )

    @property
    def model(self) -> str:
        return self.settings.model

    @property
    def source(self) -> str:
        return self.place.source

    @property
    def at(self) -> str:
        return self.place.at

    @property
    def server(self) -> str:
        return self.place.server

    @property
    def scheme(self) -> str:
        return urllib.parse.urlsplit(self.place.location or self.source).scheme

    @property
    def where(self) -> str:
        if self.source:
            return f"the store of {self.model}, {self.at} at {self.server},"
        return f"the registry {redact_uri(self.settings.registry)}"

    @property
    def host(self) -> str:
        return urllib.parse.urlsplit(self.settings.registry).netloc.rpartition("@")[2]

    @property
    def why(self) -> str:
        return _innermost(str(self.error))

    @property
    def kind(self) -> str:
        return type(self.error).__name__

    @property
    def remedy(self) -> str:
        """For a server that refuses."""
        if self.direct:
            return (
                "check the store's credentials in spec.fetch.env and spec.fetch.envFrom, or the identity of the pods'"
                " service account, and their permission to read"
            )
        return "check the registry's credentials Secret in this namespace, and the permissions of its user"


@dataclass(frozen=True)
class Rule:
    """An exit code and its message, a template with a Failure's fields, where ``applies``."""

    applies: Callable[[Failure], object]
    code: int
    message: str


CERTIFICATE_REMEDY = "put tls.crt and tls.key into the registry's credentials Secret in this namespace"

# the first one that applies counts
RULES = (
    Rule(
        lambda it: it.lacking,
        FETCH_MISCONFIGURED,
        "the fetching image can't read {it.at}, it lacks the module {it.lacking.name!r}:"
        " set spec.fetch.image to an image with that store's client ({it.lacking})",
    ),
    Rule(
        lambda it: "Could not find a registered artifact repository" in it.text,
        FETCH_MISCONFIGURED,
        "the fetching image's MLflow has no client for {it.scheme}: addresses, and {it.model} is at {it.at}: set"
        " spec.fetch.image to an image with that plugin of MLflow, or log the model to another store",
    ),
    Rule(
        lambda it: "--no-serve-artifacts" in it.text,
        FETCH_MISCONFIGURED,
        "the files of {it.model} are at {it.at}, and {it.server} does not serve artifacts, since it runs with"
        " --no-serve-artifacts: start it without that option, or log the model to a store that pods can read",
    ),
    Rule(
        lambda it: it.scheme == "dbfs" and it.status == 404 and not os.environ.get("DATABRICKS_HOST"),
        FETCH_MISCONFIGURED,
        "the files of {it.model} are at {it.at}, which only a Databricks workspace has, but the registry is"
        " {it.server}: log the model to a store that pods can read ({it.why})",
    ),
    Rule(
        lambda it: it.library,
        FETCH_MISCONFIGURED,
        "the fetching image can't read {it.at}, it lacks the shared library {it.library}: set spec.fetch.image to an"
        " image that has it ({it.why})",
    ),
    Rule(
        lambda it: it.full,
        FETCH_MISCONFIGURED,
        "the volume at {it.settings.model_dir} can't take {it.model}: {it.full} ({it.free} MiB free):"
        " check spec.fetch.volume and the limits on ephemeral storage",
    ),
    Rule(
        lambda it: "Invalid Host header" in it.text,
        STORE_REFUSED,
        "{it.where} rejects the host name in this pod's requests (Invalid Host header): start the MLflow"
        " server with --allowed-hosts that include {it.host}",
    ),
    Rule(
        lambda it: it.anonymous,
        STORE_REFUSED,
        "{it.where} got no credentials from this pod: {it.remedy} ({it.why})",
    ),
    Rule(
        lambda it: re.search(r"certificate[ _]required", it.text, re.I),
        STORE_REFUSED,
        f"{{it.where}} requires a client certificate: {CERTIFICATE_REMEDY} ({{it.why}})",
    ),
    Rule(
        lambda it: it.status == 401,
        STORE_REFUSED,
        "{it.where} rejects the credentials (401): {it.remedy} ({it.why})",
    ),
    Rule(
        lambda it: it.status == 403,
        STORE_REFUSED,
        "{it.where} denies access (403): {it.remedy} ({it.why})",
    ),
    Rule(
        lambda it: it.missing and not it.source,
        ARTIFACT_MISSING,
        "{it.where} has no {it.model} ({it.why})",
    ),
    Rule(
        lambda it: it.status == 404 and not it.source,
        FETCH_MISCONFIGURED,
        "{it.where} answers, but not as MLflow does: check the registry's URL and its path ({it.why})",
    ),
    Rule(
        lambda it: it.status == 404 or it.missing,
        ARTIFACT_MISSING,
        "{it.model} is registered, but its files are not at {it.at}, {it.server} answered: {it.why}",
    ),
    Rule(
        lambda it: it.unreached and it.direct and "CERTIFICATE_VERIFY_FAILED" in it.text,
        STORE_UNREACHABLE,
        "{it.where} can't be reached ({it.why}). Name the authority that signed its certificate in spec.fetch.env, for"
        " S3 in AWS_CA_BUNDLE",
    ),
    Rule(
        # a server that requires a client certificate closes the connection like this if its alert is lost
        lambda it: it.unreached and "EOF occurred in violation of protocol" in it.text,
        STORE_UNREACHABLE,
        "{it.where} can't be reached ({it.why}). If it requires a client certificate, " + CERTIFICATE_REMEDY,
    ),
    Rule(
        lambda it: it.unreached,
        STORE_UNREACHABLE,
        "{it.where} can't be reached ({it.why})",
    ),
    Rule(
        lambda it: it.status >= 400,
        FETCH_MISCONFIGURED,
        "{it.where} does not understand the request ({it.why})",
    ),
    Rule(
        # an unknown error is not the model's fault
        lambda it: True,
        STORE_UNREACHABLE,
        "fetching from {it.where} failed ({it.kind}: {it.why})",
    ),
)


def judge(error: BaseException, settings: Settings, source: str, location: str = "") -> FetchError:
    """Returns the exit code and message for an error of MLflow's client, a store's client or the file system.

    ``source`` is empty until the registry has returned it, ``location`` until the address of the files is known.
    """
    failure = describe(error, settings, source, location)
    rule = find_rule(failure)
    return FetchError(rule.code, rule.message.format(it=failure))


def describe(error: BaseException, settings: Settings, source: str, location: str = "") -> Failure:
    """Returns the fields for the rules. ``source`` and ``location`` are those of ``judge``."""
    causes = tuple(_causes(error))
    text = " | ".join((*(str(cause) for cause in causes), *map(_body_of, causes))).rstrip(" |")
    place = Place(source, location, settings.registry)
    return Failure(settings, place, error, causes, text, _status(causes, text))


def find_rule(failure: Failure) -> Rule:
    """The first rule that applies. The last one always applies."""
    return next(rule for rule in RULES if rule.applies(failure))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and its causes, at most eight."""
    seen: list[BaseException] = []
    while error is not None and error not in seen and len(seen) < 8:
        seen.append(error)
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _body_of(cause: BaseException) -> str:
    """The text of the response in an HTTP client's error."""
    body = getattr(getattr(cause, "response", None), "text", "")
    return body[:1000] if isinstance(body, str) else ""


def _innermost(text: str) -> str:
    """The text inside the HTTP client's three layers of wrapping, or the whole text."""
    caused = re.search(r"""\(Caused by \w+\((['"])(.*?)\1\)""", text)
    if not caused:
        return text
    # the rest is the description of a connection object
    return caused.group(2).rpartition("): ")[2]


def _status(causes: Sequence[BaseException], text: str) -> int:
    """The HTTP status behind the failure, or 0."""
    for cause in causes:
        response = getattr(cause, "response", None)
        if isinstance(status := getattr(response, "status_code", None), int):
            return status
        if isinstance(response, dict):  # the S3 client's way
            metadata = response.get("ResponseMetadata", {})
            if isinstance(status := metadata.get("HTTPStatusCode"), int):
                return status
    patterns = (
        r"failed with (?:error|status) code (\d{3})\b",
        r"\b(\d{3}) (?:Client|Server) Error\b",
        r"too many (\d{3}) error responses",
    )
    for pattern in patterns:
        if found := re.search(pattern, text):
            return int(found.group(1))
    for cause in causes:
        # an MlflowException without a status of its own claims 500: INTERNAL_ERROR is its default
        code = getattr(cause, "error_code", "")
        ask = getattr(cause, "get_http_status_code", None)
        if callable(ask) and code not in ("", "INTERNAL_ERROR"):
            status = ask()
            return status if isinstance(status, int) else 0
    return 0


def _says_missing(causes: Sequence[BaseException]) -> bool:
    codes = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "NoSuchKey", "NoSuchBucket")
    return any(
        isinstance(cause, FileNotFoundError) or getattr(cause, "error_code", "") in codes for cause in causes
    ) or any("No such file or directory" in str(cause) for cause in causes)


def _is_network(cause: BaseException) -> bool:
    if isinstance(cause, (ConnectionError, TimeoutError)):
        return True
    return type(cause).__module__.split(".")[0] in ("requests", "urllib3", "socket", "ssl", "botocore")


def _says_unreached(text: str) -> bool:
    return bool(
        re.search(r"Max retries exceeded|timed? ?out|Connection (?:refused|reset|aborted)", text, re.I)
    )


# ---- redaction -----------------------------------------------------------------------------------------


def redact_uri(uri: str) -> str:
    """The URI without user, password and query (which holds the signature of a pre-signed address)."""
    return re.sub(USER, r"\1", uri).split("?")[0]


def clean(text: str, env: Mapping[str, str]) -> str:
    """At most MESSAGE_BYTES of the text, on one line, without secrets from the environment."""
    for variable, value in env.items():
        if len(value) >= 4 and SECRET_VARIABLE.search(variable):
            text = text.replace(value, "***").replace(urllib.parse.quote(value, safe=""), "***")
    user, password = env.get("MLFLOW_TRACKING_USERNAME", ""), env.get("MLFLOW_TRACKING_PASSWORD", "")
    if password:
        text = text.replace(base64.b64encode(f"{user}:{password}".encode()).decode(), "***")
    text = re.sub(USER, r"\1***@", text)
    text = re.sub(r"(https?://[^\s?'\"]+)\?[^\s'\")]+", r"\1?***", text)
    text = re.sub(r"<[^<>]{1,200}>", " ", text)  # answers in HTML
    text = " ".join(text.split())
    data = text.encode()
    return text if len(data) <= MESSAGE_BYTES else data[: MESSAGE_BYTES - 3].decode(errors="ignore") + "..."


def _report(record: dict[str, Any]) -> None:
    line = json.dumps(record, ensure_ascii=False)
    print(line, file=sys.stderr, flush=True)
    try:
        Path(os.environ.get("TERMINATION_MESSAGE_PATH") or "/dev/termination-log").write_text(line + "\n")
    except OSError as error:
        print(f"no termination message: {error}", file=sys.stderr, flush=True)


def _name_user() -> None:
    """Sets a user name if the image's passwd has none for this uid. getpass.getuser() fails otherwise."""
    import pwd  # not at the top: --digest also runs on Windows

    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        for variable in ("LOGNAME", "USER"):
            os.environ[variable] = os.environ.get(variable) or "model-server"


def _prepare_environment() -> None:
    """Makes MLflow write to the temporary directory only, never call home, and fail within seconds."""
    scratch = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 (a volume of the pod's own)
    if not os.access(os.environ.get("HOME") or "/", os.W_OK):
        os.environ["HOME"] = scratch
    _name_user()
    for variable, value in {
        "MPLCONFIGDIR": scratch,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        # the container restarts after a failure, so the client needs few retries
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        "MLFLOW_DATABRICKS_ENDPOINT_HTTP_RETRY_TIMEOUT": "20",
    }.items():
        os.environ.setdefault(variable, value)


def _has_example(model_dir: Path) -> bool:
    """Whether the server will find an example to test the model with."""
    if TYPE_CHECKING:
        from model_operator.pod.serve_example import find_example
    else:
        from serve_example import find_example  # in a pod, beside this file. --digest runs without it
    return find_example(model_dir) is not None


def _work() -> None:
    """Fetches the version, reports, and exits the process."""
    started = time.monotonic()
    code = 0
    try:
        settings = Settings.from_env(os.environ)
        marker = settings.model_dir / MARKER
        if marker.is_file() and marker.read_text() == settings.receipt:
            print(f"{settings.model} is already in {settings.model_dir}", flush=True)
        else:
            fetch(settings)
        record: dict[str, Any] = {
            "reason": "Fetched",
            "message": clean(f"{settings.model} in {time.monotonic() - started:.1f} s", os.environ),
            "inputExample": _has_example(settings.model_dir),
        }
    except FetchError as failure:
        code = failure.code
        record = {"reason": REASONS[code], "message": clean(failure.message, os.environ)}
    _report(record)
    # a return would wait for threads of a store's client
    sys.stdout.flush()
    os._exit(code)


def main() -> NoReturn:
    """Fetches the version and exits the process."""
    # process 1 has no default action for SIGTERM
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(TERMINATED))
    _prepare_environment()
    # a signal's handler runs in the main thread, and not while that is busy looking up a name
    worker = threading.Thread(target=_work, daemon=True)
    worker.start()
    worker.join()
    os._exit(1)  # only after an unexpected exception, with its stack trace as the last output


if __name__ == "__main__":
    if sys.argv[1:2] == ["--digest"]:
        sys.exit(print_digest(sys.argv[2:]))
    main()
