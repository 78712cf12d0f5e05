"""The committed CRD on an API server."""

from __future__ import annotations

import time
from pathlib import Path

import yaml
from tests.cluster.api import ApiClient

ROOT = Path(__file__).parents[2]
CRD = ROOT / "crds" / "modeldeployments.yaml"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ESTABLISH_SECONDS = 30


def install_crd(api: ApiClient) -> None:
    """Create the committed CRD and wait until it is served. Raises AssertionError with the server's words."""
    created = api.http.post(CRDS, json=yaml.safe_load(CRD.read_text(encoding="utf-8")))
    assert created.status_code == 201, created.text
    deadline = time.monotonic() + ESTABLISH_SECONDS
    while not _served(api):
        assert time.monotonic() < deadline, api.get(f"{CRDS}/{created.json()['metadata']['name']}")
        time.sleep(0.1)


def _served(api: ApiClient) -> bool:
    return api.get("/apis/model-operator.io/v1alpha1/modeldeployments") is not None
