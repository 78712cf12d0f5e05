"""What a person sees while things take time."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


def say(message: str) -> None:
    """One line for the person who waits; on stderr, because stdout carries answers."""
    print(message, file=sys.stderr, flush=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Prints the title, and how many seconds it took when it is done."""
    began = time.monotonic()
    say(f"  {title} ...")
    yield
    say(f"  {title}: {time.monotonic() - began:.1f} s")
