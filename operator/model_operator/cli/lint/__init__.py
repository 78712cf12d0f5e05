"""Validates manifests without a cluster, with the checks of the API server."""

from model_operator.cli.lint.documents import Document, DocumentError, documents
from model_operator.cli.lint.judgement import Problem, judge
from model_operator.cli.lint.pod_fields import known_fields
from model_operator.cli.lint.structure import Severity

__all__ = ["Document", "DocumentError", "Problem", "Severity", "documents", "judge", "known_fields"]
