"""The fields that place pods on nodes: tolerations, affinity and the spread over zones.

Source: ValidateTolerations, validateAffinity and validateTopologySpreadConstraints of Kubernetes'
pkg/apis/core/validation/validation.go, and ValidateLabelSelector of apimachinery.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from model_operator.cli.lint import texts
from model_operator.cli.lint.documents import Path
from model_operator.cli.lint.structure import FieldProblem

_Object = Mapping[str, Any]
_DECIMAL = re.compile(r"0|-?[1-9][0-9]*", re.ASCII)
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_SELECTOR_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def toleration_problems(tolerations: Sequence[_Object], path: Path) -> Iterator[FieldProblem]:
    """Yields the problems of the pods' tolerations, whose structure is valid."""
    for index, toleration in enumerate(tolerations):
        here = (*path, index)
        key, operator = toleration.get("key") or "", toleration.get("operator") or ""
        value, effect = toleration.get("value") or "", toleration.get("effect") or ""
        if key and not texts.is_label_name(key):
            yield FieldProblem((*here, "key"), texts.LABEL_NAME)
        if not key and operator != "Exists":
            yield FieldProblem(
                (*here, "operator"), "must be Exists if key is left out: it tolerates every key"
            )
        if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            yield FieldProblem((*here, "effect"), "must be NoExecute if tolerationSeconds is set")
        if operator == "Exists" and value:
            yield FieldProblem((*here, "value"), "must be left out with operator Exists")
        if operator in ("", "Equal") and not texts.is_label_value(value):
            yield FieldProblem((*here, "value"), texts.LABEL_VALUE)
        if operator in ("Gt", "Lt") and not (_DECIMAL.fullmatch(value) and -(2**63) <= int(value) < 2**63):
            yield FieldProblem((*here, "value"), f"must be a whole number with operator {operator}")


def affinity_problems(affinity: _Object, path: Path) -> Iterator[FieldProblem]:
    """Yields the problems of the pods' affinity, whose structure is valid."""
    node, node_path = affinity.get("nodeAffinity") or {}, (*path, "nodeAffinity")
    if (required := node.get(_REQUIRED)) is not None:
        here = (*node_path, _REQUIRED, "nodeSelectorTerms")
        if not required.get("nodeSelectorTerms"):
            yield FieldProblem(here, "must have at least one entry")
        for index, term in enumerate(required.get("nodeSelectorTerms") or ()):
            yield from _node_term_problems(term or {}, (*here, index), required=True)
    for index, term in enumerate(node.get(_PREFERRED) or ()):
        yield from _weight_problems(term, (*node_path, _PREFERRED, index))
        preference = (*node_path, _PREFERRED, index, "preference")
        yield from _node_term_problems(term.get("preference") or {}, preference, required=False)
    for kind in ("podAffinity", "podAntiAffinity"):
        given = affinity.get(kind) or {}
        for index, term in enumerate(given.get(_REQUIRED) or ()):
            yield from _pod_term_problems(term, (*path, kind, _REQUIRED, index))
        for index, term in enumerate(given.get(_PREFERRED) or ()):
            here = (*path, kind, _PREFERRED, index)
            yield from _weight_problems(term, here)
            yield from _pod_term_problems(term.get("podAffinityTerm") or {}, (*here, "podAffinityTerm"))


def spread_problems(constraints: Sequence[_Object], path: Path) -> Iterator[FieldProblem]:
    """Yields the problems of the pods' topologySpreadConstraints, whose structure is valid."""
    seen: set[tuple[str, str]] = set()
    for index, constraint in enumerate(constraints):
        here = (*path, index)
        if (constraint.get("maxSkew") or 0) <= 0:
            yield FieldProblem((*here, "maxSkew"), "must be greater than 0")
        domains = constraint.get("minDomains")
        if domains is not None and domains <= 0:
            yield FieldProblem((*here, "minDomains"), "must be greater than 0")
        if domains is not None and constraint.get("whenUnsatisfiable") != "DoNotSchedule":
            yield FieldProblem((*here, "minDomains"), "needs whenUnsatisfiable DoNotSchedule")
        identity = (constraint.get("topologyKey") or "", constraint.get("whenUnsatisfiable") or "")
        if identity in seen:
            yield FieldProblem(
                here, "repeats topologyKey and whenUnsatisfiable of an entry before it: remove one"
            )
        seen.add(identity)
        for policy in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if constraint.get(policy) == "":
                yield FieldProblem((*here, policy), "must be Honor or Ignore")
        selector = constraint.get("labelSelector")
        keys = constraint.get("matchLabelKeys") or ()
        if keys and selector is None:
            yield FieldProblem((*here, "matchLabelKeys"), "needs a labelSelector")
        yield from _match_key_problems(keys, selector or {}, (*here, "matchLabelKeys"))
        yield from selector_problems(selector or {}, (*here, "labelSelector"))


