"""The command digest: the canonical digest of a model's files, and its tag in the registry."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.text import Text

from model_operator.api.reference import MalformedReferenceError, parse_reference
from model_operator.cli.context import Context
from model_operator.cli.errors import CommandError, ExitCode
from model_operator.domain.registry import ResolutionReason
from model_operator.pod.fetch import UncoveredError, digest_of
from model_operator.settings import RegistryConfig

if TYPE_CHECKING:  # loading a registry's client is slow, and the other commands don't need it
    from model_operator.registry.clients.base import RegistryError
    from model_operator.registry.clients.mlflow.client import MlflowClient

URL_VARIABLE = "MLFLOW_TRACKING_URI"
_CREDENTIALS = {
    "username": "MLFLOW_TRACKING_USERNAME",
    "password": "MLFLOW_TRACKING_PASSWORD",
    "token": "MLFLOW_TRACKING_TOKEN",
}
_MISSING = frozenset({ResolutionReason.MODEL_NOT_FOUND, ResolutionReason.VERSION_NOT_FOUND})


async def digest(
    context: Context,
    directory: Annotated[
        Path, typer.Argument(metavar="DIRECTORY", help="Directory of the model, with the file MLmodel.")
    ],
    tag: Annotated[
        str,
        typer.Option(
            "--tag", metavar="models:/NAME/VERSION", help="Write the digest to a tag of this version."
        ),
    ] = "",
    tag_name: Annotated[
        str, typer.Option("--tag-name", metavar="TAG", help="Key of the tag (gates.integrity.digestTag).")
    ] = "sha256",
    registry: Annotated[
        str, typer.Option("--registry", metavar="URL", envvar=URL_VARIABLE, help="URL of the MLflow server.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace a tag that has another value.")] = False,
) -> None:
    """Print the canonical digest of a model's files. With --tag, write it to the registry, too.

    mlflow artifacts download --artifact-uri models:/churn/8 --dst-path ./model
    kubectl model digest ./model
    kubectl model digest ./model --tag models:/churn/8

    The credentials come from MLflow's own variables: MLFLOW_TRACKING_USERNAME and _PASSWORD, or _TOKEN. The exit code
    is 1 if the files can't have a digest or the tag has another value, 4 if there is no such version, and 5 if the
    registry can't be reached or denies access.
    """
    found = _digest(directory)
    if tag:
        name, version = _version(tag)
        async with _connect(registry, os.environ) as client:
            await _write(client, (name, version, tag_name), found, force)
        terminal = context.terminal()
        terminal.err.print(Text(terminal.signs.words(f"the tag {tag_name} of {tag} has this digest")))
    typer.echo(found)


def _digest(directory: Path) -> str:
    if not (directory / "MLmodel").is_file():
        raise CommandError(
            ExitCode.USAGE,
            f"{directory} is not the directory of a model: it has no file MLmodel",
            "name the directory with MLmodel, such as one from mlflow artifacts download",
        )
    try:
        return digest_of(directory)
    except UncoveredError as error:
        raise CommandError(
            ExitCode.FAILED,
            f"{directory} can't have a digest: {error}",
            "remove or rename it (see docs/guides/integrity.md)",
        ) from None
    except OSError as error:
        raise CommandError(
            ExitCode.FAILED, f"{error.filename} can't be read: {error.strerror}", "check its permissions"
        ) from None


def _version(tag: str) -> tuple[str, str]:
    try:
        reference = parse_reference(tag)
    except MalformedReferenceError as error:
        raise CommandError(ExitCode.USAGE, f"--tag {tag}: {error}", "write models:/NAME/VERSION") from None
    if reference.version is None:
        raise CommandError(
            ExitCode.USAGE,
            f"--tag {tag}: names no exact version, so the digest could get to another one",
            "write models:/NAME/VERSION",
        )
    return reference.name, reference.version


async def _write(client: MlflowClient, target: tuple[str, str, str], found: str, force: bool) -> None:
    from model_operator.registry.clients.base import RegistryError

    name, version, key = target
    try:
        before = (await client.version(name, version)).tags.get(key, "")
        if before.removeprefix("sha256:").lower() == found.removeprefix("sha256:"):
            return
        if before and not force:
            raise CommandError(
                ExitCode.FAILED,
                f"the tag {key} of version {version} of {name} has another value: {before}, but the files have {found}",
                "find out which one is right (--force replaces the tag, and a serving version is rolled out again)",
            )
        await client.set_version_tag(name, version, key, found)
    except RegistryError as error:
        raise _from_registry(error) from None


def _from_registry(error: RegistryError) -> CommandError:
    if error.reason in _MISSING:
        return CommandError(ExitCode.NOT_FOUND, error.message, "check the name, the version and --registry")
    remedies = {
        ResolutionReason.UNAUTHORIZED: "set MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN",
        ResolutionReason.FORBIDDEN: "give the user the permission EDIT on the model, which is needed to write a tag",
        ResolutionReason.HOST_HEADER_REFUSED: "start MLflow with --allowed-hosts and this name",
    }
    message = error.message
    if error.reason is ResolutionReason.UNAUTHORIZED:
        # the client's own message is about the operator's configuration
        message = "the registry requires valid credentials (401)"
    return CommandError(
        ExitCode.NO_ANSWER, message, remedies.get(error.reason, "check --registry and the network")
    )


@asynccontextmanager
async def _connect(url: str, environ: Mapping[str, str]) -> AsyncIterator[MlflowClient]:
    """Yields a client with the credentials that MLflow's own client would use."""
    from model_operator.registry.clients.mlflow.client import MlflowClient

    if not url:
        raise CommandError(
            ExitCode.USAGE, "--tag needs a registry", f"pass --registry, or set {URL_VARIABLE}"
        )
    given = {key: environ[name] for key, name in _CREDENTIALS.items() if environ.get(name)}
    if "username" in given and "password" in given:
        given.pop("token", None)  # as in MLflow's client
    elif "token" in given:
        given = {"token": given["token"]}
    with tempfile.TemporaryDirectory(prefix="kubectl-model-") as directory:  # mode 0700
        _write_files(Path(directory), given)
        try:
            config = RegistryConfig(
                url=url,
                credentials_dir=directory if given else "",
                ca_file=environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH", ""),
                workspace=environ.get("MLFLOW_WORKSPACE", ""),
            )
        except ValidationError as error:
            text = error.errors(include_url=False, include_input=False)[0]["msg"].removeprefix(
                "Value error, "
            )
            raise CommandError(ExitCode.USAGE, f"the registry's URL {text}", "correct --registry") from None
        client = MlflowClient("command-line", config)
        try:
            yield client
        finally:
            await client.aclose()


def _write_files(directory: Path, contents: Mapping[str, str]) -> None:
    for name, content in contents.items():
        (directory / name).write_text(content, encoding="utf-8")
