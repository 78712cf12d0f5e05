"""Every manifest of the cookbook is applied to a real API server, whose rules it has to pass without a warning."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.cluster.api import ApiClient
from tests.cluster.binaries import ensure

ROOT = Path(__file__).parents[2]
COOKBOOK = sorted((ROOT / "examples" / "cookbook").glob("*.yaml"))


@pytest.fixture
def cleared(api: ApiClient) -> Iterator[None]:
    """The namespaces that an example brings are gone after it."""
    yield
    for path in COOKBOOK:
        for document in yaml.safe_load_all(path.read_text("utf-8")):
            if document["kind"] == "Namespace":
                api.http.delete(f"/api/v1/namespaces/{document['metadata']['name']}")


@pytest.mark.usefixtures("cleared")
@pytest.mark.parametrize("path", COOKBOOK, ids=lambda path: path.stem)
def test_a_manifest_of_the_cookbook_is_accepted(
    path: Path, control_plane: Path, namespace: str, tmp_path: Path
) -> None:
    documents = list(yaml.safe_load_all(path.read_text("utf-8")))
    # kubectl refuses a namespace on its command line that is not the manifest's own
    placed = any("namespace" in document["metadata"] for document in documents)
    done = subprocess.run(
        [
            ensure("kubectl")["kubectl"],
            *("apply", "--server-side", "--validate=strict", "--filename", str(path)),
            *([] if placed else ["--namespace", namespace]),
        ],
        env={
            "PATH": os.environ["PATH"],
            # kubectl keeps a cache there
            "HOME": str(tmp_path),
            "KUBECONFIG": str(control_plane),
            "NO_PROXY": "127.0.0.1",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert len(done.stdout.splitlines()) == len(documents)
