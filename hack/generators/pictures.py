"""The pictures of a rollout, a rejected version and a revert, as lanes of bars over time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from textwrap import wrap

_WIDTH, _LEFT, _RIGHT = 960, 170, 24
_TOP, _BAR, _LANE = 78, 38, 56
_CHARACTER = 6.6
"""Width of a character of the small font, in the widest of the fonts that may be chosen."""

_STYLE = Path(__file__).with_suffix(".css").read_text("utf-8")


@dataclass(frozen=True)
class Bar:
    """A state of a lane from one moment to another, both as shares of the picture's time."""

    start: float
    end: float
    text: str
    look: str
    """old, new, wait, bad or still"""


@dataclass(frozen=True)
class Lane:
    """One row with its bars."""

    name: str
    bars: Sequence[Bar]


@dataclass(frozen=True)
class Picture:
    """Lanes under marked moments."""

    title: str
    description: str
    moments: Sequence[tuple[float, str]]
    lanes: Sequence[Lane]


ROLLOUT = Picture(
    "A rollout, blue-green",
    "The alias moves from version 7 to 8. Pods of version 8 start beside those of 7, fetch, load, pass the self-test "
    "and get no request. When all are ready, the Service moves. Version 7 stays warm until version 8 has passed its "
    "watch window and is settled.",
    [(0.1, "alias moves"), (0.5, "all ready: the Service moves"), (0.82, "settled")],
    [
        Lane("champion names", [Bar(0, 0.1, "7", "old"), Bar(0.1, 1, "8", "new")]),
        Lane(
            "Pods of version 7",
            [Bar(0, 0.5, "serve", "old"), Bar(0.5, 0.82, "warm: a revert takes seconds", "old")],
        ),
        Lane(
            "Pods of version 8",
            [
                Bar(0.12, 0.18, "node", "wait"),
                Bar(0.18, 0.29, "fetch", "wait"),
                Bar(0.29, 0.42, "load, self-test", "wait"),
                Bar(0.42, 0.5, "ready", "wait"),
                Bar(0.5, 1, "serve", "new"),
            ],
        ),
        Lane("Requests go to", [Bar(0, 0.5, "version 7", "old"), Bar(0.5, 1, "version 8", "new")]),
        Lane("Ready", [Bar(0, 1, "True", "still")]),
        Lane(
            "Current",
            [
                Bar(0, 0.1, "True", "still"),
                Bar(0.1, 0.5, "False: RollingOut", "wait"),
                Bar(0.5, 0.82, "True, in the watch window", "still"),
                Bar(0.82, 1, "True, settled", "still"),
            ],
        ),
    ],
)
REJECTED = Picture(
    "A version that can't be loaded",
    "The alias moves from version 8 to 9. A pod of version 9 fetches the model, fails to load it and exits with a "
    "code for the reason. Version 9 never gets a request, and version 8 keeps serving. Version 9 stays rejected. Then "
    "the alias moves on to 10.",
    [(0.12, "alias moves"), (0.48, "LoadFailed: rejected"), (0.82, "alias moves on to 10")],
    [
        Lane(
            "champion names",
            [Bar(0, 0.12, "8", "old"), Bar(0.12, 0.82, "9", "bad"), Bar(0.82, 1, "10", "new")],
        ),
        Lane("Pods of version 8", [Bar(0, 1, "serve", "old")]),
        Lane(
            "Pods of version 9",
            [
                Bar(0.14, 0.2, "node", "wait"),
                Bar(0.2, 0.32, "fetch", "wait"),
                Bar(0.32, 0.48, "load: exits with code 50", "bad"),
            ],
        ),
        Lane("Requests go to", [Bar(0, 1, "version 8", "old")]),
        Lane("Ready", [Bar(0, 1, "True: the spec of Git is rolled out", "still")]),
        Lane(
            "Current",
            [
                Bar(0, 0.12, "True", "still"),
                Bar(0.12, 0.48, "False: RollingOut", "wait"),
                Bar(0.48, 0.82, "False: VersionRejected, side Model", "bad"),
                Bar(0.82, 1, "False: RollingOut", "wait"),
            ],
        ),
    ],
)
REVERT = Picture(
    "A version that fails in its watch window, blue-green",
    "Version 8 is serving in its watch window, and version 7 is warm. Version 8 answers requests with errors. The "
    "operator writes the verdict, moves the Service back to the warm pods of version 7, and stops those of version 8.",
    [(0.2, "8 is live"), (0.55, "10% are 5xx"), (0.6, "the Service is back")],
    [
        Lane("champion names", [Bar(0, 1, "8", "new")]),
        Lane(
            "Pods of version 7",
            [Bar(0, 0.2, "serve", "old"), Bar(0.2, 0.6, "warm", "old"), Bar(0.6, 1, "serve", "old")],
        ),
        Lane(
            "Pods of version 8",
            [
                Bar(0, 0.2, "ready", "wait"),
                Bar(0.2, 0.45, "serve, watch window", "new"),
                Bar(0.45, 0.6, "errors", "bad"),
                Bar(0.6, 0.72, "drain", "wait"),
            ],
        ),
        Lane(
            "Requests go to",
            [
                Bar(0, 0.2, "version 7", "old"),
                Bar(0.2, 0.6, "version 8", "new"),
                Bar(0.6, 1, "version 7", "old"),
            ],
        ),
        Lane("Ready", [Bar(0, 1, "True", "still")]),
        Lane(
            "Current",
            [
                Bar(0, 0.2, "False: RollingOut", "wait"),
                Bar(0.2, 0.55, "True", "still"),
                Bar(0.55, 1, "False: VersionRejected, ServerErrors", "bad"),
            ],
        ),
    ],
)


