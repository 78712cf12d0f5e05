"""The ModelDeployment resource: names, fields, references to models, and the CRD made from them."""

from model_operator.api.reference import MalformedReferenceError, ModelReference, parse_reference
from model_operator.api.resource import Metadata, ModelDeployment, SpecError, parse
from model_operator.api.spec import ModelDeploymentSpec
from model_operator.api.status import ModelDeploymentStatus

__all__ = [
    "MalformedReferenceError",
    "Metadata",
    "ModelDeployment",
    "ModelDeploymentSpec",
    "ModelDeploymentStatus",
    "ModelReference",
    "SpecError",
    "parse",
    "parse_reference",
]
