"""Long-lived processes: started detached, recognised without doubt later, ended by their own id."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


class ProcessDiedError(RuntimeError):
    """A process that was needed has ended; the message carries the end of its log."""


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _state_and_start(pid: int) -> tuple[str, int] | None:
    """The kernel's letter for the state, and the start in clock ticks since boot; None without a process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # the command name stands in parentheses and may itself contain spaces and parentheses
    fields = stat[stat.rindex(")") + 2 :].split()
    return fields[0], int(fields[19])


@dataclass(frozen=True)
class ProcessIdentity:
    """One process, and never another one that got the same pid later or after a reboot."""

    pid: int
    start_ticks: int
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity:
        """The identity of a process, also of one that has just ended and whose parent does not know it yet.

        Raises ProcessLookupError when there is none.
        """
        found = _state_and_start(pid)
        if found is None:
            raise ProcessLookupError(f"no process {pid}")
        return cls(pid, found[1], _boot_id())

    @classmethod
    def read(cls, path: Path) -> ProcessIdentity | None:
        """What `write` left in that file; None when it is absent or damaged."""
        try:
            content = json.loads(path.read_text())
            return cls(int(content["pid"]), int(content["start_ticks"]), str(content["boot_id"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self)) + "\n")

    def alive(self) -> bool:
        if self.boot_id != _boot_id():
            return False
        found = _state_and_start(self.pid)
        return found is not None and found[0] not in "ZX" and found[1] == self.start_ticks

    def end(self, grace_seconds: float = 10.0) -> None:
        """SIGTERM, then SIGKILL when it is still there after the grace. Harmless when it is gone."""
        for sign, patience in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 10.0)):
            if not self.alive():
                return
            try:
                os.kill(self.pid, sign)
            except ProcessLookupError:
                return
            if wait_until(lambda: not self.alive(), patience, every=0.05):
                return


def wait_until(condition: Callable[[], bool], seconds: float, every: float = 0.2) -> bool:
    """Whether the condition came true within that time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every)
    return True


def log_tail(log: Path, lines: int = 15) -> str:
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 32_768))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:])


class Daemon:
    """A process of ours with its log; survives the shell that started it unless `tied` to this process."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._popen = popen
        self.identity = ProcessIdentity.of(popen.pid)

    @classmethod
    def start(
        cls, name: str, command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None
    ) -> Daemon:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            popen = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={**without_proxy(os.environ), **(environment or {})},
                start_new_session=True,
            )
        _started.append(popen)
        return cls(name, popen, log)

    def check(self) -> None:
        """Raises ProcessDiedError when the process has ended."""
        code = self._popen.poll()
        if code is not None:
            raise ProcessDiedError(
                f"{self.name} ended with code {code}. The end of {self.log}:\n{log_tail(self.log)}"
            )

    def stop(self, grace_seconds: float = 10.0) -> None:
        self._popen.poll()
        self.identity.end(grace_seconds)
        self._popen.wait(timeout=20)
        if self._popen in _started:
            _started.remove(self._popen)


# a Popen that is collected while its process runs warns; these processes are meant to outlive us
_started: list[subprocess.Popen[bytes]] = []


def without_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables without those that send requests to the machine's proxy, which can't reach the cluster."""
    return {name: value for name, value in environment.items() if not name.lower().endswith("_proxy")}


def tied_to_this_process() -> list[str]:
    """A prefix for a command that the kernel kills when the calling thread's process dies; empty but on Linux."""
    if not shutil.which("setpriv"):
        return []
    return ["setpriv", "--pdeathsig", "KILL", "--"]
