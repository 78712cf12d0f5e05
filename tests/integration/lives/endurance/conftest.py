"""An operator whose requests to the API server go by a wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.wire.kubeconfig import wire_before
from tests.wire.wire import Wire


@pytest.fixture
def wired(control_plane: Path, tmp_path: Path) -> Iterator[tuple[Wire, Path]]:
    """A wire before the control plane, and the kubeconfig of a client that comes by it."""
    with wire_before(control_plane, tmp_path) as found:
        yield found
