"""Keeps tests away from clusters that are not theirs."""

from __future__ import annotations

import os
from pathlib import Path

import httpx

from tests.cluster import marker
from tests.cluster.api import ApiClient, KubeconfigError, load_context

ALLOW_VARIABLE = "MODEL_OPERATOR_E2E_ALLOW_CONTEXT"


class ForeignClusterError(RuntimeError):
    """The kubeconfig leads to a cluster that is not ours; nothing was changed there."""


def assert_ours(kubeconfig: Path) -> None:
    """Returns when tests may change this cluster; raises ForeignClusterError otherwise.

    A cluster is ours when it carries the mark that `up` puts into it and the mark names the very server that
    the kubeconfig leads to (a restored backup or a forwarded port does not pass). A person may allow another
    one by naming its context in MODEL_OPERATOR_E2E_ALLOW_CONTEXT.
    """
    try:
        context, cluster, _ = load_context(kubeconfig)
    except KubeconfigError as error:
        raise ForeignClusterError(str(error)) from error
    if os.environ.get(ALLOW_VARIABLE) == context:
        return
    remedy = f"To run the tests there all the same, set {ALLOW_VARIABLE}={context}"
    try:
        with ApiClient(kubeconfig) as api:
            mark = api.get(f"/api/v1/namespaces/{marker.NAMESPACE}/configmaps/{marker.NAME}")
    except (KubeconfigError, httpx.HTTPError) as error:
        raise ForeignClusterError(
            f"context {context}: can't tell whose cluster it is: {error}. {remedy}"
        ) from error
    fault = foreign_reason(mark, cluster["server"])
    if fault:
        raise ForeignClusterError(f"context {context} ({cluster['server']}): {fault}. {remedy}")


def foreign_reason(mark: dict[str, object] | None, server: str) -> str | None:
    """Why a cluster with that mark (the ConfigMap) behind that server is not ours; None when it is."""
    if mark is None:
        return "this cluster was not made by tests.cluster"
    data = mark.get("data")
    marked = data.get("server") if isinstance(data, dict) else None
    if marked != server:
        return f"its mark belongs to the server {marked}"
    return None
