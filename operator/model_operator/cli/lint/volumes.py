"""The volumes of the pods.

Source: ValidateVolumes and the functions it calls in Kubernetes' pkg/apis/core/validation/validation.go. The types that
Kubernetes removed or replaced by CSI drivers are checked for their required fields only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from model_operator.cli.lint import texts
from model_operator.cli.lint.containers import field_problems, resource_field_problems
from model_operator.cli.lint.documents import Path
from model_operator.cli.lint.resources import size_problems
from model_operator.cli.lint.scheduling import label_problems, selector_problems
from model_operator.cli.lint.structure import FieldProblem
from model_operator.planner.manifests import parse_quantity

_Object = Mapping[str, Any]
_GREATEST_MODE = 0o777
_FILE_FIELDS = frozenset(
    {"metadata.name", "metadata.namespace", "metadata.labels", "metadata.annotations", "metadata.uid"}
)
_SHORTEST_TOKEN_SECONDS = 600
_LONGEST_TOKEN_SECONDS = 2**32
_IN_VOLUME = "must be a relative path that does not begin with or contain '..'"


def volume_problems(volumes: Sequence[_Object], path: Path) -> Iterator[FieldProblem]:
    """Yields the problems of ``spec.pod.volumes``, whose structure is valid."""
    for index, volume in enumerate(volumes):
        here = (*path, index)
        if not texts.is_dns_label(volume.get("name") or ""):
            yield FieldProblem(
                (*here, "name"), "must be at most 63 lower-case letters, digits and '-', as in a host's name"
            )
        given = [kind for kind, source in volume.items() if kind != "name" and source is not None]
        if len(given) > 1:
            yield FieldProblem(here, f"must have one type, not both {given[0]} and {given[1]}: remove one")
        for kind in given:
            yield from source_problems(kind, volume[kind], (*here, kind))


def source_problems(kind: str, source: _Object, path: Path) -> Iterator[FieldProblem]:
    """Yields the problems of a volume's source of that kind, whose structure is valid."""
    judge = _SOURCES.get(kind)
    if judge is not None:
        yield from judge(source, path)


def _of_files(name: str) -> Callable[[_Object, Path], Iterator[FieldProblem]]:
    def judge(source: _Object, path: Path) -> Iterator[FieldProblem]:
        if not source.get(name):
            yield FieldProblem((*path, name), "is missing: add it")
        yield from _mode_problems(source.get("defaultMode"), (*path, "defaultMode"))
        yield from _item_problems(source.get("items") or (), (*path, "items"))

    return judge


def _item_problems(items: Sequence[_Object], path: Path) -> Iterator[FieldProblem]:
    for index, item in enumerate(items):
        if not texts.is_file_in_volume(item.get("path") or ""):
            yield FieldProblem((*path, index, "path"), _IN_VOLUME)
        yield from _mode_problems(item.get("mode"), (*path, index, "mode"))


def _mode_problems(mode: Any, path: Path) -> Iterator[FieldProblem]:
    if mode is not None and not 0 <= mode <= _GREATEST_MODE:
        yield FieldProblem(path, "must be from 0 to 0777 (octal), which is 511")


def _empty_dir(source: _Object, path: Path) -> Iterator[FieldProblem]:
    size = source.get("sizeLimit")
    if (parse_quantity(size) or 0) < 0:
        yield FieldProblem((*path, "sizeLimit"), "must be greater than or equal to 0")
    yield from size_problems("sizeLimit", size, (*path, "sizeLimit"))


def _ephemeral(source: _Object, path: Path) -> Iterator[FieldProblem]:
    template, here = source.get("volumeClaimTemplate"), (*path, "volumeClaimTemplate")
    if template is None:
        yield FieldProblem(here, "is missing: add it")
        return
    metadata = template.get("metadata") or {}
    for name, value in metadata.items():
        if name not in ("labels", "annotations") and value:
            yield FieldProblem(
                (*here, "metadata", name), "must be left out: only labels and annotations may be set"
            )
    yield from label_problems(metadata.get("labels") or {}, (*here, "metadata", "labels"))
    yield from _claim_problems(template.get("spec") or {}, (*here, "spec"))


