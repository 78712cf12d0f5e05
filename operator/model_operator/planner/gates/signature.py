"""The gate Signature: whether a new version accepts all requests of the serving one, and answers in the same shape.

The rules are those of MLflow's own check of requests (MLflow 3.17). tests/contract/test_signatures.py compares them
with MLflow:
- Columns of a request that the model does not have are dropped, so a removed input is harmless.
- An unknown key inside an object is rejected.
- Integer is accepted as long and double, and float as double.
- An unknown parameter is ignored.
- A tensor accepts tables only if all its dimensions but the first are fixed.
- If a column has arrays or objects, ``inputs`` and ``instances`` of a request are read as one row, else as several.
- A single column accepts values without its name. With two columns, names are required.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final, NamedTuple

from model_operator.api.spec import GatesSpec
from model_operator.domain.registry import VersionFacts
from model_operator.planner.gates.base import (
    OVERRIDE_REMEDY,
    Fact,
    Gate,
    GateOutcome,
    GateResult,
    Subject,
    failed,
    find_description,
    passed,
    warned,
)

_NAME: Final = "Signature"

MAX_LINES = 40
MAX_LINE = 200
MAX_DEPTH = 16
_BREAKING = " (breaks callers)"

_WIDER = frozenset({("integer", "long"), ("integer", "double"), ("float", "double")})
_SCALARS = frozenset({"boolean", "integer", "long", "float", "double", "string", "binary", "datetime"})


@dataclass(frozen=True, slots=True)
class SignatureComparison:
    """The effect of a change of signatures on callers."""

    compatible: bool
    """Whether the new version accepts all requests of today's callers, and answers in the same shape."""
    missing: str = ""
    """The sides without a signature of inputs, as text. If there are any, nothing can be compared."""
    differences: Sequence[str] = ()
    """Lines of a diff, bounded in number and length: ``-`` for the serving version, ``+`` for the new one."""
    breaks_callers: bool = False
    """Whether a difference breaks callers without doubt: not only some forms of requests, and of known types."""


class _Line(NamedTuple):
    text: str
    breaking: bool
    in_doubt: bool = False
    """Whether it breaks only some forms of requests, or can't be compared."""


class _MalformedError(ValueError):
    """A part of a signature has an unknown form."""


def _is_set(gates: GatesSpec) -> bool:
    return gates.signature != "Ignore"


def _judge(gates: GatesSpec, subject: Subject) -> GateResult:
    if subject.serving is None:
        return passed(_NAME, "no version serves yet, so there is nothing to compare with")
    result, is_clear = _fit(subject, subject.serving)
    only_warn = gates.signature == "Warn" or (gates.signature == "IfKnown" and not is_clear)
    return warned(result, only_warn=only_warn)


def _fit(subject: Subject, serving: VersionFacts) -> tuple[GateResult, bool]:
    """The result of mode Compatible, and whether both signatures are known and leave no doubt about it."""
    new = find_description(_NAME, subject.facts)
    if isinstance(new, GateResult):
        return new, False
    old = find_description(_NAME, serving)
    if isinstance(old, GateResult):
        return old, False
    found = compare(old.signature, new.signature)
    if found.missing:
        return GateResult(
            _NAME, GateOutcome.WARNED, found.missing, "SignatureMissing", found.differences
        ), False
    if found.compatible:
        accepts = passed(_NAME, "accepts every request that the serving version accepts")
        return replace(accepts, differences=found.differences), True
    text = (
        f"version {subject.version.version} breaks callers of the serving version: "
        f"{'; '.join(found.differences[:3])} (all in status.plan.signature). Register a compatible version, "
        f"{OVERRIDE_REMEDY}"
    )
    refused = replace(failed(_NAME, "SignatureIncompatible", text), differences=found.differences)
    return refused, found.breaks_callers


def compare(serving: Mapping[str, Any] | None, candidate: Mapping[str, Any] | None) -> SignatureComparison:
    """Compares two signatures of a ``ModelDescription``. Raises nothing for any content.

    An unreadable part is a breaking difference if it changed, and no difference if both sides have the same.
    """
    absent = [
        name
        for name, side in (("the serving version", serving), ("the new version", candidate))
        if side is None or side.get("inputs") is None
    ]
    if absent:
        return SignatureComparison(True, f"{' and '.join(absent)} {_has(absent)} no signature of inputs")
    assert serving is not None and candidate is not None  # noqa: S101, PT018 - for mypy
    lines: list[_Line] = []
    for part, differ in (("inputs", _inputs), ("params", _params), ("outputs", _outputs)):
        old, new = serving.get(part), candidate.get(part)
        if old == new:
            continue
        try:
            # a signature has at most a few thousand columns, and the report shows far fewer
            lines += islice(differ(old, new), 10_000)
        except _MalformedError as problem:
            lines.append(_Line(f"~ {part} can't be compared: {problem}", True, in_doubt=True))
    breaking = [line for line in lines if line.breaking]
    in_doubt = all(line.in_doubt for line in breaking)
    return SignatureComparison(not breaking, "", _limit_lines(lines), breaks_callers=not in_doubt)


