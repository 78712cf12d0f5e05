"""A recorded process is recognised, and never confused with another one."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.cluster.process import Daemon, ProcessDiedError, ProcessIdentity, wait_until


def test_a_running_process_is_alive() -> None:
    assert ProcessIdentity.of(os.getpid()).alive()


@pytest.mark.parametrize(
    "changed",
    [
        lambda me: replace(me, start_ticks=1),
        lambda me: replace(me, boot_id="00000000-0000-0000-0000-000000000000"),
    ],
    ids=["started at another time", "of another boot"],
)
def test_a_process_with_the_same_pid_is_another_one(
    changed: Callable[[ProcessIdentity], ProcessIdentity],
) -> None:
    assert not changed(ProcessIdentity.of(os.getpid())).alive()


def test_an_ended_process_is_not_alive() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = ProcessIdentity.of(process.pid)
    process.communicate(b"\n")
    assert not identity.alive()


def test_a_process_that_ended_before_anybody_looked_is_known_and_not_alive() -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    identity = ProcessIdentity.of(process.pid)
    assert not identity.alive()
    process.wait()


def test_an_identity_comes_back_from_its_file(tmp_path: Path) -> None:
    identity = ProcessIdentity.of(os.getpid())
    identity.write(tmp_path / "run" / "me.json")
    assert ProcessIdentity.read(tmp_path / "run" / "me.json") == identity


@pytest.mark.parametrize("content", ["", "{}", '{"pid": "x"}', "[1]"])
def test_a_damaged_file_is_no_identity(tmp_path: Path, content: str) -> None:
    file = tmp_path / "me.json"
    file.write_text(content)
    assert ProcessIdentity.read(file) is None


def test_a_daemon_that_ends_early_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    daemon = Daemon.start("broken", ["sh", "-c", "echo no such flag; exit 3"], tmp_path / "broken.log")

    assert wait_until(lambda: not daemon.identity.alive(), 30)
    with pytest.raises(ProcessDiedError, match=r"(?s)broken ended with code 3.*no such flag"):
        daemon.check()


def test_a_stopped_daemon_is_gone(tmp_path: Path) -> None:
    daemon = Daemon.start("sleeper", ["sleep", "600"], tmp_path / "sleeper.log")
    daemon.stop()
    assert not daemon.identity.alive()
