"""How many modules a decision passes through: ``python -m benchmarks.plan_path [CHECKOUT ...]``.

Plays those stories of each checkout (this one by default) that have a golden transcript, with the checkout's own
package and tests, and watches every ``plan(world)`` by ``sys.settrace``. It works on commits from before the
package's present layout, too: ``git worktree add /tmp/before 0876e2d`` makes a checkout to compare with.

A room is what the import contracts of the checkout name: ``planner.steps`` today, ``candidate`` before. Counted in each
call of ``plan``, for the package's own functions:

- modules: those of which a function ran.
- rooms: those of which a function ran.
- stays: calls that come from another room. Making a dataclass is none.
- returns: stays in a room in which the same decision has been before.
- climbs: stays in a room that stands on a higher floor than that of the stay before: the decision had gone down, came
  back, and went another way.

"Among steps" leaves out the rooms that hold the words: values and the readers of their fields.

Prints a table in Markdown: the mean and the largest number of each.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from types import CodeType, FrameType
from typing import Any

HERE = Path(__file__).resolve()
FIGURES = ("Modules", "Rooms", "Stays", "Returns", "Climbs", "Stays among steps", "Climbs among steps")
WORDS = {"domain", "api", "world", "facts"}
"""Rooms of frozen values and their readers, today and before; they decide nothing."""
PACKAGE = "model_operator"


class Rooms:
    """The units of a checkout's import contracts, and the floors that they stand on."""

    def __init__(self, checkout: Path) -> None:
        contracts = tomllib.loads((checkout / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
        self._floors: dict[str, tuple[int, ...]] = {"": ()}
        for contract in contracts["contracts"]:
            if contract["type"] == "layers":
                self._add(contract["containers"][0], contract["layers"])

    def _add(self, container: str, layers: list[str]) -> None:
        inside = container.removeprefix(PACKAGE).removeprefix(".")
        for number, layer in enumerate(layers):
            for name in layer.split("|"):
                room = f"{inside}.{name.strip()}".removeprefix(".")
                self._floors[room] = (*self._floors[inside], -number)

    @functools.cache  # noqa: B019 - lives as long as the measurement
    def of(self, module: str) -> str:
        """The room of a module: the longest start of its name that the contracts name."""
        parts = module.split(".")
        starts = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
        return next((start for start in starts if start in self._floors), parts[0])

    def floor(self, room: str) -> tuple[int, ...]:
        """The larger, the higher; rooms side by side have the same."""
        return self._floors.get(room, ())


class Profile:
    """Counts the modules that calls of one function pass through."""

    def __init__(self, checkout: Path) -> None:
        self._rooms = Rooms(checkout)
        self._root = f"{checkout / 'operator' / PACKAGE}{os.sep}"
        self._modules: dict[int, str | None] = {}
        """By the id of the code, since comparing code takes long; code lives as long as its module."""
        self.found: list[tuple[int, ...]] = []

    def watched(self, plan: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, each of whose calls is counted."""

        @functools.wraps(plan)
        def call(*arguments: Any) -> Any:
            before = sys.gettrace()
            calls: list[tuple[str, str]] = []
            sys.settrace(self._recorder(calls))
            try:
                return plan(*arguments)
            finally:
                sys.settrace(before)
                self.found.append(self._figures(calls))

        return call

    def _recorder(self, calls: list[tuple[str, str]]) -> Callable[[FrameType, str, Any], None]:
        """A global trace function: it is called for each call, and since it returns nothing, for no line."""
        generators: dict[int, FrameType] = {}

        def record(frame: FrameType, _event: str, _argument: Any) -> None:
            if (module := self._module(frame.f_code)) is None:
                return
            if frame.f_code.co_flags & inspect.CO_GENERATOR:
                # it is called once, and goes on for each value
                if id(frame) in generators:
                    return
                generators[id(frame)] = frame
            if (caller := self._caller(frame)) != module:
                calls.append((caller, module))

        return record

    def _caller(self, frame: FrameType) -> str:
        """The nearest module of the package on the stack; empty above ``plan``."""
        above = frame.f_back
        while above is not None:
            if (module := self._module(above.f_code, comprehensions=True)) is not None:
                return module
            above = above.f_back
        return ""

    def _module(self, code: CodeType, comprehensions: bool = False) -> str | None:
        """The module of the package that the code is of; None for others, and for what is no call to a reader."""
        if not comprehensions and code.co_name in ("<genexpr>", "<listcomp>", "<setcomp>", "<dictcomp>"):
            return None
        if id(code) not in self._modules:
            file = code.co_filename
            name = file.removeprefix(self._root).removesuffix(".py").replace(os.sep, ".")
            self._modules[id(code)] = name.removesuffix(".__init__") if file.startswith(self._root) else None
        return self._modules[id(code)]

    def _figures(self, calls: list[tuple[str, str]]) -> tuple[int, ...]:
        room, floor = self._rooms.of, self._rooms.floor
        stays = [room(module) for caller, module in calls if not caller or room(caller) != room(module)]
        steps = [found for found in stays if found not in WORDS]
        climbs = [
            sum(floor(after) > floor(before) for before, after in pairwise(path)) for path in (stays, steps)
        ]
        rooms = len(set(stays))
        modules = len({module for _, module in calls})
        return modules, rooms, len(stays), len(stays) - rooms, climbs[0], len(steps), climbs[1]


class Stories:
    """A plugin of pytest: only stories with a transcript, and their ``plan`` is watched."""

    def __init__(self, checkout: Path) -> None:
        self.profile = Profile(checkout)
        self._golden = checkout / "tests" / "stories" / "golden"

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Leaves the stories without a transcript out."""
        items[:] = [item for item in items if self._transcript(item.name).exists()]

    def pytest_collection_finish(self) -> None:
        """Puts the watched function in the place of the simulated operator's."""
        from tests.stories import simulation

        simulation.plan = self.profile.watched(simulation.plan)

    def _transcript(self, test: str) -> Path:
        return self._golden / f"{test.removeprefix('test_').replace('[', '_').rstrip(']')}.txt"


def play(result: Path) -> int:
    """Plays the stories of the checkout that is the working directory; writes the figures of each decision."""
    import pytest

    # the modules of this directory would hide others of the same name
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != HERE.parent]
    stories = Stories(Path.cwd())
    status = pytest.main(["-q", "-p", "no:cacheprovider", "tests/stories"], [stories])
    result.write_text(json.dumps(stories.profile.found))
    return int(status)


def measured(checkout: Path) -> list[tuple[int, ...]]:
    """The figures of each decision in that checkout's stories. Raises SystemExit when they don't pass."""
    with tempfile.TemporaryDirectory() as directory:
        result = Path(directory, "figures.json")
        done = subprocess.run(  # noqa: S603 - our own stories
            [sys.executable, str(HERE), "--play", str(result)],
            cwd=checkout,
            stdout=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"the stories of {checkout} fail:\n{done.stdout[-3000:]}")
        return [tuple(found) for found in json.loads(result.read_text())]


def commit(checkout: Path) -> str:
    """The short name of the checkout's commit."""
    command = ["git", "-C", str(checkout), "rev-parse", "--short=7", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 - git, of our own checkout
    return done.stdout.strip() or str(checkout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkouts", nargs="*", type=Path, default=[HERE.parents[1]])
    parser.add_argument("--play", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.play:
        sys.exit(play(options.play))
    # not at the top: in another checkout this file runs alone
    from benchmarks.figures import heading, row

    print(heading("Commit", "Decisions", *FIGURES))
    for checkout in options.checkouts:
        found = measured(checkout)
        columns = zip(*found, strict=True)
        cells = (f"{fmean(column):.1f}, at most {max(column)}" for column in columns)
        print(row(commit(checkout), f"{len(found):,}", *cells), flush=True)


if __name__ == "__main__":
    main()
