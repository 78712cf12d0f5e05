"""The command line without a cluster: exit codes, help, errors in sentences, completion, digest, terminals."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.cli.cli_objects import NOW

from model_operator.cli.app import main
from model_operator.cli.context import Context
from model_operator.cli.render.terminal import ASCII, PIPE_WIDTH, UNICODE, terminal
from model_operator.cli.snapshot import Snapshot

Run = Callable[..., tuple[int, str, str]]

GOOD = """\
apiVersion: model-operator.io/v1alpha1
kind: ModelDeployment
metadata: {name: churn}
spec: {model: {name: churn, alias: champion}}
"""
BAD = GOOD.replace("alias: champion", "alias: latest")
TEMPLATE = "{{- if .Values.enabled }}\na: {{ .Values.b }}\n{{- end }}\n"
NOBODY = """\
apiVersion: v1
kind: Config
current-context: here
contexts: [{name: here, context: {cluster: here, user: me, namespace: crm}}]
clusters: [{name: here, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: me, user: {}}]
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process; returns exit code, output, and what was said beside it."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kubectl-model", *words])
        monkeypatch.setenv("COLUMNS", "80")
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def unreachable(tmp_path: Path) -> str:
    """A kubeconfig whose cluster does not exist."""
    file = tmp_path / "kubeconfig"
    file.write_text(NOBODY)
    return str(file)


