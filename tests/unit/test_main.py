"""The command line and the log of the operator's process."""

import logging
import sys
from pathlib import Path

import pytest

from model_operator.__main__ import _OneLine, main

SMALLEST = "registries: {default: {url: 'http://mlflow:5000'}}\n"


def test_help_teaches_the_options_the_connection_and_the_exit_codes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for word in (
        "--config FILE",
        "--check-config",
        "--version",
        "MODEL_OPERATOR_CONFIG",
        "KUBECONFIG",
        "Exit codes",
    ):
        assert word in text


def test_version_names_the_program_and_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("model-operator 0.")


def test_a_good_configuration_is_confirmed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(SMALLEST)
    assert main(["--config", str(file), "--check-config"]) == 0
    assert capsys.readouterr().out.endswith("ok, registries: default\n")


def test_the_environment_names_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(SMALLEST)
    monkeypatch.setenv("MODEL_OPERATOR_CONFIG", str(file))
    assert main(["--check-config"]) == 0
    assert str(file) in capsys.readouterr().out


@pytest.mark.parametrize("options", [["--check-config"], []], ids=["when only checked", "when started"])
def test_a_bad_configuration_ends_with_its_own_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(SMALLEST + "workers: none\n")
    assert main(["--config", str(file), *options]) == 2
    assert "config.yaml: workers: " in capsys.readouterr().err


def test_a_message_of_several_lines_is_logged_as_one_line() -> None:
    record = logging.LogRecord("model_operator.kube", logging.WARNING, "f", 1, 'a\nb "%s"', ("c",), None)
    line = _OneLine().format(record)
    assert "\n" not in line
    assert line.startswith("time=20")
    assert line.endswith(r'level=warning logger=kube msg="a\nb \"c\""')


def test_a_traceback_is_logged_in_the_line_of_its_message() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "oh", (), sys.exc_info())
    line = _OneLine().format(record)
    assert "\n" not in line
    assert "ValueError: broken" in line
