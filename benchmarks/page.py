"""The documentation's page of measurements, and its plot."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from table import Row

INTRODUCTION = """\
# Benchmarks

`make bench` compares inarch with its peers and prints this table; with `PAGE=docs` it writes the
page anew. A figure is the median of runs in turns, so that a busy machine slows both sides, and its
ratio is ours over theirs: below 1, inarch is the quicker or the smaller. Random weights are used
where the size matters and the numbers don't; texts are of mixed lengths (lognormal, half of them
below 24 tokens, one in a hundred above 280).
"""
WIDTH, LABELS, STEP, MOST = 1000, 640, 22, 2.0
OURS, THEIRS = "#2a7f62", "#b5523b"


def write_page(rows: Sequence[Row], about: str, folder: Path) -> None:
    """Write `benchmarks.md` and `_static/benchmarks.svg` into the folder of the documentation."""
    ratios = [row for row in rows if row.value is not None and " over " in row.figures]
    (folder / "_static" / "benchmarks.svg").write_text(plot(ratios), "utf-8")
    lines = ["| what | measured | ratio | promised | |", "|---|---|---|---|---|"]
    lines += [f"| {' | '.join(row.cells())} |" for row in rows]
    picture = "![Ratios of inarch's figures over its peers'](_static/benchmarks.svg)"
    text = "\n".join([INTRODUCTION, f"{about}\n", picture, "", *lines, ""])
    (folder / "benchmarks.md").write_text(text, "utf-8")


def plot(rows: Sequence[Row]) -> str:
    """Return an SVG of a bar for each ratio, with a line at 1."""
    scale = (WIDTH - LABELS - 60) / MOST
    height = STEP * (len(rows) + 2)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for i, row in enumerate(rows):
        top, value = STEP * (i + 1), row.value or 0.0
        shown = min(value, MOST) * scale
        color = OURS if value <= 1 else THEIRS
        drawn += [
            f'<text x="{LABELS - 8}" y="{top + 14}" text-anchor="end">{escape(row.what)}</text>',
            f'<rect x="{LABELS}" y="{top + 3}" width="{shown:.0f}" height="{STEP - 7}" '
            f'fill="{color}"/>',
            f'<text x="{LABELS + shown + 4:.0f}" y="{top + 14}">{value:.2f}</text>',
        ]
    one = LABELS + scale
    drawn.append(
        f'<line x1="{one:.0f}" x2="{one:.0f}" y1="{STEP / 2:.0f}" y2="{height - STEP / 2:.0f}" '
        'stroke="#333333" stroke-dasharray="4 3"/>'
    )
    return "\n".join([*drawn, "</svg>", ""])
