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
        (fetch.STORE_REFUSED, "asks for a client certificate: put tls.crt"),
    ),
    "unknown credentials": (
        raised("401 Client Error: Unauthorized"),
        REGISTRY,
        (fetch.STORE_REFUSED, "(401): check the registry's credentials Secret"),
    ),
    "a user without the permission": (
        of_s3("failed with error code 403"),
        STORE,
        (fetch.STORE_REFUSED, "does not permit it (403): check the store's credentials"),
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
        (fetch.ARTIFACT_MISSING, "its files are not at s3://models/churn "),
    ),
    "an authority that the store's client does not know": (
        of_s3(UNTRUSTED),
        STORE,
        (fetch.STORE_UNREACHABLE, "in AWS_CA_BUNDLE"),
    ),
    "a server that hangs up": (
        raised(HUNG_UP),
        REGISTRY,
        (fetch.STORE_UNREACHABLE, "if it asks for a client certificate, put tls.crt"),
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
