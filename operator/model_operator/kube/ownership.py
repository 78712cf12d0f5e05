"""Sole ownership of fields, as a pure function over ``metadata.managedFields``.

A POST leaves an entry with the operation Update, and later applies leave another one. Both own the posted fields. A
field that a later apply leaves out would therefore never be removed, because the Update entry still owns it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Entry = Mapping[str, Any]
Fields = Mapping[str, Any]

_REPLICAS = ("f:spec", "f:replicas")


def hand_over(entries: Sequence[Entry], manager: str) -> list[Entry] | None:
    """Moves the fields that ``manager`` owns by Update into its entry of the operation Apply.

    Takes and returns the value of ``metadata.managedFields``. Returns None if there is nothing to move.
    ``spec.replicas`` stays in its entry. Otherwise the next apply, which never has it, would remove it, and the API
    server would set it to its default of 1.
    """
    updates = [entry for entry in entries if _is(entry, manager, "Update") and _apart(entry, _REPLICAS)[0]]
    if not updates:
        return None
    api_version = str(updates[0].get("apiVersion", ""))
    moved: Fields = {}
    kept: list[Entry] = []
    applied: Entry | None = None
    for entry in entries:
        if entry.get("apiVersion") == api_version and any(entry is update for update in updates):
            rest, replicas = _apart(entry, _REPLICAS)
            moved = _union(moved, rest)
            if replicas:
                kept.append({**entry, "fieldsV1": replicas})
        elif entry.get("apiVersion") == api_version and _is(entry, manager, "Apply"):
            applied = entry
        else:
            kept.append(entry)
    target = applied if applied is not None else {**updates[0], "operation": "Apply", "fieldsV1": {}}
    return [{**target, "fieldsV1": _union(target.get("fieldsV1", {}), moved)}, *kept]


def _is(entry: Entry, manager: str, operation: str) -> bool:
    return (
        entry.get("manager") == manager
        and entry.get("operation") == operation
        and not entry.get("subresource")
    )


def _apart(entry: Entry, path: Sequence[str]) -> tuple[Fields, Fields]:
    """Returns the entry's fields without the one at ``path``, and that one alone."""
    return _without(entry.get("fieldsV1", {}), path), _only(entry.get("fieldsV1", {}), path)


def _without(fields: Fields, path: Sequence[str]) -> Fields:
    head, *tail = path
    if head not in fields:
        return fields
    others = {key: value for key, value in fields.items() if key != head}
    inner = _without(fields[head], tail) if tail else {}
    return {**others, head: inner} if inner else others


def _only(fields: Fields, path: Sequence[str]) -> Fields:
    head, *tail = path
    if head not in fields:
        return {}
    if not tail:
        return {head: fields[head]}
    inner = _only(fields[head], tail)
    return {head: inner} if inner else {}


def _union(left: Fields, right: Fields) -> Fields:
    return {
        key: _union(left.get(key, {}), right.get(key, {})) for key in (*left, *(right.keys() - left.keys()))
    }