def _has(absent: Sequence[str]) -> str:
    return "have" if len(absent) > 1 else "has"


def _limit_lines(lines: Sequence[_Line]) -> tuple[str, ...]:
    """The lines to show. Breaking ones come first, so that the limit drops the others."""
    ordered = [line for line in lines if line.breaking] + [line for line in lines if not line.breaking]
    shown = [_cut(line.text) + (_BREAKING if line.breaking else "") for line in ordered[:MAX_LINES]]
    if len(ordered) > MAX_LINES:
        shown.append(f"... and {len(ordered) - MAX_LINES} more")
    return tuple(shown)


def _cut(text: str) -> str:
    clean = "".join(c if c.isprintable() else " " for c in text[: MAX_LINE * 2])
    return clean if len(clean) <= MAX_LINE else clean[: MAX_LINE - 3] + "..."


# --- columns and tensors ---------------------------------------------------------------------------


class _Field(NamedTuple):
    """One column, tensor, property or parameter."""

    name: str
    spec: Mapping[str, Any]
    required: bool
    nameless: bool = False


def _fields(value: object) -> dict[str | int, _Field]:
    """The fields by name, or by position if they have no name."""
    if value is None:
        return {}
    if not isinstance(value, list):
        raise _MalformedError("not a list")
    fields: dict[str | int, _Field] = {}
    for position, item in enumerate(value):
        if not isinstance(item, dict):
            raise _MalformedError("an entry is not an object")
        name = item.get("name")
        if isinstance(name, str):
            if name in fields:
                raise _MalformedError(f"two entries are named {name[:60]}")
            fields[name] = _Field(name, item, _is_required(item))
        else:
            # if only the position counts, no field can be left out
            fields[position] = _Field(f"#{position}", item, True, nameless=True)
    return fields


def _pairs(old: object, new: object) -> Iterator[tuple[_Field | None, _Field | None]]:
    """Each field of the serving version with that of the new one. None on the side without it."""
    before, after = _fields(old), _fields(new)
    for name in [*before, *(added for added in after if added not in before)]:
        yield before.get(name), after.get(name)


def _is_required(item: Mapping[str, Any]) -> bool:
    if item.get("type") == "tensor":
        return True  # MLflow has no optional tensors and ignores such an entry
    # signatures before MLflow 2.5 have "optional"
    return item.get("required", True) is not False and item.get("optional", False) is not True


def _inputs(old: object, new: object) -> Iterator[_Line]:
    for was, now in _pairs(old, new):
        if now is None and was is not None:
            # callers keep sending it, and the server drops it
            yield _Line(f"- input {_describe(was)}", was.nameless)
        elif was is None and now is not None:
            yield _Line(f"+ input {_describe(now)}", now.required)
        elif was is not None and now is not None and was.spec != now.spec:
            harmless = _accepts(now.spec, was.spec) and not (now.required and not was.required)
            yield _Line(f"- input {_describe(was)}", not harmless)
            yield _Line(f"+ input {_describe(now)}", not harmless)
    before, after = _fields(old), _fields(new)
    if _one_row(before) != _one_row(after):
        change = "several rows, no longer as one" if _one_row(before) else "one row, no longer as several"
        yield _Line(f"~ inputs and instances of a request are read as {change}", True, in_doubt=True)
    if len(after) > 1 and [field.nameless for field in before.values()] == [False]:
        yield _Line(
            "~ values without a column's name are rejected if there is more than one column",
            True,
            in_doubt=True,
        )


def _one_row(fields: Mapping[str | int, _Field]) -> bool:
    """Whether MLflow reads an object of named values as one row, and not as columns of several rows."""
    return any(field.spec.get("type") in ("array", "object") for field in fields.values())


def _outputs(old: object, new: object) -> Iterator[_Line]:
    if new is None:
        yield _Line("- outputs: the new version declares none", False)
        return
    if old is None:
        yield _Line("+ outputs: the serving version declares none", False)
        return
    for was, now in _pairs(old, new):
        if was is not None and now is not None and _same(was, now):
            continue
        if was is not None:
            yield _Line(f"- output {_describe(was)}", True)
        if now is not None:
            yield _Line(f"+ output {_describe(now)}", True)
    before, after = _fields(old), _fields(new)
    if list(before) != list(after) and before.keys() == after.keys():
        yield _Line(f"~ outputs in another order: {', '.join(field.name for field in after.values())}", False)


def _same(was: _Field, now: _Field) -> bool:
    """Whether an output is unchanged for callers: both types accept each other, and it is still always there."""
    return (
        _accepts(now.spec, was.spec)
        and _accepts(was.spec, now.spec)
        and not (was.required and not now.required)
    )


