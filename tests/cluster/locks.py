"""One at a time among processes: a lock that the kernel frees when its holder dies."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.reporting import say


@contextmanager
def locked(file: Path, busy: str = "") -> Iterator[None]:
    """Holds the lock on ``file`` (made if absent) for the block; says ``busy`` once if somebody else holds it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if busy:
                say(busy)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
