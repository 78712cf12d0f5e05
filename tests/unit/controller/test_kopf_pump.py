"""kopf's private parts are as the pump needs them, and nothing but the pump relies on them.

The pump's table is read from its text: a kopf that lacks a name would not let it be imported.
"""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import functools
import importlib
import inspect
import re
import signal
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kopf
import pytest

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "operator" / "model_operator"
PUMP = PACKAGE / "controller" / "kopf_pump.py"
THIS = Path(__file__)


def _private_parts() -> dict[str, str]:
    for node in ast.parse(PUMP.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PRIVATE_PARTS":
            return dict(ast.literal_eval(node.value))
    raise AssertionError(f"{PUMP.name} has no table PRIVATE_PARTS")


PRIVATE_PARTS = _private_parts()

Complaint = str | None
Check = Callable[[Any], Complaint]


def _takes(*parameters: str, all_of_them: bool = False) -> Check:
    """Whether it has these parameters; ``*`` stands before those that are given by name."""

    def check(part: Any) -> Complaint:
        signature = inspect.signature(part)
        found = [name for name, p in signature.parameters.items() if name != "self"]
        by_name = {name for name, p in signature.parameters.items() if p.kind is not p.POSITIONAL_ONLY}
        wanted = [name for name in parameters if name != "*"]
        if (missing := [name for name in wanted if name not in by_name]) or (all_of_them and found != wanted):
            return f"it takes {signature}, expected were {', '.join(missing or parameters)}"
        if all_of_them and "*" in parameters:
            named = wanted[parameters.index("*") :]
            if [n for n in found if signature.parameters[n].kind is inspect.Parameter.KEYWORD_ONLY] != named:
                return f"it takes {signature}, expected were ({', '.join(parameters)})"
        return None

    return check


def _says(*passages: str) -> Check:
    """Whether its source has these passages, whatever their layout."""

    def check(part: Any) -> Complaint:
        source = re.sub(r"\s+", " ", inspect.getsource(part))
        missing = [passage for passage in passages if passage not in source]
        return f"its source has no more {' and no '.join(map(repr, missing))}" if missing else None

    return check


def _gives_status(error: Any) -> Complaint:
    try:
        status = error(None, status=410, headers={}).status
    except (TypeError, AttributeError) as problem:
        return str(problem)
    return None if status == 410 else f"its status is {status!r}"


def _can_be_made_without_arguments(part: Any) -> Complaint:
    try:
        inspect.signature(part).bind()
    except TypeError as problem:
        return str(problem)
    return None


def _has_only(*methods: str) -> Check:
    def check(part: Any) -> Complaint:
        found = sorted(
            name for name in dir(part) if not name.startswith("_") and callable(getattr(part, name))
        )
        return None if found == sorted(methods) else f"its methods are now {', '.join(found)}"

    return check


CHECKS: dict[str, list[Check]] = {
    "kopf.spawn_tasks": [
        _takes("registry", "settings", "memories", "standalone", "clusterwide", "namespaces"),
    ],
    "kopf._core.reactor.inventory.ResourceMemories": [
        _can_be_made_without_arguments,
        _has_only("forget", "iter_all_daemon_memories", "iter_all_memories", "recall", "recall_memo"),
    ],
    "kopf._core.reactor.inventory.ResourceMemories.recall": [
        _takes("raw_body", "*", "memobase", "noticed_by_listing", "ephemeral", all_of_them=True),
    ],
    "kopf._core.reactor.inventory.ResourceMemories.forget": [
        _takes("raw_body", all_of_them=True),
        _says("if key in self._items"),
    ],
    "kopf._core.reactor.inventory.ResourceMemory": [
        _takes("noticed_by_listing"),
        _can_be_made_without_arguments,
    ],
    "kopf._core.reactor.processing.process_resource_event": [
        _takes("memories"),
        _says("await memories.recall(raw_body, noticed_by_listing=", "await memories.forget(raw_body)"),
    ],
    "kopf._core.reactor.orchestration.spawn_missing_watchers": [_says('name=f"watcher for ')],
    "kopf._cogs.aiokits.aiotasks.create_guarded_task": [_takes("coro", "name"), _says("coro=guard(")],
    "kopf._cogs.clients.api.get": [_says("return await response.json()")],
    "kopf._cogs.clients.api.request": [
        _says(
            "settings.networking.error_backoffs",
            "len(effective)",
            "itertools.chain(effective",
            "except (aiohttp.ClientConnectionError,",
            "context.session.request(",
        ),
    ],
    "kopf._cogs.clients.fetching.fetch_objs": [
        _says("rsp.get('items'", ".get('continue')", ".get('resourceVersion')", "params['continue']"),
    ],
    "kopf._cogs.clients.watching.watch_objs": [_says("params['watch'] = 'true'")],
    "kopf._cogs.clients.watching.continuous_watch": [
        _says("settings.watching.initial_streaming", "aiohttp.ClientPayloadError", "fetching.fetch_objs("),
    ],
    "kopf._cogs.clients.errors.APIError": [_gives_status],
}


def _found(name: str) -> Any:
    """What has this dotted name: a module, or something in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        return functools.reduce(getattr, parts[length:], module)
    raise AttributeError(name)


def _complaint(name: str, checks: list[Check]) -> Complaint:
    try:
        part = _found(name)
    except AttributeError:
        return "it is gone"
    return next((complaint for check in checks if (complaint := check(part))), None)


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_the_installed_kopf_has_this_private_part_as_the_pump_uses_it(name: str) -> None:
    if complaint := _complaint(name, CHECKS[name]):
        pytest.fail(
            f"kopf {kopf.__version__} changed {name}: {complaint}. Read the top of controller/kopf_pump.py before "
            f"you use this version. The pump needs it: {PRIVATE_PARTS[name]}",
            pytrace=False,
        )


@pytest.mark.parametrize(
    ("name", "check", "complaint"),
    [
        pytest.param("kopf._core.reactor.gone.Thing", _says(""), "it is gone", id="a module that is gone"),
        pytest.param("kopf._core.reactor.inventory.Thing", _says(""), "it is gone", id="a name that is gone"),
        pytest.param(
            "kopf._core.reactor.inventory.ResourceMemories.recall",
            _takes("raw_body", "*", "memobase", all_of_them=True),
            r"it takes \(.*ephemeral.*expected were raw_body, \*, memobase",
            id="a parameter more",
        ),
        pytest.param(
            "kopf._core.reactor.inventory.ResourceMemories.recall",
            _takes("raw_body", "memobase", "*", "noticed_by_listing", "ephemeral", all_of_them=True),
            "it takes .* expected were",
            id="a parameter that is given by name only",
        ),
        pytest.param(
            "kopf.spawn_tasks", _takes("memory"), "expected were memory$", id="a parameter that is gone"
        ),
        pytest.param(
            "kopf._cogs.clients.api.get",
            _says("response.text()"),
            r"no more 'response.text\(\)'",
            id="other words",
        ),
        pytest.param(
            "kopf._core.reactor.inventory.ResourceMemories",
            _has_only("recall"),
            "its methods are now forget",
            id="more",
        ),
        pytest.param("kopf._cogs.clients.errors.parse", _gives_status, "", id="no error"),
    ],
)
def test_a_changed_part_is_complained_of(name: str, check: Check, complaint: str) -> None:
    assert re.search(complaint, _complaint(name, [check]) or "nothing")


def test_every_row_of_the_table_is_checked() -> None:
    assert CHECKS.keys() == PRIVATE_PARTS.keys()


def test_the_warning_at_the_top_names_the_versions_that_may_be_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (bound,) = [it for it in project["dependencies"] if it.startswith("kopf")]
    assert bound in (ast.get_docstring(ast.parse(PUMP.read_text("utf-8"))) or ""), (
        "the version in the docstring"
    )


def test_every_setting_of_the_pump_is_one_that_kopf_has() -> None:
    from model_operator.controller import kopf_pump

    ours, theirs = kopf_pump.watch_settings(), kopf.OperatorSettings()
    for section in dataclasses.fields(theirs):
        given, known = vars(getattr(ours, section.name)), vars(getattr(theirs, section.name))
        assert given.keys() <= known.keys(), (
            f"kopf {kopf.__version__} has no such settings.{section.name}: read kopf_pump.watch_settings"
        )


async def test_the_tasks_of_kopf_are_known_as_such_and_end_without_a_trace() -> None:
    from model_operator.controller import kopf_pump

    before = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=kopf.OperatorRegistry(),
        settings=kopf_pump.watch_settings(),
        memories=kopf_pump.NoMemories(),
        standalone=True,
        clusterwide=True,
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().remove_signal_handler(number)
    try:
        assert [task.get_name() for task in tasks if not kopf_pump.is_of_kopf(task)] == []
        assert not any(kopf_pump.is_of_kopf(task) for task in before)
    finally:
        await kopf_pump.end({task for task in asyncio.all_tasks() if kopf_pump.is_of_kopf(task)})
    assert asyncio.all_tasks() <= before


def _names_of_kopf(source: str) -> Iterator[str]:
    """Every dotted name of kopf that is imported or used there."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "kopf")
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] == "kopf":
                yield from (f"{module}.{alias.name}" for alias in node.names)
            case ast.Attribute() if re.fullmatch(r"kopf(\.\w+)+", name := ast.unparse(node)):
                yield name


