"""The commands of `make check` run at once, and the summary shows what a reader needs."""

from __future__ import annotations

import io
import os
import sys
import time
from pathlib import Path

import pytest
from tests.checks.side_by_side import Job, Result, run
from tests.cluster import child
from tests.cluster.child import Child


def shell(name: str, script: str, report: str = "") -> Job:
    return Job(name, ("sh", "-c", script), report)


def summary(*jobs: Job) -> tuple[bool, str]:
    out = io.StringIO()
    return run(jobs, out), out.getvalue()


def test_the_output_of_a_check_that_passes_is_not_shown() -> None:
    passed, text = summary(shell("types", "echo fine"), shell("format", "echo good"))
    assert passed
    assert "passed  types" in text
    assert "passed  format" in text
    assert "all 2 checks passed" in text
    assert "fine" not in text
    assert "good" not in text


def test_of_a_failure_all_output_is_shown_and_of_no_other_check() -> None:
    passed, text = summary(shell("types", "echo one; echo two >&2; exit 3"), shell("format", "echo good"))
    assert not passed
    assert "--- types\none\ntwo\n" in text
    assert "FAILED  types" in text
    assert "passed  format" in text
    assert "1 of 2 checks FAILED" in text
    assert "good" not in text


def test_a_report_is_shown_from_its_heading_on_when_the_check_passes() -> None:
    _, text = summary(shell("suites", "echo dots; echo == the report ==; echo rows", "the report"))
    assert "--- suites\n== the report ==\nrows\n" in text
    assert "dots" not in text


def test_a_report_that_was_never_written_shows_nothing() -> None:
    _, text = summary(shell("suites", "echo dots", "the report"))
    assert "dots" not in text


def test_the_checks_run_at_the_same_time(tmp_path: Path) -> None:
    # each waits for the file of the other
    waits = "touch {0}; until [ -e {1} ]; do sleep 0.05; done"
    one, other = tmp_path / "one", tmp_path / "other"
    passed, _ = summary(shell("one", waits.format(one, other)), shell("other", waits.format(other, one)))
    assert passed


def test_the_cpu_time_of_grandchildren_counts(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.2: pass"
    job = shell("burn", f"'{sys.executable}' -c '{burn}'; true")
    burning = Child(job.command, tmp_path / "log")
    while burning.exit_code() is None:
        time.sleep(0.01)
    assert burning.exit_code() == 0
    assert burning.cpu_seconds >= 0.2


def test_a_check_that_was_killed_has_failed() -> None:
    assert not Result(shell("types", ""), -9, "", 0.0, 0.0).passed


@pytest.mark.parametrize(
    "sleeper",
    ["sleep 600; true", "trap '' INT; sleep 600; true"],
    ids=["one that heeds an interrupt", "one that ignores it"],
)
def test_an_interrupt_ends_all_processes_of(
    sleeper: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(io.StringIO):
        def write(self, text: str, /) -> int:
            raise KeyboardInterrupt

    monkeypatch.setattr(child, "PATIENCE_SECONDS", 0.3)
    fifo, started = tmp_path / "fifo", tmp_path / "started"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    # sh and sleep hold the other end of the pipe for as long as they live
    held = shell("held", f"exec 3>{fifo}; touch {started}; {sleeper}")
    quick = shell("quick", f"until [ -e {started} ]; do sleep 0.05; done")
    with pytest.raises(KeyboardInterrupt):
        run([held, quick], Interrupted())
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b"", "the end of the pipe: nobody holds it any more"
    os.close(reader)
