"""Manifests judged without a cluster, as the API server would judge them."""

from model_operator.cli.lint.documents import Document, DocumentError, documents
from model_operator.cli.lint.judgement import Problem, judge

__all__ = ["Document", "DocumentError", "Problem", "documents", "judge"]