def _params(old: object, new: object) -> Iterator[_Line]:
    for was, now in _pairs(old, new):
        if now is None and was is not None:
            yield _Line(f"- param {_param(was)}", False)
        elif was is None and now is not None:
            yield _Line(f"+ param {_param(now)}", False)
        elif was is not None and now is not None and was.spec != now.spec:
            harmless = _takes(was, now) and _shape(was.spec) == _shape(now.spec)
            yield _Line(f"- param {_param(was)}", not harmless)
            yield _Line(f"+ param {_param(now)}", not harmless)


def _takes(was: _Field, now: _Field) -> bool:
    if _type(now) in ("object", "array", "map"):
        return _accepts(now.spec, was.spec)
    return _wider(_type(was), _type(now))


def _type(field: _Field) -> str:
    return str(field.spec.get("type", field.spec.get("dtype")))


def _shape(spec: Mapping[str, Any]) -> object:
    return spec.get("shape")


def _param(field: _Field) -> str:
    default = json.dumps(field.spec.get("default"), default=str)[:60]
    shape = f", shape {_shape(field.spec)}" if _shape(field.spec) is not None else ""
    return f"{field.name}: {_type(field)}{shape}, default {default}"


# --- types -----------------------------------------------------------------------------------------


def _wider(was: str, now: str) -> bool:
    return was == now or (was, now) in _WIDER


def _accepts(now: object, was: object, depth: int = 0) -> bool:
    """Whether every value of the type ``was`` is one of the type ``now``. Raises _MalformedError for unknown types."""
    if depth > MAX_DEPTH:
        raise _MalformedError("nested too deeply")
    if not isinstance(now, dict) or not isinstance(was, dict):
        raise _MalformedError("a type is not an object")
    kind, before = now.get("type"), was.get("type")
    if kind == "any":
        return True
    if before != kind:
        return isinstance(before, str) and isinstance(kind, str) and _wider(before, kind)
    match kind:
        case "tensor":
            return _tensor_accepts(now.get("tensor-spec"), was.get("tensor-spec"))
        case "array":
            return _accepts(now.get("items"), was.get("items"), depth + 1)
        case "map":
            return _accepts(now.get("values"), was.get("values"), depth + 1)
        case "object":
            return _object_accepts(now.get("properties"), was.get("properties"), depth + 1)
        case _ if isinstance(kind, str) and kind in _SCALARS:
            return True
        case _:
            raise _MalformedError(f"the type {str(kind)[:40]} is unknown")


def _object_accepts(now: object, was: object, depth: int) -> bool:
    if not isinstance(now, dict) or not isinstance(was, dict):
        raise _MalformedError("an object without properties")
    if was.keys() - now.keys():
        return False  # unlike an unknown column, an unknown key of an object is rejected
    for name, spec in now.items():
        required = _is_required(spec) if isinstance(spec, dict) else True
        before = was.get(name)
        if before is None:
            if required:
                return False
        elif not _accepts(spec, before, depth) or (required and not _is_required(before)):
            return False
    return True


def _tensor_accepts(now: object, was: object) -> bool:
    if not isinstance(now, dict) or not isinstance(was, dict):
        raise _MalformedError("a tensor without its spec")
    if now.get("dtype") != was.get("dtype"):
        return False
    shape, before = now.get("shape"), was.get("shape")
    if not isinstance(shape, list) or not isinstance(before, list):
        raise _MalformedError("a tensor without its shape")
    if _takes_tables(before) and not _takes_tables(shape):
        return False
    return len(shape) == len(before) and all(n in (-1, b) for n, b in zip(shape, before, strict=True))


def _takes_tables(shape: Sequence[object]) -> bool:
    """Whether MLflow converts a table to a tensor of this shape."""
    return shape[:1] == [-1] and -1 not in shape[1:]


def _describe(field: _Field) -> str:
    """The text for a field, such as ``age: long (required)``."""
    needed = "required" if field.required else "optional"
    return f"{field.name}: {_spell(field.spec)} ({needed})"


def _spell(spec: object, depth: int = 0) -> str:
    if not isinstance(spec, dict) or depth > MAX_DEPTH:
        return "?"
    kind = spec.get("type")
    match kind:
        case "tensor":
            inner = spec.get("tensor-spec")
            return (
                f"tensor {inner.get('dtype')} {inner.get('shape')}" if isinstance(inner, dict) else "tensor"
            )
        case "array":
            return f"array of {_spell(spec.get('items'), depth + 1)}"
        case "map":
            return f"map of {_spell(spec.get('values'), depth + 1)}"
        case "object":
            properties = spec.get("properties")
            listed = properties.items() if isinstance(properties, dict) else ()
            inside = (
                f"{name}{'' if isinstance(inner, dict) and _is_required(inner) else '?'}: {_spell(inner, depth + 1)}"
                for name, inner in islice(listed, 32)
            )
            return "{" + ", ".join(inside) + "}"
        case _:
            return str(kind)[:40]


SIGNATURE = Gate(_NAME, _is_set, _judge, frozenset({Fact.DESCRIPTION}), compares=_is_set, only_compares=True)