def _claim_problems(claim: _Object, path: Path) -> Iterator[FieldProblem]:
    modes = claim.get("accessModes") or ()
    if not modes:
        yield FieldProblem((*path, "accessModes"), "must have at least one entry")
    if "ReadWriteOncePod" in modes and {*modes} != {"ReadWriteOncePod"}:
        yield FieldProblem(
            (*path, "accessModes"), "ReadWriteOncePod cannot be used together with other modes"
        )
    storage = ((claim.get("resources") or {}).get("requests") or {}).get("storage")
    here = (*path, "resources", "requests", "storage")
    if storage is None:
        yield FieldProblem(here, "is missing: add it")
    elif (parse_quantity(storage) or 0) <= 0:
        yield FieldProblem(here, "must be greater than 0")
    yield from size_problems("storage", storage, here)
    for name in ("storageClassName", "volumeAttributesClassName"):
        if claim.get(name) and not texts.is_subdomain(claim[name]):
            yield FieldProblem((*path, name), texts.SUBDOMAIN)
    if claim.get("volumeMode") == "":
        yield FieldProblem((*path, "volumeMode"), "must not be empty: leave it out")
    for name in ("dataSource", "dataSourceRef"):
        source, here = claim.get(name) or {}, (*path, name)
        group = source.get("apiGroup") or ""
        if source and not group and source.get("kind") != "PersistentVolumeClaim":
            yield FieldProblem((*here, "apiGroup"), "is missing: only a PersistentVolumeClaim needs none")
        if group and not texts.is_subdomain(group):
            yield FieldProblem((*here, "apiGroup"), texts.SUBDOMAIN)
    yield from selector_problems(claim.get("selector") or {}, (*path, "selector"))


def _host_path(source: _Object, path: Path) -> Iterator[FieldProblem]:
    if ".." in (source.get("path") or "").split("/"):
        yield FieldProblem((*path, "path"), "must not contain '..'")


def _nfs(source: _Object, path: Path) -> Iterator[FieldProblem]:
    if not (source.get("path") or "").startswith("/"):
        yield FieldProblem((*path, "path"), "must be an absolute path")


def _csi(source: _Object, path: Path) -> Iterator[FieldProblem]:
    driver = source.get("driver") or ""
    if len(driver) > 63 or not texts.is_subdomain(driver.lower()):
        yield FieldProblem((*path, "driver"), f"{texts.SUBDOMAIN}, of at most 63 characters")
    secret = source.get("nodePublishSecretRef")
    if secret is not None and not texts.is_subdomain(secret.get("name") or ""):
        yield FieldProblem((*path, "nodePublishSecretRef", "name"), texts.SUBDOMAIN)


def _downward(source: _Object, path: Path) -> Iterator[FieldProblem]:
    yield from _mode_problems(source.get("defaultMode"), (*path, "defaultMode"))
    for index, file in enumerate(source.get("items") or ()):
        here = (*path, "items", index)
        if not texts.is_file_in_volume(file.get("path") or ""):
            yield FieldProblem((*here, "path"), _IN_VOLUME)
        yield from _mode_problems(file.get("mode"), (*here, "mode"))
        field, resource = file.get("fieldRef"), file.get("resourceFieldRef")
        if (field is None) == (resource is None):
            yield FieldProblem(here, "must have either fieldRef or resourceFieldRef")
        if field is not None:
            yield from field_problems(field, (*here, "fieldRef"), _FILE_FIELDS)
        elif resource is not None:
            if not resource.get("containerName"):
                yield FieldProblem((*here, "resourceFieldRef", "containerName"), "is missing: add it")
            else:
                yield from resource_field_problems(resource, (*here, "resourceFieldRef"))


def _projected(source: _Object, path: Path) -> Iterator[FieldProblem]:
    yield from _mode_problems(source.get("defaultMode"), (*path, "defaultMode"))
    seen: set[str] = set()
    for index, part in enumerate(source.get("sources") or ()):
        here = (*path, "sources", index)
        given = [kind for kind, value in part.items() if value is not None]
        if len(given) > 1:
            yield FieldProblem(here, "must have exactly one type")
        for kind in given:
            if kind == "serviceAccountToken":
                yield from _token_problems(part[kind], (*here, kind))
            else:
                yield from source_problems(_PROJECTED.get(kind, ""), part[kind], (*here, kind))
            for item in part[kind].get("items") or ():
                if item.get("path") in seen:
                    yield FieldProblem(here, "has a path that an entry before it has as well")
                seen.add(item.get("path") or "")


def _token_problems(token: _Object, path: Path) -> Iterator[FieldProblem]:
    seconds = token.get("expirationSeconds")
    if seconds is not None and not _SHORTEST_TOKEN_SECONDS <= seconds <= _LONGEST_TOKEN_SECONDS:
        yield FieldProblem((*path, "expirationSeconds"), "must be from 600 to 4294967296")
    if not texts.is_file_in_volume(token.get("path") or ""):
        yield FieldProblem((*path, "path"), _IN_VOLUME)


_SOURCES: dict[str, Callable[[_Object, Path], Iterator[FieldProblem]]] = {
    "emptyDir": _empty_dir,
    "secret": _of_files("secretName"),
    "configMap": _of_files("name"),
    "ephemeral": _ephemeral,
    "hostPath": _host_path,
    "nfs": _nfs,
    "csi": _csi,
    "downwardAPI": _downward,
    "projected": _projected,
}
# a Secret is named by another field in a projected volume, the one of a ConfigMap's volume
_PROJECTED = {"secret": "configMap", "configMap": "configMap", "downwardAPI": "downwardAPI"}