def _private(name: str) -> bool:
    """Neither exported by kopf nor of every module, as ``__file__`` is."""
    parts = name.split(".")[1:]
    return any(re.match(r"_(?!_)", part) for part in parts) or bool(
        parts and not parts[0].startswith("__") and parts[0] not in kopf.__all__
    )


def _private_names_used(path: Path) -> set[str]:
    return {name for name in _names_of_kopf(path.read_text("utf-8")) if _private(name)}


def test_private_names_are_found_however_they_are_written() -> None:
    text = "import kopf._a\nfrom kopf._b import C\nfrom kopf.testing import D\nkopf._e.f\nkopf.on.event\nkopf.cli.main"
    found = {name for name in _names_of_kopf(text) if _private(name)}
    assert found >= {"kopf._a", "kopf._b.C", "kopf.testing.D", "kopf._e.f", "kopf.cli.main"}
    assert not {name for name in found if name.startswith("kopf.on")}


def test_the_pump_uses_no_private_name_that_is_not_in_its_table() -> None:
    used = _private_names_used(PUMP)
    assert used, "the search finds what it should"
    assert used <= PRIVATE_PARTS.keys()


def test_no_other_file_uses_a_private_name_of_kopf() -> None:
    others = {*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")}
    found = {str(path.relative_to(ROOT)): _private_names_used(path) for path in others - {PUMP, THIS}}
    assert {path: names for path, names in found.items() if names} == {}
