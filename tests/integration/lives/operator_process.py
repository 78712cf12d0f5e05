"""``python -m model_operator`` as a process of its own: started, stopped, killed, and read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from tests.fork_server import OPERATORS, Process


class OperatorProcess:
    """``python -m model_operator`` against the control plane, in a directory of its own.

    It is forked from an interpreter that has its imports done, unless it runs other code than this checkout's.
    """

    def __init__(self, directory: Path, kubeconfig: Path, settings: dict[str, Any]) -> None:
        self.log = directory / "operator.log"
        self._config = directory / "config.yaml"
        self._credentials = directory / "credentials"
        self._credentials.mkdir()
        self._settings = settings
        self._settings["registries"]["default"]["credentialsDir"] = str(self._credentials)
        self._environment = os.environ | {"KUBECONFIG": str(kubeconfig)}
        self._has_code_of_its_own = False
        self._process: Process | None = None

    def log_in(self, username: str, password: str) -> None:
        """Its credentials for the registry."""
        (self._credentials / "username").write_text(username)
        (self._credentials / "password").write_text(password)

    def configure(self, **settings: Any) -> None:
        """Changes its configuration; the next start has it."""
        self._settings |= settings

    def run_from(self, directory: Path) -> None:
        """The next start takes the package from there."""
        self._has_code_of_its_own = True
        self._environment |= {"PYTHONPATH": str(directory)}

    def list_again_every(self, seconds: float) -> None:
        """From the next start on it does not wait for its usual ten minutes to list everything again."""
        self.configure(resyncSeconds=seconds)

    @property
    def pid(self) -> int:
        """The id of the running process; 0 when there is none."""
        return self._process.pid if self._process else 0

    @property
    def has_ended(self) -> bool:
        """Whether it was started and has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def starts(self) -> int:
        """How often it came so far that it had seen the whole cluster."""
        return self.all_words().count("objects in all, listed in")

    def all_words(self) -> str:
        """Its log."""
        return self.log.read_text() if self.log.exists() else ""

    def start(self) -> None:
        """Starts it; a no-op while it runs."""
        if self._process is None:
            self._config.write_text(yaml.safe_dump(self._settings))
            options = ["--config", str(self._config)]
            with self.log.open("ab") as output:
                if self._has_code_of_its_own:
                    self._process = subprocess.Popen(
                        [sys.executable, "-m", "model_operator", *options],
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        env=self._environment,
                    )
                else:
                    self._process = OPERATORS.start(
                        options, self._environment, Path.cwd(), output, module="model_operator"
                    )

    def start_again_if_ended(self) -> None:
        """What Kubernetes does with a container that ended by itself."""
        if self.has_ended:
            self._process = None
            self.start()

    def kill(self) -> None:
        """SIGKILL: no last words."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, as Kubernetes does it; raises when it does not end well."""
        # a process that has not got to its signal handlers yet ends by the signal itself
        if self._process is not None and (code := self._end(signal.SIGTERM)) not in (0, -signal.SIGTERM):
            raise AssertionError(f"the operator ended with {code}:\n{self.words()}")

    def words(self, about: str = "") -> str:
        """The end of its log, of the lines that have that text in them."""
        return "\n".join([line for line in self.all_words().splitlines() if about in line][-40:])

    def words_about(self, namespace: str) -> str:
        """The end of its log, which is about its own namespace."""
        return self.words()

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        try:
            return process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