def render() -> dict[str, str]:
    """The pictures by file name."""
    pictures = {"rollout.svg": ROLLOUT, "rejected.svg": REJECTED, "revert.svg": REVERT}
    return {name: "\n".join(_svg(picture)) + "\n" for name, picture in pictures.items()}


def _svg(picture: Picture) -> Iterator[str]:
    height = _TOP + _LANE * len(picture.lanes) + 14
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
        f'height="{height}" role="img" aria-labelledby="title desc" font-family="-apple-system, \'Segoe UI\', Roboto, '
        "'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif\" font-size=\"14\">"
    )
    yield "  <!-- Generated by `make generate` from hack/generators/pictures.py: change it there. -->"
    yield f'  <title id="title">{escape(picture.title)}</title>'
    yield f'  <desc id="desc">{escape(picture.description)}</desc>'
    yield f"  <style>\n{_STYLE}  </style>"
    yield f'  <rect class="page" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="8"/>'
    yield f'  <text class="name" x="{_RIGHT}" y="30">{escape(picture.title)}</text>'
    for number, (moment, text) in enumerate(picture.moments):
        x = _x(moment)
        # neighbours are on two levels, or their labels would overlap
        y = 48 + 16 * (number % 2)
        yield f'  <line class="line" x1="{x}" y1="{y + 4}" x2="{x}" y2="{height - 14}"/>'
        following = [_x(later) for later, _ in picture.moments[number + 1 : number + 2]]
        if following and x + 4 + _CHARACTER * len(text) > following[0]:
            yield f'  <text class="moment" x="{x - 4}" y="{y}" text-anchor="end">{escape(text)}</text>'
            continue
        yield f'  <text class="moment" x="{x + 4}" y="{y}">{escape(text)}</text>'
    for row, lane in enumerate(picture.lanes):
        top = _TOP + row * _LANE
        yield f'  <text class="name" x="{_RIGHT}" y="{top + _BAR / 2 + 5:g}">{escape(lane.name)}</text>'
        for bar in lane.bars:
            yield from _bar(bar, top)
    yield "</svg>"


def _bar(bar: Bar, top: int) -> Iterator[str]:
    left, right = _x(bar.start) + 1, _x(bar.end) - 1
    yield (
        f'  <rect class="{bar.look}" x="{left:g}" y="{top}" width="{right - left:g}" height="{_BAR}" rx="4" '
        'stroke-width="1.3"/>'
    )
    lines = wrap(bar.text, max(4, int((right - left - 6) / _CHARACTER)))
    for number, line in enumerate(lines):
        y = top + _BAR / 2 + 4 + (number - (len(lines) - 1) / 2) * 14
        yield (
            f'  <text class="small" x="{(left + right) / 2:g}" y="{y:g}" text-anchor="middle">'
            f"{escape(line)}</text>"
        )


def _x(moment: float) -> float:
    return round(_LEFT + moment * (_WIDTH - _LEFT - _RIGHT), 1)
