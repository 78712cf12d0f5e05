"""Run with MLflow's interpreter, which has matplotlib: draws the results of Prometheus for each panel into a PNG."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

WIDTH_INCHES = 15.0
UNIT_INCHES = 0.36
"""The height of one of the dashboard's units."""
PAPER, CARD, INK, FAINT, BAD = "#f4f5f7", "#ffffff", "#1f2430", "#6b7280", "#c92a2a"
LINES = ["#2f6fde", "#2a9d6f", "#d97706", "#c92a2a", "#7c3aed", "#0891b2", "#be185d", "#65a30d", "#475569"]
Panel = dict[str, Any]


def main(answers: Path, file: Path) -> None:
    """Draws all panels where the dashboard has them."""
    plt.rcParams.update({"font.family": "DejaVu Sans", "font.size": 7.5, "text.color": INK})
    panels = json.loads(answers.read_text("utf-8"))
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = plt.figure(figsize=(WIDTH_INCHES, rows * UNIT_INCHES), facecolor=PAPER)
    for panel in panels:
        place = panel["gridPos"]
        left, width = place["x"] / 24, place["w"] / 24
        top, height = 1 - place["y"] / rows, place["h"] / rows
        if panel["type"] == "row":
            figure.text(
                0.008,
                top - height / 2,
                panel["title"],
                fontsize=10.5,
                weight="bold",
                va="center",
                color=FAINT,
            )
            continue
        gap_x, gap_y = 0.003, 0.08 / rows
        card = figure.add_axes((left + gap_x, top - height + gap_y, width - 2 * gap_x, height - 2 * gap_y))
        card.set_facecolor(CARD)
        card.set_xticks([])
        card.set_yticks([])
        for side in card.spines.values():
            side.set_color("#dfe3e8")
        inches = place["h"] * UNIT_INCHES
        card.text(
            0.15 / (place["w"] * WIDTH_INCHES / 24),
            1 - 0.14 / inches,
            panel["title"],
            weight="bold",
            fontsize=8.5,
            va="top",
            transform=card.transAxes,
        )
        draw = {"stat": _stat, "table": _table, "timeseries": _lines}[panel["type"]]
        draw(card, panel)
    figure.savefig(file, dpi=80, facecolor=PAPER, pil_kwargs={"optimize": True})


def _stat(card: Axes, panel: Panel) -> None:
    value = float(panel["answers"][0]["series"][0]["value"][1])
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    bad = len(steps) > 1 and value >= steps[1]["value"]
    text = _told(value, panel["fieldConfig"]["defaults"]["unit"])
    card.text(0.5, 0.4, text, fontsize=22, ha="center", va="center", color=BAD if bad else INK)


def _table(card: Axes, panel: Panel) -> None:
    headings = panel["transformations"][0]["options"]["renameByName"]
    unit = panel["fieldConfig"]["defaults"]["unit"]
    rows = sorted(
        [
            _told(float(series["value"][1]), unit) if label == "Value" else series["metric"].get(label, "")
            for label in headings
        ]
        for series in panel["answers"][0]["series"]
    )
    inside = card.inset_axes((0.015, 0.04, 0.97, 0.8))
    inside.axis("off")
    table = inside.table(
        cellText=rows or [["none"] + [""] * (len(headings) - 1)],
        colLabels=list(headings.values()),
        cellLoc="left",
        colLoc="left",
        bbox=(0, 1 - 0.15 * (max(len(rows), 1) + 1), 1, 0.15 * (max(len(rows), 1) + 1)),
        edges="B",
    )
    table.auto_set_font_size(False)
    table.set_fontsize(7.5)
    for (row, _), cell in table.get_celld().items():
        cell.set_edgecolor("#dfe3e8")
        cell.PAD = 0.02
        if row == 0:
            cell.get_text().set_color(FAINT)


def _lines(card: Axes, panel: Panel) -> None:
    plot = card.inset_axes((0.075, 0.27, 0.905, 0.56))
    unit = panel["fieldConfig"]["defaults"]["unit"]
    number = 0
    for answer in panel["answers"]:
        for series in answer["series"]:
            points = [(at - panel["began"], float(value)) for at, value in series["values"]]
            if all(value != value for _, value in points):
                continue
            label = _named(answer["legend"], series["metric"])
            colour = LINES[number % len(LINES)]
            plot.plot(*_with_gaps(points), color=colour, linewidth=1.3, label=label)
            number += 1
    plot.set_facecolor(CARD)
    plot.grid(color="#eceff3", linewidth=0.6)
    plot.tick_params(colors=FAINT, labelsize=6.5, length=0)
    plot.set_ylim(bottom=0, top=plot.get_ylim()[1] * 1.1 if plot.get_ylim()[1] > 0.001 else 1)
    plot.set_xlim(0, panel["seconds"])
    plot.yaxis.set_major_locator(MaxNLocator(4))
    plot.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _told(value, unit)))
    plot.xaxis.set_major_locator(MaxNLocator(6))
    plot.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} s"))
    for side in plot.spines.values():
        side.set_visible(False)
    columns = 3 if panel["gridPos"]["w"] > 8 else 2
    plot.legend(
        loc="upper left",
        bbox_to_anchor=(-0.07, -0.13),
        ncols=columns,
        frameon=False,
        fontsize=6.2,
        handlelength=1.0,
        columnspacing=1.0,
        labelspacing=0.25,
        borderaxespad=0,
    )


def _with_gaps(points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Times and values, with a break where there was no sample."""
    times: list[float] = []
    values: list[float] = []
    for at, value in points:
        if times and at - times[-1] > 5:
            times.append(times[-1] + 0.1)
            values.append(float("nan"))
        times.append(at)
        values.append(value)
    return times, values


def _named(legend: str, labels: dict[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), legend).strip()


def _told(value: float, unit: str) -> str:
    if value != value:
        return "none"
    if unit == "percentunit":
        return f"{value:.0%}"
    if unit == "s":
        if value >= 120:
            return f"{value / 60:.3g} min"
        return f"{value:.3g} s" if value >= 1 or value == 0 else f"{value * 1000:.3g} ms"
    return f"{value:.3g}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
