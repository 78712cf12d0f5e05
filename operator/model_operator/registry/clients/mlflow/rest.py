"""MLflow's REST dialect, in which several kinds of servers answer. They differ in their routes and rights."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import httpx

from model_operator.domain.registry import ResolutionReason
from model_operator.registry.clients.base import RegistryError, shorten
from model_operator.registry.clients.http import MIB, Answer, JsonSource
from model_operator.registry.clients.mlflow.records import MAX_TEXT, ShapeError

TRACKING = "/api/2.0/mlflow"
"""The route of runs and logged models."""
RECORD_BYTES = MIB
# JSON takes up to twenty times its size as Python objects
PAGE_BYTES = 8 * MIB
PAGE_ROWS = 1000
SMALLEST_PAGE_ROWS = 50
MAX_PAGES = 500

T = TypeVar("T")


class Right(NamedTuple):
    """The right that a request needs: the verb, and the permission that a person must grant."""

    verb: str
    permission: str


@dataclass(frozen=True, slots=True)
class Server:
    """The words for a kind of server in messages."""

    whose: str
    """Completes "check that the url is"."""
    read: Right
    write: Right


class MlflowRest:
    """One server with MLflow's REST dialect. Every method raises only RegistryError."""

    def __init__(self, source: JsonSource, server: Server) -> None:
        """``source`` sends the requests. ``server`` has the words for messages."""
        self.source = source
        self._entry = source.site.entry
        self._server = server

    @property
    def url(self) -> str:
        """The base URL, without a trailing slash."""
        return self.source.base

    async def aclose(self) -> None:
        """Close the connections."""
        await self.source.aclose()

    async def get(
        self, path: str, params: Mapping[str, str], max_bytes: int, absent: ResolutionReason, what: str
    ) -> Mapping[str, Any]:
        """The object at that path. ``absent`` is the reason if ``what`` does not exist."""
        return self.check(await self.source.get(path, params, max_bytes), absent, what, self._server.read)

    async def post(
        self, path: str, body: Mapping[str, str], absent: ResolutionReason, what: str
    ) -> Mapping[str, Any]:
        """The answer to a POST with one attempt. If this raises, the object may have arrived."""
        answer = await self.source.post(path, body, RECORD_BYTES)
        return self.check(answer, absent, what, self._server.write)

    async def pages(self, path: str, key: str) -> AsyncGenerator[list[Any], None]:
        """The rows of a listing, by pages of at most 1,000 rows, or fewer if the rows are large."""
        rows, token = PAGE_ROWS, ""
        for _ in range(MAX_PAGES):
            params = {"max_results": str(rows)} | ({"page_token": token} if token else {})
            try:
                body = await self.get(
                    path, params, PAGE_BYTES, ResolutionReason.UNEXPECTED_ANSWER, "the listing"
                )
            except RegistryError as failure:
                if failure.reason is not ResolutionReason.ANSWER_TOO_LARGE or rows // 4 < SMALLEST_PAGE_ROWS:
                    raise
                rows //= 4
                continue
            listed = body.get(key, [])
            if not isinstance(listed, list):
                raise self.unexpected(f"{path} without a list of {key}")
            yield listed
            following = body.get("next_page_token", "")
            if not isinstance(following, str) or len(following) > MAX_TEXT:
                raise self.unexpected(f"{path} with a malformed next_page_token")
            if not following or following == token:
                return
            token = following

    def check(
        self, answer: Answer, absent: ResolutionReason, what: str, right: Right | None = None
    ) -> Mapping[str, Any]:
        """The object in a good answer. Raises an error for any other. ``right`` is that to read by default."""
        if answer.status == 200:
            return self._object(answer)
        code, message = error_in(answer)
        if answer.status == 403:
            raise self._explain_refusal(answer, what, right or self._server.read)
        if answer.status == 404 and code.endswith("DOES_NOT_EXIST"):
            raise self.not_found(absent, what)
        if answer.status == 400 and code == "INVALID_PARAMETER_VALUE":
            # for example a slash in the name, for which nothing can exist
            raise self.not_found(absent, what, f" (its answer: {self.source.quote(message)})")
        if answer.status == 429 or answer.status >= 500:
            said = f": {self.source.quote(message)}" if message else ""
            raise RegistryError(
                ResolutionReason.REGISTRY_ERROR,
                f"{self.url} answered {answer.status}{said}. See the registry's own log",
            )
        raise self.unexpected(f"{answer.status} {code or answer.media_type or 'without content'}", message)

    def is_error_of_mlflow(self, answer: Answer) -> bool:
        """Whether the error comes from MLflow itself. A server without that route answers with an HTML page."""
        return bool(error_in(answer)[0])

    def parse(self, parse: Callable[[Any], T], value: Any) -> T:
        """The parsed value. A ShapeError becomes a RegistryError."""
        try:
            return parse(value)
        except ShapeError as error:
            raise self.unexpected(f"a record of an unexpected shape ({error})") from None

    def parse_rows(self, parse: Callable[[Any], T], rows: Sequence[Any]) -> list[T]:
        """The valid rows. One malformed model must not hide a thousand others."""
        parsed = []
        for row in rows:
            with suppress(ShapeError):
                parsed.append(parse(row))
        if rows and not parsed:
            raise self.unexpected("a listing without a single record of the expected shape")
        return parsed

    def not_found(self, reason: ResolutionReason, what: str, detail: str = "") -> RegistryError:
        """The error for an object that does not exist."""
        return RegistryError(reason, f"{what} does not exist at {self.url}{detail}")

    def unexpected(self, what: str, said: str = "") -> RegistryError:
        """The error for an answer that such a server does not give."""
        quoted = f": {self.source.quote(said)}" if said else ""
        return RegistryError(
            ResolutionReason.UNEXPECTED_ANSWER,
            f"{self.url} answered {self.source.quote(what)}{quoted}. "
            f"Check that the url of registry '{self._entry}' is {self._server.whose}",
        )

    def _object(self, answer: Answer) -> Mapping[str, Any]:
        if answer.media_type != "application/json":
            raise self.unexpected(f"{answer.media_type or 'no content type'} where JSON was expected")
        try:
            body = answer.json()
        except ValueError:
            raise self.unexpected("malformed JSON") from None
        if not isinstance(body, dict):
            raise self.unexpected("JSON that is not an object")
        return body

    def _explain_refusal(self, answer: Answer, what: str, right: Right) -> RegistryError:
        said = answer.body.decode("utf-8", "replace")
        if "invalid host header" in said.lower():
            host = httpx.URL(self.url).netloc.decode("ascii", "replace")
            return RegistryError(
                ResolutionReason.HOST_HEADER_REFUSED,
                f"the MLflow server at {self.url} rejects the Host header '{host}'. "
                f"Start it with --allowed-hosts {host} (and its other host names)",
            )
        access = self.source.site.access
        if not access.place:
            remedy = f"give registry '{self._entry}' credentials that may {right.verb} it. {access.remedy}"
        else:
            remedy = (
                f"give the user (username and password, or token, in {access.place}, registry "
                f"'{self._entry}') {right.permission}"
            )
        return RegistryError(
            ResolutionReason.FORBIDDEN,
            f"{self.url} does not allow the operator to {right.verb} {what} (403). If it exists, {remedy}",
        )


def error_in(answer: Answer) -> tuple[str, str]:
    """The error code and message of an answer, or empty texts."""
    if answer.media_type != "application/json":
        return "", ""
    try:
        body = answer.json()
    except ValueError:
        return "", ""
    if not isinstance(body, dict):
        return "", ""
    code, message = body.get("error_code"), body.get("message")
    return code if isinstance(code, str) else "", message if isinstance(message, str) else ""


def describe_version(name: str, version: str) -> str:
    """The words for a version in a message."""
    return f"version {shorten(version)} of model '{shorten(name)}'"
