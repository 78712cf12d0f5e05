"""The rules by which fetch.py tells whose fault a failed fetch is; tests/contract has real servers."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from model_operator.pod import fetch

REGISTRY, STORE = "", "s3://key:secret@models/churn?X-Amz-Signature=feed"


def raised(text: str, *, module: str = "mlflow.exceptions", name: str = "MlflowException") -> Exception:
    kind: type[Exception] = type(name, (Exception,), {"__module__": module})
    return kind(text)


def of_s3(text: str, name: str = "ClientError") -> Exception:
    return raised(text, module="botocore.exceptions", name=name)


UNTRUSTED = "Max retries exceeded (CERTIFICATE_VERIFY_FAILED)"
HUNG_UP = "Max retries exceeded (EOF occurred in violation of protocol)"

# in the order of the rules
CASES = {
    "an image without the store's client": (
        ModuleNotFoundError("No module named 'boto3'", name="boto3"),
        STORE,
        (fetch.FETCH_MISCONFIGURED, "lacks the module 'boto3'"),
    ),
    "a scheme that MLflow has no client for": (
        raised("Could not find a registered artifact repository for: swift://models/churn"),
        "swift://models/churn",
        (
            fetch.FETCH_MISCONFIGURED,
            "no client for swift: addresses, and churn version 7 is at swift://models/churn",
        ),
    ),
    "a server that serves no artifacts": (
        raised(
            "too many 503 error responses: disabled due to the server running with `--no-serve-artifacts`"
        ),
        "mlflow-artifacts:/1/churn",
        (fetch.FETCH_MISCONFIGURED, "the MLflow server http://registry:5000 does not serve artifacts"),
    ),
    "a path of Databricks at another registry": (
        raised("API request to list files failed with status code 404"),
        "dbfs:/models/churn",
        (
            fetch.FETCH_MISCONFIGURED,
            "only a Databricks workspace has, but the registry is http://registry:5000",
        ),
    ),
    "an image without a shared library of the client": (
        OSError("libjvm.so: cannot open shared object file: No such file or directory"),
        "hdfs://namenode:8020/churn",
        (fetch.FETCH_MISCONFIGURED, "lacks the shared library libjvm.so"),
    ),
    "a full volume": (
        OSError(errno.ENOSPC, "No space left on device"),
        STORE,
        (fetch.FETCH_MISCONFIGURED, "can't take churn version 7: No space left on device"),
    ),
    "a host name that MLflow does not allow": (
        raised("403 Client Error: Invalid Host header"),
        REGISTRY,
        (fetch.STORE_REFUSED, "--allowed-hosts that include registry:5000"),
    ),
    "no credentials at all": (
        of_s3("Unable to locate credentials", "NoCredentialsError"),
        STORE,
        (fetch.STORE_REFUSED, "got no credentials from this pod: check the store's credentials"),
    ),
    "no client certificate": (
        raised("tlsv13 alert certificate required"),
        REGISTRY,
        (fetch.STORE_REFUSED, "requires a client certificate: put tls.crt"),
    ),
    "unknown credentials": (
        raised("401 Client Error: Unauthorized"),
        REGISTRY,
        (fetch.STORE_REFUSED, "(401): check the registry's credentials Secret"),
    ),
    "a user without the permission": (
        of_s3("failed with error code 403"),
        STORE,
        (fetch.STORE_REFUSED, "denies access (403): check the store's credentials"),
    ),
    "a version that is not registered": (
        FileNotFoundError("No such file or directory"),
        REGISTRY,
        (fetch.ARTIFACT_MISSING, "the registry http://registry:5000 has no churn version 7"),
    ),
    "a server that is not MLflow": (
        raised("404 Client Error: Not Found"),
        REGISTRY,
        (fetch.FETCH_MISCONFIGURED, "answers, but not as MLflow does"),
    ),
    "files that were deleted": (
        raised("404 Client Error: Not Found"),
        STORE,
        (fetch.ARTIFACT_MISSING, "its files are not at s3://models/churn, Amazon S3"),
    ),
    "an authority that the store's client does not know": (
        of_s3(UNTRUSTED),
        STORE,
        (fetch.STORE_UNREACHABLE, "in AWS_CA_BUNDLE"),
    ),
    "a server that hangs up": (
        raised(HUNG_UP),
        REGISTRY,
        (fetch.STORE_UNREACHABLE, "If it requires a client certificate, put tls.crt"),
    ),
    "a server that fails": (
        raised("500 Server Error"),
        STORE,
        (fetch.STORE_UNREACHABLE, "can't be reached (500 Server Error)"),
    ),
    "a request that the server does not understand": (
        raised("422 Client Error"),
        REGISTRY,
        (fetch.FETCH_MISCONFIGURED, "does not understand the request"),
    ),
    "something that nobody foresaw": (
        RuntimeError("boom"),
        STORE,
        (fetch.STORE_UNREACHABLE, "failed (RuntimeError: boom)"),
    ),
}


@pytest.mark.parametrize(("error", "source", "expected"), CASES.values(), ids=CASES)
def test_a_failure_has_its_exit_code_and_its_remedy(
    tmp_path: Path, error: Exception, source: str, expected: tuple[int, str]
) -> None:
    settings = fetch.Settings("churn", "7", tmp_path, "http://registry:5000")
    judged = fetch.judge(error, settings, source)
    code, words = expected
    assert (judged.code, words in judged.message) == (code, True), judged.message
    assert "secret" not in judged.message
    assert "feed" not in judged.message


def test_every_rule_has_a_case(tmp_path: Path) -> None:
    settings = fetch.Settings("churn", "7", tmp_path, "http://registry:5000")
    first = [fetch.find_rule(fetch.describe(error, settings, source)) for error, source, _ in CASES.values()]
    assert first == list(fetch.RULES)


@pytest.mark.parametrize(
    ("location", "server"),
    [
        ("s3://models/churn", "https://minio:9000"),
        ("gs://models/churn", "Google Cloud Storage"),
        ("wasbs://models@acct.blob.core.windows.net/churn", "acct.blob.core.windows.net"),
        ("abfss://models@acct.dfs.core.windows.net/churn", "acct.dfs.core.windows.net"),
        ("hdfs://namenode:8020/churn", "namenode:8020"),
        ("sftp://ada:secret@files.example.com/churn", "files.example.com"),
        ("https://files.example.com/churn", "files.example.com"),
        ("mlflow-artifacts:/1/models/m-1/artifacts", "the MLflow server http://registry:5000"),
        ("mlflow-artifacts://mlflow.example.com/1", "mlflow.example.com"),
        ("dbfs:/databricks/mlflow/1", "http://registry:5000"),
        ("file:///srv/churn", "the file system of this pod"),
        ("/srv/churn", "the file system of this pod"),
    ],
)
def test_a_missing_file_names_the_address_and_the_server_that_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str, server: str
) -> None:
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "https://minio:9000")
    monkeypatch.delenv("DATABRICKS_HOST", raising=False)
    settings = fetch.Settings("churn", "7", tmp_path, "http://registry:5000")
    place = fetch.Place("models:/m-1", location, settings.registry)
    with pytest.raises(fetch.FetchError) as missing:
        fetch._refuse_incomplete(settings, tmp_path, place)
    shown = location.replace("ada:secret@", "")
    assert missing.value.code == fetch.ARTIFACT_MISSING
    assert (
        f"no MLmodel file at {shown} (source models:/m-1), {server} has nothing there"
        in missing.value.message
    )
    failure = fetch.describe(FileNotFoundError("gone"), settings, "models:/m-1", location)
    assert f"the store of churn version 7, {shown} (source models:/m-1) at {server}," == failure.where


@pytest.mark.parametrize(
    ("location", "elsewhere"),
    [
        ("file:///nowhere/1/models/m-1/artifacts", True),
        ("/nowhere/1/run/artifacts/model", True),
        ("./mlruns/1/run/artifacts/model", True),
        ("C:\\mlruns\\1\\run\\artifacts\\model", True),
        ("{here}", False),
        ("file://{here}", False),
        ("{here}/1/run/deleted", False),
        ("{here}/empty/1/run/artifacts/model", True),
        ("/tmp/model", True),
        ("s3://models/churn", False),
        ("", False),
    ],
)
def test_a_path_that_the_pod_has_not_lies_on_another_machine(
    tmp_path: Path, location: str, elsewhere: bool
) -> None:
    settings = fetch.Settings("churn", "7", tmp_path, "http://registry:5000")
    location = location.format(here=tmp_path)
    (tmp_path / "MLmodel").touch()
    (tmp_path / "empty").mkdir()
    if not elsewhere:
        return fetch._refuse_other_machines(settings, location)
    with pytest.raises(fetch.FetchError, match="on the machine of the MLflow server") as refused:
        fetch._refuse_other_machines(settings, location)
    assert refused.value.code == fetch.FETCH_MISCONFIGURED
