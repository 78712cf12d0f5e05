"""Which cases stay together where pytest-xdist spreads them over workers."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
GROUPS = {
    # servers and endings of processes, each made once for all cases of the file
    "test_serve.py": "serve",
    "test_fetch.py": "fetch",
    # an MLflow server without users
    "test_fetch_certificate.py": "registry without users",
    "test_fetch_from_s3.py": "registry without users",
    "registry/test_registry_releases.py": "registry without users",
    # one with users that is called by another name
    "registry/test_registry_mlflow.py": "registry",
    "registry/test_registry_kinds.py": "registry",
    "registry/test_registry_tags.py": "registry",
    "registry/test_registry_training.py": "registry",
    # one of their own
    "registry/test_registry_places.py": "places",
    "registry/test_registry_webhooks.py": "webhooks",
    "test_ci_example.py": "pipeline",
}
"""Files whose cases share what is expensive to make, so that one worker has to play all of a group."""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the cases into their groups."""
    for item in items:
        if item.path.is_relative_to(HERE) and (group := GROUPS.get(str(item.path.relative_to(HERE)))):
            item.add_marker(pytest.mark.xdist_group(group))
