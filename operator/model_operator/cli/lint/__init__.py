"""Validates manifests without a cluster, with the checks of the API server."""

from model_operator.cli.lint.documents import Document, DocumentError, documents
from model_operator.cli.lint.judgement import Problem, judge

__all__ = ["Document", "DocumentError", "Problem", "documents", "judge"]
