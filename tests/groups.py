"""Which cases stay together on one worker where pytest-xdist spreads them (``--dist loadgroup``).

By their path: with pytest 9.2 the mark ``xdist_group`` of pytest-xdist 3.8 has no effect, since the name of an item
can't be changed any more. The conftest of all suites imports ``pytest_xdist_make_scheduler`` from here.
"""

from __future__ import annotations

from typing import Any

import pytest

GROUPS = {
    # servers and endings of processes, each made once for all cases of the file
    "tests/contract/test_serve.py": "serve",
    "tests/contract/test_scoring_agreement.py": "scoring",
    "tests/contract/test_fetch.py": "fetch",
    # an MLflow server without users
    "tests/contract/test_fetch_certificate.py": "registry without users",
    "tests/contract/test_fetch_from_s3.py": "registry without users",
    "tests/contract/registry/test_registry_releases.py": "registry without users",
    # one with users that is called by another name
    "tests/contract/registry/test_registry_mlflow.py": "registry",
    "tests/contract/registry/test_registry_kinds.py": "registry",
    "tests/contract/registry/test_registry_tags.py": "registry",
    "tests/contract/registry/test_registry_training.py": "registry",
    # one of their own
    "tests/contract/registry/test_registry_places.py": "places",
    "tests/contract/registry/test_registry_webhooks.py": "webhooks",
    "tests/contract/test_ci_example.py": "pipeline",
    # a control plane of its own
    "tests/integration/chart/": "chart",
    "tests/integration/security/": "security",
    # an interpreter of its own to fork from
    "tests/integration/lives/test_kubectl_model.py": "kubectl model",
    # all its cases are judged by what was played once
    "tests/integration/lives/test_wire.py": "wire",
    "tests/integration/lives/endurance/test_kills.py": "kills",
}
"""By file, or by folder: cases that share what is expensive to make."""


def group_of(nodeid: str) -> str:
    """The group of a case; empty when it goes to any worker."""
    path = nodeid.split("::", 1)[0]
    folders = (group for start, group in GROUPS.items() if start.endswith("/") and path.startswith(start))
    return GROUPS.get(path) or next(folders, "")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keeps the cases of a group together; None where another way to spread them was chosen."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadGroupScheduling

    class Grouped(LoadGroupScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid) or super()._split_scope(nodeid)

    return Grouped(config, log)
