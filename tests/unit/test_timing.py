"""The report at the end of a run says where its time went, with and without workers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.timing import Cpu, Durations, suite_of

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("nodeid", "suite"),
    [
        ("tests/unit/test_health.py::test_a", "unit"),
        ("tests/integration/lives/test_wire.py::test_a[x/y]@servers", "integration"),
        ("tests/test_alone.py::test_a", "tests"),
        ("elsewhere/test_a.py::test_a", "elsewhere"),
    ],
)
def test_the_suite_of_a_case_is_its_folder_in_tests(nodeid: str, suite: str) -> None:
    assert suite_of(nodeid) == suite


def durations(**seconds: float) -> Durations:
    found = Durations()
    for name, took in seconds.items():
        suite, case = name.split("_")
        found.add(f"tests/{suite}/test_x.py::{case}", "call", took)
    return found


def test_a_row_has_the_cases_of_a_suite_and_the_sum_of_all_their_phases() -> None:
    found = durations(unit_a=1, unit_b=2, golden_a=5)
    found.add("tests/unit/test_x.py::a", "setup", 0.5)
    found.add("tests/unit/test_x.py::a", "teardown", 0.25)
    assert [row.split() for row in found.rows()] == [
        ["golden", "1", "cases", "5.0", "s"],
        ["unit", "2", "cases", "3.8", "s"],
    ]


def test_ten_cases_are_listed_the_slowest_first() -> None:
    listed = durations(**{f"unit_{number}": number for number in range(12)}).slowest()
    assert [line.split("::")[1] for line in listed] == [str(number) for number in range(11, 1, -1)]


def test_a_case_that_mostly_waited_for_its_fixtures_says_so() -> None:
    found = durations(unit_a=1, unit_b=2)
    found.add("tests/unit/test_x.py::a", "setup", 9)
    assert found.slowest() == [
        "   10.00 s  tests/unit/test_x.py::a (9.00 s in fixtures)",
        "    2.00 s  tests/unit/test_x.py::b",
    ]


def test_without_workers_the_cpu_time_is_that_of_the_process_and_its_children() -> None:
    assert Cpu(3, 2).line == "CPU 5.0 s (own 3.0 s, children 2.0 s)"


def test_workers_are_not_counted_again_among_the_children() -> None:
    # 17 of the 18 seconds were reported by the two workers
    cpu = Cpu(1, 18, [(10, 4), (2, 1)])
    assert cpu.line == "CPU 19.0 s (own 1.0 s, workers 12.0 s, children 6.0 s)"


def test_workers_that_have_not_ended_yet_are_counted_once() -> None:
    assert Cpu(1, 0, [(10, 4)]).line == "CPU 15.0 s (own 1.0 s, workers 10.0 s, children 4.0 s)"


BURNS = """
import subprocess, sys
def test_a_child_works():
    burn = "import time\\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
"""
SKIPS = """
import pytest
def test_passes():
    pass
@pytest.mark.skip(reason="nothing to run it on")
def test_skipped():
    pass
"""


def run_suites(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs the suites in ``folder`` with this suite's own plugins."""
    own = ["-p", "tests.conftest", "-p", "no:cacheprovider", "-c", "/dev/null", f"--rootdir={folder}"]
    command = [sys.executable, "-m", "pytest", "-q", "--import-mode=importlib", *own, *options, str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    "options", [(), ("-n", "2", "--dist", "loadgroup")], ids=["one process", "two workers"]
)
def test_a_run_reports_each_suite_and_fails_when_a_test_is_skipped_with(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    for suite, text in {"unit": BURNS, "golden": SKIPS}.items():
        file = tmp_path / "tests" / suite / f"test_{suite}.py"
        file.parent.mkdir(parents=True)
        file.write_text(text)
    ended = run_suites(tmp_path, *options)
    assert re.search(r"^unit +1 cases", ended.stdout, re.MULTILINE), ended.stdout + ended.stderr
    assert re.search(r"^golden +2 cases", ended.stdout, re.MULTILINE)
    children = re.search(r"children ([0-9.]+) s\), load [0-9.]+ before", ended.stdout)
    assert children
    assert float(children[1]) >= 0.3
    assert "tests were skipped" in ended.stdout
    assert ended.returncode == 1
