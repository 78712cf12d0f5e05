"""Readers of single fields. Any field may be missing or of another type than it should be."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

Object = Mapping[str, Any]
"""A Kubernetes object (or a part of one) as the JSON that the API server speaks. Read, never changed."""


def mapping(value: Any) -> Object:
    """The value where it is an object, else an empty one."""
    # the look at the class first saves time: asking an abstract class takes far longer
    return value if value.__class__ is dict or isinstance(value, Mapping) else {}


def objects(value: Any) -> list[Object]:
    """The objects of a list; what is no object counts as an empty one."""
    return (
        [v if v.__class__ is dict else mapping(v) for v in value] if isinstance(value, (list, tuple)) else []
    )


def text(value: Any) -> str:
    """The value where it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def number(value: Any) -> int:
    """The value where it is a whole number, else 0."""
    return value if isinstance(value, int) else 0


def count(value: Any) -> int:
    """The value where it is a count, else 0."""
    return value if isinstance(value, int) and value > 0 else 0


def part(raw: Object, name: str) -> Object:
    """The object under that name; empty when there is none."""
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
    """What asks for the next page of a list; empty after the last one."""
    return text(metadata(page).get("continue"))


def newest(status: Object, name: str) -> Object:
    """The first entry of a list of the status that is kept newest first; empty when there is none."""
    found = status.get(name)
    return mapping(found[0]) if isinstance(found, list) and found else {}


def rfc3339(moment: datetime) -> str:
    """``moment`` as the API server writes times: UTC, whole seconds, ``Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_time(text: object) -> datetime | None:
    """The time in UTC that an RFC 3339 text means, None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    # at the ends of the calendar, sums of times would overflow
    if moment.tzinfo is None or not 1900 < moment.year < 9000:
        return None
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
