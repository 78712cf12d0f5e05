"""The files that hold the operator's own credentials: what is sent, and what is said when they are no good."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from model_operator.domain.registry import ResolutionReason
from model_operator.registry import RegistryError
from model_operator.registry.clients.credentials import read_credentials


def written(directory: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return directory


def test_no_directory_means_no_credentials() -> None:
    assert read_credentials(None, "prod").authorization is None


def test_username_and_password_are_basic_auth_without_the_newline_at_their_end(tmp_path: Path) -> None:
    directory = written(tmp_path, {"username": b"op\n", "password": "pässword\r\n".encode()})
    expected = base64.b64encode("op:pässword".encode()).decode()
    assert read_credentials(directory, "prod").authorization == f"Basic {expected}"


def test_a_token_is_a_bearer(tmp_path: Path) -> None:
    assert read_credentials(written(tmp_path, {"token": b"abc"}), "prod").authorization == "Bearer abc"


def test_credentials_show_no_secret_when_printed(tmp_path: Path) -> None:
    assert "hunter2" not in repr(read_credentials(written(tmp_path, {"token": b"hunter2"}), "prod"))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        pytest.param({}, ["none of the files", "username and password, or token"], id="an empty directory"),
        pytest.param({"username": b"op"}, ["no file password"], id="a username alone"),
        pytest.param({"password": b"hunter2"}, ["no file username"], id="a password alone"),
        pytest.param(
            {"token": b"hunter2", "password": b"hunter2"}, ["token beside"], id="a token beside a password"
        ),
        pytest.param({"token": b""}, ["file token", "empty"], id="an empty token"),
        pytest.param(
            {"token": b"hunter2\nx: y"}, ["file token", "control characters"], id="a token of two lines"
        ),
        pytest.param({"token": "hunter2é".encode()}, ["file token", "ASCII"], id="a token outside ASCII"),
        pytest.param({"token": b"hunter2" * 10_000}, ["file token", "64 KiB"], id="a token over 64 KiB"),
        pytest.param(
            {"username": b"\xff", "password": b"hunter2"}, ["file username", "UTF-8"], id="no text at all"
        ),
        pytest.param({"username": b"a:b", "password": b"hunter2"}, ["colon"], id="a username with a colon"),
    ],
)
def test_unusable_files_are_named_and_not_quoted(
    tmp_path: Path, files: dict[str, bytes], words: list[str]
) -> None:
    with pytest.raises(RegistryError) as caught:
        read_credentials(written(tmp_path, files), "prod")
    assert caught.value.reason is ResolutionReason.MISCONFIGURED
    message = caught.value.message
    assert [word for word in [*words, "'prod'", str(tmp_path)] if word not in message] == []
    assert "hunter2" not in message


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"does not exist. Mount the Secret") as caught:
        read_credentials(tmp_path / "absent", "prod")
    assert str(tmp_path / "absent") in caught.value.message
