"""Drift: whether a live object still matches the body that we applied.

No difference means no write. A difference that the API server does not store would cause a hot loop of writes, and a
missed one would be drift that stays. So the comparison allows for the server's changes to a stored object: it adds
defaults, rewrites quantities, drops empty values of some fields, and merges some lists by a key. Changes by admission
are in ``admission.py``.

A field that a body no longer has is not visible here. It is still in the live object and looks like a foreign
addition. So each body has a hash of itself in an annotation (``owner.py``). When the body changes, the hash differs,
and the apply drops the field through its field ownership.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from model_operator.planner.manifests.quantity import parse_quantity

_Object = Mapping[str, Any]
_Keyed = Callable[[_Object], tuple[str, ...]]
_Step = str | tuple[str | int, ...]
"""The name of a field, or the key of an element."""
Difference = tuple[str, Any]
"""A path at which a live object differs, and the live value there. None if there is none.

For a missing element of a list, it is the whole list, because the element may have got another key."""


# True == 1 in Python but not in JSON. Inside of these types, the server accepts no number for a boolean
_WHOLLY_COMPARED = frozenset({str, dict, list})


def _by(*fields: str) -> _Keyed:
    # as text, because a hostile key may be a map, which is unhashable
    return lambda item: tuple(str(item.get(field)) for field in fields)


# the list-map keys of the API's own schemas, by the name of the list. Any other list is atomic
_LIST_KEYS: dict[str, _Keyed] = {
    "containers": _by("name"),
    "initContainers": _by("name"),
    "env": _by("name"),
    "volumes": _by("name"),
    "volumeMounts": _by("mountPath"),
    "volumeDevices": _by("devicePath"),
    "imagePullSecrets": _by("name"),
    "ownerReferences": _by("uid"),
    "hostAliases": _by("ip"),
    "claims": _by("name"),
    "resourceClaims": _by("name"),
    "topologySpreadConstraints": _by("topologyKey", "whenUnsatisfiable"),
    # containerPort in containers, port in Services
    "ports": lambda item: (
        str(item.get("containerPort", item.get("port"))),
        str(item.get("protocol", "TCP")),
    ),
}
# atomic in the API, but admission add-ons inject tolerations, so ours only have to be among them
_AT_LEAST = frozenset({"tolerations"})

# maps with keys of the user: an empty value is a value and is stored
_FREE_MAPS = frozenset(
    {
        "labels",
        "annotations",
        "matchLabels",
        "nodeSelector",
        "data",
        "requests",
        "limits",
        "selector",
    }
)
# an empty map has a meaning in these fields ("select all", "an empty directory") and is stored as it is
_TELLING_WHEN_EMPTY = frozenset({"emptyDir", "labelSelector", "namespaceSelector"})
# fields whose absence differs from false or 0, so the server stores their zeros
_TELLING_WHEN_ZERO = frozenset(
    {
        "allowPrivilegeEscalation",
        "automountServiceAccountToken",
        "blockOwnerDeletion",
        "controller",
        "enableServiceLinks",
        "fsGroup",
        "maxSurge",
        "maxUnavailable",
        "replicas",
        "revisionHistoryLimit",
        "runAsGroup",
        "runAsNonRoot",
        "runAsUser",
        "stabilizationWindowSeconds",
        "terminationGracePeriodSeconds",
        "tolerationSeconds",
    }
)
# fields whose empty value the server replaces with a default
_DEFAULTED_WHEN_ZERO = frozenset(
    {
        "failureThreshold",
        "imagePullPolicy",
        "path",
        "periodSeconds",
        "protocol",
        "scheme",
        "successThreshold",
        "terminationMessagePath",
        "terminationMessagePolicy",
        "timeoutSeconds",
    }
)
# absent at the root of an object that came out of a list
_NOT_COMPARED = frozenset({"apiVersion", "kind"})


def differs(desired: _Object, live: _Object) -> list[str]:
    """The paths at which ``live`` differs from ``desired``. Empty if there is nothing to repair.

    ``desired`` is a body as it is applied, ``live`` the object as the API server returned it. Fields that only
    ``live`` has are ignored: defaults, the status, and additions by others. A path looks like
    ``spec.template.spec.containers[server].env[MODEL_NAME].value``.
    """
    return [path for path, _ in differences(desired, live)]


def differences(desired: _Object, live: _Object) -> list[Difference]:
    """The same paths as ``differs``, each with the value that ``live`` has there."""
    return [
        difference
        for key, wanted in desired.items()
        if key not in _NOT_COMPARED
        for difference in _field(_Place(key, key, ""), wanted, live.get(key))
    ]


class _Place:
    """The place of a value: its path for reports, and the names of its own field and of the parent field."""

    __slots__ = ("_above", "_step", "field", "parent")

    def __init__(self, step: _Step, field: str, parent: str, above: _Place | None = None) -> None:
        self._step = step
        self._above = above
        self.field = field
        self.parent = parent

    @property
    def path(self) -> str:
        """Computed only on request, since nearly all places have no difference to report."""
        step = self._step
        if self._above is None:
            return str(step)
        if isinstance(step, str):
            brackets = "." in step or "/" in step
            return f"{self._above.path}[{step}]" if brackets else f"{self._above.path}.{step}"
        return f"{self._above.path}[{'/'.join(map(str, step))}]"

    def child(self, key: str) -> _Place:
        return _Place(key, key, self.field, self)

    def item(self, *key: str | int) -> _Place:
        """An element of a list, by its key or its index. Its field name is that of the list."""
        return _Place(key, self.field, self.field, self)


def _field(place: _Place, wanted: Any, found: Any) -> list[Difference]:
    if wanted is None:
        return []
    # the check of the class comes first to save time: isinstance of an abstract class takes far longer
    if wanted.__class__ is dict or isinstance(wanted, Mapping):
        return _map(place, wanted, found)
    if isinstance(wanted, (list, tuple)):
        return _list(place, wanted, found)
    return [] if _same_scalar(place, wanted, found) else [(place.path, found)]


def _map(place: _Place, wanted: _Object, found: Any) -> list[Difference]:
    if not isinstance(found, Mapping):
        if found is not None:
            return [(place.path, found)]
        telling = place.field in _TELLING_WHEN_EMPTY and place.parent not in _FREE_MAPS
        # the map is absent, so only values that equal absence match
        inner = _fields(place, wanted, {})
        return [(place.path, None)] if inner or telling else []
    return _fields(place, wanted, found)


def _fields(place: _Place, wanted: _Object, found: _Object) -> list[Difference]:
    unequal = [
        difference
        for key, value in wanted.items()
        # equal values need no closer comparison, which saves most of the work
        if value.__class__ not in _WHOLLY_COMPARED or value != found.get(key)
        for difference in _field(place.child(key), value, found.get(key))
    ]
    if place.field == "env" and "name" in wanted and "valueFrom" not in wanted and found.get("valueFrom"):
        # an empty value equals an absent one, but not a reference
        unequal.append((place.child("valueFrom").path, found["valueFrom"]))
    return unequal


def _list(place: _Place, wanted: Sequence[Any], found: Any) -> list[Difference]:
    if found is None:
        found = []
    if not isinstance(found, (list, tuple)):
        return [(place.path, found)]
    if not wanted:
        return []
    if place.field in _AT_LEAST:
        return [
            (place.item(index).path, found)
            for index, item in enumerate(wanted)
            if not any(_alike(place, item, candidate) for candidate in found)
        ]
    key_of = _LIST_KEYS.get(place.field)
    if key_of and all(item.__class__ is dict or isinstance(item, Mapping) for item in (*wanted, *found)):
        return _list_map(place, wanted, {key_of(item): item for item in found})
    if len(wanted) != len(found):
        return [(place.path, found)]
    # element by element rather than ==, because the server puts defaults into elements of atomic lists too
    return [
        difference
        for index, (one, other) in enumerate(zip(wanted, found, strict=True))
        for difference in _element(place.item(index), one, other)
    ]


def _alike(place: _Place, one: Any, other: Any) -> bool:
    """Whether two elements are equal, compared in both directions. For types without defaults of the server."""
    return not _element(place, one, other) and not _element(place, other, one)


def _list_map(
    place: _Place, wanted: Sequence[_Object], found: Mapping[tuple[str, ...], _Object]
) -> list[Difference]:
    key_of = _LIST_KEYS[place.field]
    unequal: list[Difference] = []
    for item in wanted:
        key = key_of(item)
        there = found.get(key)
        if item != there:
            here = place.item(*key)
            unequal += [(here.path, [*found.values()])] if there is None else _fields(here, item, there)
    return unequal


def _element(place: _Place, wanted: Any, found: Any) -> list[Difference]:
    """Compares an element of an atomic list, in which an empty element differs from an absent one."""
    if wanted is None or found is None:
        return [] if wanted is found else [(place.path, found)]
    if isinstance(wanted, (Mapping, list, tuple)):
        return _field(place, wanted, found)
    return [] if _equal(wanted, found) else [(place.path, found)]


def _same_scalar(place: _Place, wanted: Any, found: Any) -> bool:
    if found is None:
        absent_is_zero = place.field not in _TELLING_WHEN_ZERO and place.parent not in _FREE_MAPS
        return absent_is_zero and not wanted
    if _equal(wanted, found):
        return True
    if not wanted and place.field in _DEFAULTED_WHEN_ZERO and place.parent not in _FREE_MAPS:
        return True
    if not _holds_quantity(place):
        return False
    number = parse_quantity(wanted)
    return number is not None and number == parse_quantity(found)


def _equal(wanted: Any, found: Any) -> bool:
    # True == 1 in Python, not in JSON
    return isinstance(wanted, bool) == isinstance(found, bool) and bool(wanted == found)


def _holds_quantity(place: _Place) -> bool:
    """Whether the field holds a quantity. In other fields, ``1000m`` and ``1`` are different texts."""
    if place.parent in _FREE_MAPS:
        return place.parent in {"requests", "limits"}
    return place.field in {"sizeLimit", "averageValue", "divisor", "tolerance"} or (
        place.field == "value" and place.parent == "target"
    )
