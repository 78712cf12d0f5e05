"""Reads the description of a version from its own files, by any route."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from model_operator.domain.registry import ModelDescription, ResolutionReason
from model_operator.registry.clients.base import RegistryError, shorten
from model_operator.registry.clients.http import Answer
from model_operator.registry.clients.mlflow.mlmodel import MAX_BYTES, MalformedModelError, parse_mlmodel
from model_operator.registry.clients.mlflow.requirements import FIRST, parse_requirements
from model_operator.registry.clients.mlflow.rest import MlflowRest, describe_version, error_in

MAX_INCLUDES = 10
"""Limit of files that requirements.txt includes, directly or through other files."""

GetFile = Callable[[str, int], Awaitable[Answer]]
"""Requests one file of the version by its path and the limit of bytes for the answer."""


async def read_description(
    rest: MlflowRest, name: str, version: str, get_file: GetFile, remedy: str
) -> ModelDescription:
    """Returns the description in the file MLmodel and the requirement files. Raises RegistryError.

    ``remedy`` is the remedy for a server that can't read its store.
    """
    of_version = f"of {describe_version(name, version)}"
    what = f"the file MLmodel {of_version}"
    text = await _file(rest, "MLmodel", what, get_file, remedy)
    if text is None:
        raise rest.not_found(ResolutionReason.VERSION_NOT_FOUND, what)
    try:
        # in another thread, since a large file would block the event loop
        description = await asyncio.to_thread(parse_mlmodel, text)
    except MalformedModelError as error:
        raise RegistryError(
            ResolutionReason.UNEXPECTED_ANSWER, f"{what} at {rest.url} {error}. Log the model again"
        ) from None

    async def read(path: str) -> bytes | None:
        return await _file(rest, path, f"the file {shorten(path)} {of_version}", get_file, remedy)

    return await _add_requirements(description, read)


async def _add_requirements(
    description: ModelDescription, read: Callable[[str], Awaitable[bytes | None]]
) -> ModelDescription:
    """Returns the description with the requirements and constraints of all requirement files.

    A file that does not exist, is outside of the model, or exceeds the limit stays as a line such as
    ``-r other.txt``, which the gate can't judge.
    """
    content = await read(FIRST)
    if content is None:
        return description
    lines: dict[str, list[str]] = {"-r": [], "-c": []}
    parsed = await asyncio.to_thread(parse_requirements, content)
    lines["-r"] += parsed.requirements
    # a file that a constraints file includes by -r also holds constraints
    waiting = [*parsed.includes]
    seen: set[tuple[str, str]] = {("-r", FIRST)}
    while waiting:
        include = waiting.pop(0)
        if (include.kind, include.path) in seen:
            continue
        seen.add((include.kind, include.path))
        content = await read(include.path) if include.path and len(seen) <= MAX_INCLUDES + 1 else None
        if content is None:
            lines["-r"].append(include.text)
            continue
        parsed = await asyncio.to_thread(parse_requirements, content, include.path)
        lines[include.kind] += parsed.requirements
        waiting += [replace(one, kind="-c") if include.kind == "-c" else one for one in parsed.includes]
    return replace(description, requirements=tuple(lines["-r"]), constraints=tuple(lines["-c"]))


async def _file(rest: MlflowRest, path: str, what: str, get_file: GetFile, remedy: str) -> bytes | None:
    """One file of a version, or None if it does not exist. ``what`` names the file in errors."""
    answer = await get_file(path, MAX_BYTES)
    if answer.status == 200:
        return answer.body
    if answer.status == 404:
        return None
    if answer.status >= 500:
        # MLflow 3.17 answers 500 for a missing file in a local store, and for a failing store
        said = rest.source.quote(error_in(answer)[1])
        raise RegistryError(
            ResolutionReason.REGISTRY_ERROR,
            f"{rest.url} could not read {what} ({answer.status}{': ' + said if said else ''}). {remedy}",
        )
    rest.check(answer, ResolutionReason.VERSION_NOT_FOUND, what)
    raise AssertionError("check raises for any other status")