def selector_problems(selector: _Object, path: Path) -> Iterator[FieldProblem]:
    """Yields the problems of a label selector, whose structure is valid."""
    yield from label_problems(selector.get("matchLabels") or {}, (*path, "matchLabels"))
    for index, requirement in enumerate(selector.get("matchExpressions") or ()):
        here = (*path, "matchExpressions", index)
        operator, values = requirement.get("operator") or "", requirement.get("values") or ()
        if operator not in _SELECTOR_OPERATORS:
            yield FieldProblem((*here, "operator"), f"must be one of {', '.join(_SELECTOR_OPERATORS)}")
        yield from _value_count_problems(operator, values, here)
        yield from _key_and_value_problems(requirement, here)


def label_problems(labels: Mapping[str, Any], path: Path) -> Iterator[FieldProblem]:
    """Yields the problems of labels, whose structure is valid."""
    for key, value in labels.items():
        if not texts.is_label_name(key):
            yield FieldProblem((*path, key), f"{texts.LABEL_NAME}, on the left side")
        if not texts.is_label_value(value or ""):
            yield FieldProblem((*path, key), texts.LABEL_VALUE)


def _weight_problems(term: _Object, path: Path) -> Iterator[FieldProblem]:
    if not 1 <= (term.get("weight") or 0) <= 100:
        yield FieldProblem((*path, "weight"), "must be from 1 to 100")


def _node_term_problems(term: _Object, path: Path, required: bool) -> Iterator[FieldProblem]:
    for index, requirement in enumerate(term.get("matchExpressions") or ()):
        here = (*path, "matchExpressions", index)
        operator, values = requirement.get("operator") or "", requirement.get("values") or ()
        yield from _value_count_problems(operator, values, here)
        if operator in ("Gt", "Lt") and len(values) != 1:
            yield FieldProblem((*here, "values"), f"must have exactly one entry with operator {operator}")
        yield from _key_and_value_problems(requirement, here, values=required)
    for index, requirement in enumerate(term.get("matchFields") or ()):
        here = (*path, "matchFields", index)
        if requirement.get("operator") not in ("In", "NotIn"):
            yield FieldProblem((*here, "operator"), "must be In or NotIn for a field")
        elif len(requirement.get("values") or ()) != 1:
            yield FieldProblem((*here, "values"), "must have exactly one entry for a field")
        if requirement.get("key") != "metadata.name":
            yield FieldProblem((*here, "key"), "must be metadata.name, the only field")
        elif not all(texts.is_subdomain(value or "") for value in requirement.get("values") or ()):
            yield FieldProblem((*here, "values"), texts.SUBDOMAIN)


def _value_count_problems(operator: str, values: Sequence[Any], path: Path) -> Iterator[FieldProblem]:
    if operator in ("In", "NotIn") and not values:
        yield FieldProblem((*path, "values"), f"must have at least one entry with operator {operator}")
    if operator in ("Exists", "DoesNotExist") and values:
        yield FieldProblem((*path, "values"), f"must be left out with operator {operator}")


def _key_and_value_problems(requirement: _Object, path: Path, values: bool = True) -> Iterator[FieldProblem]:
    if not texts.is_label_name(requirement.get("key") or ""):
        yield FieldProblem((*path, "key"), texts.LABEL_NAME)
    for index, value in enumerate(requirement.get("values") or ()):
        if values and not texts.is_label_value(value or ""):
            yield FieldProblem((*path, "values", index), texts.LABEL_VALUE)


def _pod_term_problems(term: _Object, path: Path) -> Iterator[FieldProblem]:
    for part in ("labelSelector", "namespaceSelector"):
        yield from selector_problems(term.get(part) or {}, (*path, part))
    for index, namespace in enumerate(term.get("namespaces") or ()):
        if not texts.is_dns_label(namespace or ""):
            yield FieldProblem((*path, "namespaces", index), "must be the name of a namespace")
    if not texts.is_label_name(term.get("topologyKey") or ""):
        yield FieldProblem((*path, "topologyKey"), texts.LABEL_NAME)
    selector = term.get("labelSelector")
    match, mismatch = term.get("matchLabelKeys") or (), term.get("mismatchLabelKeys") or ()
    for part, keys in (("matchLabelKeys", match), ("mismatchLabelKeys", mismatch)):
        if keys and selector is None:
            yield FieldProblem((*path, part), "needs a labelSelector")
    yield from _match_key_problems(match, selector or {}, (*path, "matchLabelKeys"))
    yield from _match_key_problems(mismatch, {}, (*path, "mismatchLabelKeys"))
    for index, key in enumerate(match):
        if key in mismatch:
            yield FieldProblem(
                (*path, "matchLabelKeys", index), "is in mismatchLabelKeys as well: remove one"
            )


def _match_key_problems(keys: Sequence[Any], selector: _Object, path: Path) -> Iterator[FieldProblem]:
    selected = {requirement.get("key") for requirement in selector.get("matchExpressions") or ()}
    selected |= {*(selector.get("matchLabels") or {})}
    for index, key in enumerate(keys):
        if not texts.is_label_name(key or ""):
            yield FieldProblem((*path, index), texts.LABEL_NAME)
        if key and key in selected:
            yield FieldProblem((*path, index), "is in labelSelector as well: remove one")