COMMANDS = [
    *(
        "get",
        "status",
        "history",
        "plan",
        "revert",
        "release",
        "retry",
        "restart",
        "approve",
        "suspend",
        "resume",
    ),
    *("lint", "digest", "doctor", "completion"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches_with_an_example_and_fits_80_columns(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"kubectl model {command}" in out
    assert max(len(line) for line in out.splitlines()) <= 80
    if command not in ("lint", "completion"):
        assert "--context" in out
        assert "--namespace" in out
        assert "--kubeconfig" in out


def test_the_list_of_commands_is_whole(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert all(f" {command} " in out for command in COMMANDS)


@pytest.mark.parametrize(
    "words",
    [
        ["frobnicate"],
        ["status"],
        ["status", "churn", "--timeout", "soon", "--wait"],
        ["status", "churn", "--version", "8"],
        ["get", "--watch", "-o", "json"],
        ["status", "churn", "-o", "xml"],
        ["get", "--kubeconfig", "/nowhere/at/all"],
        ["lint", "/nowhere/at/all.yaml"],
        ["digest", "/nowhere"],
        ["doctor", "--registry-at", "mlflow:5000"],
        ["completion", "tcsh"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_ends_with_2_and_a_sentence(
    run: Run, unreachable: str, words: list[str]
) -> None:
    code, _, err = run("--kubeconfig", unreachable, *words)
    assert code == 2
    assert err.strip()
    assert "Traceback" not in err


def test_a_missing_context_is_named(run: Run, unreachable: str) -> None:
    code, _, err = run("get", "--kubeconfig", unreachable, "--context", "prod")
    assert code == 2
    assert "there is no context prod in" in " ".join(err.split())
    assert "it has here: choose with --context" in " ".join(err.split())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no cluster is configured: there is no kubeconfig"),
        ("", "the kubeconfig can't be used"),
        ("{", "the kubeconfig can't be used"),
        ("- 1", "the kubeconfig can't be used"),
        (NOBODY.replace("current-context: here\n", ""), "the kubeconfig can't be used"),
        (NOBODY.replace("cluster: here,", "cluster: there,"), "the kubeconfig can't be used"),
    ],
    ids=["missing", "empty", "no YAML", "a list", "no current context", "no such cluster"],
)
def test_a_kubeconfig_that_leads_nowhere_is_told_in_a_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None, says: str
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    if content is not None:
        (tmp_path / "kubeconfig").write_text(content)
    code, out, err = run("get")
    assert code == 2
    assert out == ""
    assert says in " ".join(err.split())
    assert "next:" in err


def _fresh(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_waits_for_no_library_that_it_does_not_need() -> None:
    heavy = ("kopf", "kubernetes", "aiohttp", "httpx", "celpy", "jsonschema", "prometheus_client")
    _fresh(f"import sys, model_operator.cli.app; assert not set({heavy}) & set(sys.modules)")


def test_the_operator_needs_nothing_of_the_extra() -> None:
    missing = ("typer", "rich", "celpy", "jsonschema", "re2", "model_operator.cli")
    _fresh(f"import sys; sys.modules.update(dict.fromkeys({missing})); import model_operator.app.process")


def test_a_silent_api_server_ends_with_5_and_the_next_step(run: Run, unreachable: str) -> None:
    for words in (["get"], ["status", "churn"], ["retry", "churn"], ["doctor"]):
        code, _, err = run(*words, "--kubeconfig", unreachable)
        assert code == 5, words
        assert "the API server gave no answer" in " ".join(err.split())
        assert "kubectl cluster-info" in " ".join(err.split())


# --- lint ------------------------------------------------------------------------------------------


def test_lint_ends_with_1_where_a_manifest_would_be_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(f"{GOOD}---\n{BAD}")
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    code, out, err = run("lint", str(tmp_path / "good.yaml"), str(tmp_path / "template.yaml"))
    assert (code, out) == (0, "")
    assert "1 ModelDeployment checked, 1 other object skipped: no problems" in err
    code, out, _ = run("lint", str(tmp_path))
    assert code == 1
    assert out.startswith(f"{tmp_path}/bad.yaml:9: document 2 (churn): spec.model.alias: ")


def test_lint_reads_standard_input_and_speaks_json(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(BAD.encode())))
    code, out, _ = run("lint", "-", "-o", "json")
    assert code == 1
    [problem] = json.loads(out)["problems"]
    assert (problem["file"], problem["document"], problem["line"]) == ("<stdin>", 1, 4)
    assert problem["field"] == "spec.model.alias"


def test_lint_ends_with_0_where_there_are_only_warnings(run: Run, tmp_path: Path) -> None:
    few = GOOD.replace("champion}", "champion}, server: {resources: {limits: {memory: 512m}}}")
    (tmp_path / "few.yaml").write_text(few)
    code, out, err = run("lint", str(tmp_path))
    assert code == 0
    assert "(churn): warning: spec.server.resources.limits.memory: is less than one byte" in out
    assert "1 ModelDeployment checked: no problems, 1 warning" in err
    code, out, _ = run("lint", str(tmp_path), "-o", "json")
    assert [problem["severity"] for problem in json.loads(out)["problems"]] == ["warning"]


def test_lint_refuses_a_broken_file_only_if_it_may_hold_one_of_ours(run: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(GOOD + "  x: [")
    code, out, _ = run("lint", str(broken))
    assert code == 1
    assert "broken.yaml:" in out
    assert "is not YAML" in out
    for bad in (b"\xff\xfe", b"x" * (6 * 1024 * 1024)):
        broken.write_bytes(bad)
        assert run("lint", str(broken))[0] == 2


# --- digest ----------------------------------------------------------------------------------------


def test_the_digest_is_that_of_the_shell_command_in_the_docs(run: Run, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("flavors: {}\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ä b.pkl").write_bytes(b"\x00\x01")
    shell = "find . -type f ! -path ./registered_model_meta -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    expected = subprocess.check_output(shell, shell=True, cwd=tmp_path, text=True).split()[0]
    assert run("digest", str(tmp_path)) == (0, f"sha256:{expected}\n", "")


def test_what_no_digest_can_cover_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("")
    (tmp_path / "link").symlink_to("MLmodel")
    code, _, err = run("digest", str(tmp_path))
    assert code == 1
    assert "link" in err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--tag", "models:/churn@champion"], 2, "names no exact version"),
        (["--tag", "churn/8"], 2, "models:/NAME/VERSION"),
        (["--tag", "models:/churn/8"], 2, "MLFLOW_TRACKING_URI"),
        (["--tag", "models:/churn/8", "--registry", "mlflow:5000"], 2, "must be a URL"),
        (["--tag", "models:/churn/8", "--registry", "http://127.0.0.1:9"], 5, "can't be reached"),
    ],
)
def test_a_tag_that_can_not_be_written_is_explained(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, says: str
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "MLmodel").write_text("")
    found, _, err = run("digest", str(tmp_path), *words)
    assert found == code
    assert says in " ".join(err.split())


# --- completion ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(run: Run, shell: str) -> None:
    code, out, _ = run("completion", shell)
    assert code == 0
    assert "_KUBECTL_MODEL_COMPLETE" in out


def _kubectl_asks(*words: str) -> list[str]:
    program = Path(sys.executable).with_name("kubectl_complete-model")
    answer = subprocess.run(
        [program, *words],
        capture_output=True,
        text=True,
        env=os.environ | {"KUBECONFIG": "/nowhere"},
        check=True,
    )
    return answer.stdout.splitlines()


def test_kubectl_is_told_what_may_follow() -> None:
    assert set(COMMANDS) <= set(_kubectl_asks(""))
    assert _kubectl_asks("re") == ["revert", "release", "retry", "restart", "resume", ":4"]
    assert "--wait" in _kubectl_asks("status", "--w")
    assert _kubectl_asks("lint", "")[-1] == ":0", "files may follow"
    assert _kubectl_asks("status", "") == [":4"], "a cluster that is not there has no names"


# --- terminals -------------------------------------------------------------------------------------


def _stream(encoding: str = "utf-8") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


@pytest.mark.parametrize(
    ("environment", "encoding", "signs"),
    [
        ({"LANG": "en_US.UTF-8"}, "utf-8", UNICODE),
        ({}, "utf-8", UNICODE),
        ({"LC_ALL": "C"}, "utf-8", ASCII),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, "utf-8", ASCII),
        ({"LANG": "de_DE.ISO-8859-1"}, "utf-8", ASCII),
        ({"LANG": "en_US.UTF-8"}, "latin-1", ASCII),
    ],
)
def test_signs_beyond_ascii_need_a_terminal_that_has_them(environment, encoding, signs) -> None:
    found = terminal(True, environment, _stream(encoding), _stream(encoding))
    assert found.signs is signs
    assert found.out.options.ascii_only is (signs is ASCII)


def test_no_color_and_a_pipe_are_respected() -> None:
    for color, environment in ((True, {"NO_COLOR": "1"}), (False, {}), (True, {"TERM": "dumb"})):
        out = terminal(color, environment, _stream(), _stream()).out
        assert out.color_system is None
    assert terminal(True, {}, _stream(), _stream()).out.width == PIPE_WIDTH
    assert terminal(True, {"COLUMNS": "80"}, _stream(), _stream()).out.width == 80


def test_flags_lead_to_the_same_place() -> None:
    assert Context(namespace="crm", kube_context="prod").flags() == " -n crm --context prod"
    assert Context().flags() == ""


@pytest.mark.parametrize(
    ("metadata", "manager"),
    [
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}}, "the Flux Kustomization apps"),
        ({"annotations": {"argocd.argoproj.io/tracking-id": "shop:x/y"}}, "the Argo CD Application shop"),
        ({}, ""),
    ],
)
def test_who_keeps_the_object_as_git_has_it_is_known(metadata, manager) -> None:
    assert Snapshot({"metadata": metadata}, NOW).manager() == manager
