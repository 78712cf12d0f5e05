"""Builders of the child objects, and their comparison with the live objects. All functions are pure."""

from model_operator.planner.manifests.admission import admission_patch, is_admitted
from model_operator.planner.manifests.children import (
    ANNOTATION_REVISION,
    autoscaler,
    deployment,
    disruption_budget,
    initial_replicas,
    patch_over,
    preview_service,
    service,
    with_replicas,
    without_replicas,
)
from model_operator.planner.manifests.drift import Difference, differences, differs
from model_operator.planner.manifests.identity import (
    extract_pod_spec,
    revision_name,
    same_target,
    same_text,
    same_version,
)
from model_operator.planner.manifests.images import ImageProblem, resolve_images
from model_operator.planner.manifests.owner import (
    ANNOTATION_BODY,
    Owner,
    called,
    child_labels,
    name_of,
    spare_name,
    track_selector,
)
from model_operator.planner.manifests.pods import (
    TemplateInputs,
    merge_probe,
    mounted_by_us,
    pod_security,
    pod_template,
    scripts_config_map,
    server_security,
)
from model_operator.planner.manifests.quantity import parse_quantity
from model_operator.planner.manifests.resources import sum_requests
from model_operator.planner.manifests.revisions import controller_revision, read_revision

__all__ = [
    "ANNOTATION_BODY",
    "ANNOTATION_REVISION",
    "Difference",
    "ImageProblem",
    "Owner",
    "TemplateInputs",
    "admission_patch",
    "autoscaler",
    "called",
    "child_labels",
    "controller_revision",
    "deployment",
    "differences",
    "differs",
    "disruption_budget",
    "extract_pod_spec",
    "initial_replicas",
    "is_admitted",
    "merge_probe",
    "mounted_by_us",
    "name_of",
    "parse_quantity",
    "patch_over",
    "pod_security",
    "pod_template",
    "preview_service",
    "read_revision",
    "resolve_images",
    "revision_name",
    "same_target",
    "same_text",
    "same_version",
    "scripts_config_map",
    "server_security",
    "service",
    "spare_name",
    "sum_requests",
    "track_selector",
    "with_replicas",
    "without_replicas",
]
