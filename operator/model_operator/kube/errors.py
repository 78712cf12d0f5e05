"""Errors of the API server: one exception type for each reaction of a caller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MAX_MESSAGE = 2048
_QUOTA_WORDS = ("exceeded quota:", "status unknown for quota:")
_MALFORMED_APPLIES = (
    "field not declared in schema",
    "failed to convert new object",
    "failed to create typed",
)


class ApiError(Exception):
    """The API server rejected a request or did not answer.

    ``status`` is the HTTP status (0: no answer). ``reason``, ``message`` and ``details`` are those of the ``Status``
    object: a word for programs, a text for people, and the details (may be empty).
    """

    def __init__(
        self, status: int, reason: str, message: str, details: Mapping[str, Any] | None = None
    ) -> None:
        self.status = status
        self.reason = reason
        self.message = message[:_MAX_MESSAGE]
        self.details: Mapping[str, Any] = details or {}
        super().__init__(f"{self.message} ({self.status} {self.reason})")

    @property
    def causes(self) -> list[Mapping[str, Any]]:
        """The ``causes`` of the details: mappings with ``field``, ``reason`` and ``message``."""
        causes = self.details.get("causes")
        return [cause for cause in causes if isinstance(cause, Mapping)] if isinstance(causes, list) else []

    @property
    def namespace_terminating(self) -> bool:
        """Whether the cause is that the namespace is being deleted. Nothing can be created in it."""
        return any(cause.get("reason") == "NamespaceTerminating" for cause in self.causes)


class NotFound(ApiError):  # noqa: N818 - the names of the API server's own reasons
    """404: the object, its namespace or its kind does not exist."""


class Conflict(ApiError):  # noqa: N818
    """409: the object changed since it was read, or has another uid."""


class AlreadyExists(ApiError):  # noqa: N818
    """409 on a create: an object of that name exists."""


class Invalid(ApiError):  # noqa: N818
    """A field of the object is invalid: 422, 400, or a 500 of a server-side apply."""


class Unauthorized(ApiError):  # noqa: N818
    """401: the API server does not accept our credentials."""


class Forbidden(ApiError):  # noqa: N818
    """403: RBAC or an admission policy denies the request."""


class QuotaExceeded(Forbidden):
    """403 of the quota admission: the object exceeds a quota at present."""


class Unavailable(ApiError):  # noqa: N818
    """No usable answer within the bounds (429, 5xx, connection, timeout). A later try may succeed."""


class Fenced(ApiError):  # noqa: N818
    """A write that was not sent, because this process does not lead (any more)."""

    def __init__(self) -> None:
        super().__init__(0, "Fenced", "not sent: this process does not lead")


def error_for(status: int, body: object) -> ApiError:
    """Returns the typed error for an HTTP status and a decoded answer (a ``Status`` object, or anything else)."""
    answer: Mapping[str, Any] = body if isinstance(body, Mapping) else {}
    reason = _text(answer.get("reason")) or str(status)
    message = _text(answer.get("message")) or (_text(body) or "no message")
    details = answer.get("details")
    error = ApiError(status, reason, message, details if isinstance(details, Mapping) else {})
    return _class_for(error)(status, reason, message, error.details)


def _class_for(error: ApiError) -> type[ApiError]:
    status, message = error.status, error.message
    if status == 409:
        return AlreadyExists if error.reason == "AlreadyExists" else Conflict
    if status == 403:
        return QuotaExceeded if any(words in message for words in _QUOTA_WORDS) else Forbidden
    if status == 422 and any(cause.get("field") == "metadata.uid" for cause in error.causes):
        return Conflict  # an apply with the uid of another object
    if status == 500 and any(words in message for words in _MALFORMED_APPLIES):
        return Invalid  # an apply with an unknown field or an invalid value
    if status == 429 or status >= 500:
        return Unavailable
    return {400: Invalid, 401: Unauthorized, 404: NotFound, 422: Invalid}.get(status, ApiError)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
