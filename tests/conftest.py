"""Options of the whole suite, and the groups of cases that one worker runs together."""

import pytest
from _pytest.terminal import TerminalReporter

from tests import timing
from tests.groups import pytest_xdist_make_scheduler

__all__ = ["pytest_xdist_make_scheduler"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write what was rendered into the golden files instead of comparing",
    )


def pytest_configure(config: pytest.Config) -> None:
    timing.register(config)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """What could not run is a failure: `-ra` lists it with its reason, and the run does not pass."""
    session = terminalreporter._session
    if session is not None and terminalreporter.stats.get("skipped") and session.exitstatus == 0:
        terminalreporter.write_line("tests were skipped, see the reasons above: the run fails", red=True)
        session.exitstatus = 1
