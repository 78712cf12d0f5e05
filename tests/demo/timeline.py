"""What a person sees: a line for each thing that happens, and on a terminal a last line that lives."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.status import Status


class Timeline:
    """Lines with the seconds since the demo began; plain ones where nobody watches."""

    def __init__(self) -> None:
        plain = bool(os.environ.get("CI")) or None
        self.console = Console(
            highlight=False, soft_wrap=True, no_color=plain, force_terminal=False if plain else None
        )
        self._began = time.monotonic()
        self._live: Status | None = None

    @property
    def seconds(self) -> float:
        """Since the demo began."""
        return time.monotonic() - self._began

    def note(self, text: str, style: str = "") -> None:
        """Something that happened."""
        stamp = f"[dim]{self.seconds:6.1f} s[/dim]"
        body = f"[{style}]{escape(text)}[/{style}]" if style else escape(text)
        self.console.print(f"{stamp}  {body}")

    def title(self, title: str) -> None:
        """What begins now."""
        self.console.print(f"[bold]{self.seconds:6.1f} s  {escape(title)}[/bold]")

    def live(self, text: str) -> None:
        """What holds right now; shown on a terminal only."""
        if self._live:
            self._live.update(escape(text))

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """A step with its title and, when it is done, its seconds."""
        began = time.monotonic()
        self.title(title)
        if self.console.is_terminal:
            with self.console.status(escape(title)) as self._live:
                yield
            self._live = None
        else:
            yield
        self.note(f"done in {time.monotonic() - began:.1f} s", "green")
