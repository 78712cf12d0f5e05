"""One operator for all cases that neither end nor configure theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.integration.lives.operator_process import OperatorProcess


class SharedOperator:
    """It watches every namespace, so it works only while a case runs that takes it, and rests during all others.

    Cases can read what it says and nothing more: they can't end it or change its configuration.
    """

    def __init__(self, directory: Path, kubeconfig: Path, settings: dict[str, Any]) -> None:
        self._process = OperatorProcess(directory, kubeconfig, settings)

    def log_in(self, username: str, password: str) -> None:
        """Its credentials for the registry."""
        self._process.log_in(username, password)

    def work(self) -> None:
        """Has it run. Raises AssertionError with its last words when it has ended by itself."""
        self._process.start()
        assert not self._process.has_ended, f"the shared operator has ended:\n{self._process.words()}"

    def starts(self) -> int:
        """How often it has seen the whole cluster so far."""
        return self._process.starts()

    def all_words(self) -> str:
        """Its log, of all cases so far."""
        return self._process.all_words()

    def words_about(self, namespace: str) -> str:
        """The last lines of its log that name the namespace."""
        return self._process.words(namespace)

    def rest(self) -> None:
        """Ends it, as Kubernetes does, until it is to work again. Raises AssertionError when it does not end well."""
        self._process.stop()


STASH = pytest.StashKey[SharedOperator]()
"""Where a test session keeps its shared operator, once there is one."""
