"""Reads what a version's own files say of it, wherever they are read from."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from model_operator.domain.registry import ModelDescription, ResolutionReason
from model_operator.registry.clients.base import RegistryError
from model_operator.registry.clients.http import Answer
from model_operator.registry.clients.mlflow.mlmodel import MAX_BYTES, MalformedModelError, parse_mlmodel
from model_operator.registry.clients.mlflow.rest import MlflowRest, describe_version, error_in

GetFile = Callable[[str, int], Awaitable[Answer]]
"""Asks for one file of the version by its path; the answer is at most so many bytes long."""


async def read_description(
    rest: MlflowRest, name: str, version: str, get_file: GetFile, remedy: str
) -> ModelDescription:
    """What the files MLmodel and requirements.txt say. Raises RegistryError.

    ``remedy`` is what to do when the server fails over its store.
    """
    of_version = f"of {describe_version(name, version)}"
    what = f"the file MLmodel {of_version}"
    text = await _file(rest, "MLmodel", what, get_file, remedy)
    if text is None:
        raise rest.not_found(ResolutionReason.VERSION_NOT_FOUND, what)
    what_else = f"the file requirements.txt {of_version}"
    requirements = await _file(rest, "requirements.txt", what_else, get_file, remedy)
    try:
        # not in this thread: a large file takes longer than a turn of the event loop may
        return await asyncio.to_thread(parse_mlmodel, text, requirements)
    except MalformedModelError as error:
        raise RegistryError(
            ResolutionReason.UNEXPECTED_ANSWER, f"{what} at {rest.url} {error}; log the model again"
        ) from None


async def _file(rest: MlflowRest, path: str, what: str, get_file: GetFile, remedy: str) -> bytes | None:
    """One file of a version, None when it does not exist. ``what`` is the file in the words of an error."""
    answer = await get_file(path, MAX_BYTES)
    if answer.status == 200:
        return answer.body
    if answer.status == 404:
        return None
    if answer.status >= 500:
        # MLflow 3.17 answers 500 for a file that a local store does not have, and for a store that fails
        said = rest.source.quote(error_in(answer)[1])
        raise RegistryError(
            ResolutionReason.REGISTRY_ERROR,
            f"{rest.url} could not read {what} ({answer.status}{': ' + said if said else ''}); {remedy}",
        )
    rest.check(answer, ResolutionReason.VERSION_NOT_FOUND, what)
    raise AssertionError("what is no success raises")
