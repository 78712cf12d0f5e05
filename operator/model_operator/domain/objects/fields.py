"""Readers of single fields. Any field may be missing or have the wrong type."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

Object = Mapping[str, Any]
"""A Kubernetes object, or a part of one, as parsed JSON. It is read and never changed."""


def mapping(value: Any) -> Object:
    """The value if it is an object, else an empty one."""
    # the check of the class comes first to save time: isinstance of an abstract class takes far longer
    return value if value.__class__ is dict or isinstance(value, Mapping) else {}


def objects(value: Any) -> list[Object]:
    """The objects of a list. An entry of another type counts as an empty object."""
    return (
        [v if v.__class__ is dict else mapping(v) for v in value] if isinstance(value, (list, tuple)) else []
    )


def text(value: Any) -> str:
    """The value if it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def number(value: Any) -> int:
    """The value if it is a whole number, else 0."""
    return value if isinstance(value, int) else 0


def count(value: Any) -> int:
    """The value if it is a positive whole number, else 0."""
    return value if isinstance(value, int) and value > 0 else 0


def part(raw: Object, name: str) -> Object:
    """The object under that name. Empty if there is none."""
    value = raw.get(name)
    return value if value.__class__ is dict else mapping(value)


def metadata(obj: Object) -> Object:
    """The object's metadata."""
    return mapping(obj.get("metadata"))


def spec(obj: Object) -> Object:
    """The object's spec."""
    return mapping(obj.get("spec"))


def status(obj: Object) -> Object:
    """The object's status."""
    return mapping(obj.get("status"))


def read_continue(page: Object) -> str:
    """The token for the next page of a list. Empty after the last page."""
    return text(metadata(page).get("continue"))


def newest(status: Object, name: str) -> Object:
    """The first entry of a list of the status whose newest entry comes first. Empty if there is none."""
    found = status.get(name)
    return mapping(found[0]) if isinstance(found, list) and found else {}


def rfc3339(moment: datetime) -> str:
    """``moment`` in the API server's format: UTC, whole seconds, ``Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_time(text: object) -> datetime | None:
    """The UTC time of an RFC 3339 text. None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    # additions of times at the ends of the calendar would overflow
    if moment.tzinfo is None or not 1900 < moment.year < 9000:
        return None
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
