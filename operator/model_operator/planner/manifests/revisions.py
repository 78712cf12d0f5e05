"""Stored revisions: a ControllerRevision for each, with the verdict in an annotation."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from model_operator.api import names
from model_operator.domain.revision import Revision, Target
from model_operator.planner.manifests.identity import target_as_json
from model_operator.planner.manifests.owner import Owner, child_metadata
from model_operator.planner.state import read_verdict, verdict_annotation

SCHEMA = 1


def controller_revision(owner: Owner, revision: Revision) -> dict[str, Any]:
    """The ControllerRevision of a revision, for a POST. Its data is immutable, so the verdict is an annotation."""
    target = revision.target
    annotations = {
        names.ANNOTATION_MODEL: target.model,
        names.ANNOTATION_VERSION: target.version,
        **{name: text for name, text in verdict_annotation(revision.verdict).items() if text},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": child_metadata(
            owner,
            f"{owner.name}-{revision.name}",
            labels={names.LABEL_REVISION: revision.name},
            annotations=annotations,
        ),
        "revision": revision.number,
        "data": {
            "schema": SCHEMA,
            # it is a label too, but labels can change
            "name": revision.name,
            "wish": target_as_json(target),
            "images": dict(revision.images),
            "template": deepcopy(dict(revision.template)),
            "configMap": revision.config_map,
        },
    }


def read_revision(obj: Mapping[str, Any]) -> Revision | None:
    """The revision in a ControllerRevision, or None if this code can't read it.

    An unreadable verdict counts as none, so the revision counts as never tried.
    """
    data, metadata = _map(obj.get("data")), _map(obj.get("metadata"))
    target = _read_target(_map(data.get("wish")))
    name, config_map, number = data.get("name"), data.get("configMap"), obj.get("revision")
    images, template = data.get("images"), data.get("template")
    if data.get("schema") != SCHEMA or isinstance(data.get("schema"), bool) or target is None:
        return None
    if not (isinstance(name, str) and name and isinstance(config_map, str)):
        return None
    if not isinstance(number, int) or isinstance(number, bool):
        return None
    if not (isinstance(template, Mapping) and template):
        return None
    if not (isinstance(images, Mapping) and all(isinstance(image, str) for image in images.values())):
        return None
    uid, seen_as = metadata.get("uid"), metadata.get("resourceVersion")
    return Revision(
        name=name,
        number=number,
        target=target,
        images=images,
        template=template,
        config_map=config_map,
        verdict=read_verdict(_map(metadata.get("annotations")).get(names.ANNOTATION_VERDICT)),
        uid=uid if isinstance(uid, str) else "",
        resource_version=seen_as if isinstance(seen_as, str) else "",
    )


def _read_target(stored: Mapping[str, Any]) -> Target | None:
    keys = ("registryUrl", "model", "version", "runId", "source", "digest")
    pod_spec = stored.get("shape")
    if not isinstance(pod_spec, Mapping) or not all(isinstance(stored.get(key), str) for key in keys):
        return None
    registry_url, model, version, run_id, source, digest = (stored[key] for key in keys)
    restart = stored.get("restart", "")
    if not isinstance(restart, str):
        return None
    return Target(registry_url, model, version, run_id, source, digest, pod_spec, restart)


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
