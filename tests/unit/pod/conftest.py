"""The pods' scripts as modules: in a pod they lie flat in one directory, beside nothing of the operator."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_operator import pod


@pytest.fixture(autouse=True)
def _flat_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(str(pod.__file__)).parent))
