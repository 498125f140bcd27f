"""The documentation's page of measurements, and its plot, from the rows that are stored."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

from table import Row

INTRODUCTION = """\
# Benchmarks

`make bench` compares inarch with its peers and prints these tables; with `PAGE=docs` it writes the
page anew. A figure is the median of runs in turns, so that a busy machine slows both sides, and its
ratio is ours over theirs: below 1, inarch is the quicker or the smaller. Random weights are used
where the size matters and the numbers don't; texts are of mixed lengths (lognormal, half of them
below 24 tokens, one in a hundred above 280). Generated texts are timed by the processor, on one
core.
"""
# Headings of the groups, in the order of the page.
TITLES = {
    "inference": "Text tasks",
    "training": "Training",
    "generation": "Generated texts",
    "first": "The first vector",
    "import": "Imports",
    "load": "Loading",
    "proof": "Proof",
    "deberta": "DeBERTaV3",
    "fourier": "FNet",
    "whisper": "Whisper",
    "long_audio": "Long sound",
    "one_off": "One command",
    "log_mel": "Spectrograms",
    "size": "Sizes of folders",
}
# Groups whose rows aren't ratios of times or of memory.
NOT_DRAWN = ("fourier", "size")
WIDTH, LABELS, STEP, MOST = 1100, 760, 20, 2.0
OURS, THEIRS = "#2a7f62", "#b5523b"

# By group: a line on machine and versions, and the rows.
Measured = Mapping[str, tuple[str, Sequence[Row]]]


def read(file: Path) -> dict[str, tuple[str, list[Row]]]:
    """Return the stored groups; none where there is no file."""
    if not file.exists():
        return {}
    stored = json.loads(file.read_text("utf-8"))
    return {name: (x["about"], [Row(**row) for row in x["rows"]]) for name, x in stored.items()}


def write(measured: Measured, folder: Path) -> None:
    """Put groups in the place of the stored ones, and write page and plot of all.

    Args:
        folder: the documentation's; `measured/benchmarks.json`, `benchmarks.md` and
            `_static/benchmarks.svg` in it are written.
    """
    file = folder / "measured" / "benchmarks.json"
    groups = read(file) | measured
    ordered = {name: groups[name] for name in TITLES if name in groups}
    stored = {
        name: {"about": about, "rows": [asdict(row) for row in rows]}
        for name, (about, rows) in ordered.items()
    }
    file.write_text(json.dumps(stored, indent=1) + "\n", "utf-8")
    (folder / "benchmarks.md").write_text(page(ordered), "utf-8")
    (folder / "_static" / "benchmarks.svg").write_text(plot(ordered), "utf-8")


def page(measured: Measured) -> str:
    """Return the page in Markdown."""
    return "\n".join(_lines(measured)) + "\n"


def _lines(measured: Measured) -> Iterator[str]:
    yield INTRODUCTION
    yield "![Ratios of inarch's figures over its peers'](_static/benchmarks.svg)"
    for name, (about, rows) in measured.items():
        yield f"\n## {TITLES[name]}\n\n{about}\n"
        yield "| what | measured | ratio | promised | |\n| --- | --- | --- | --- | --- |"
        yield from (f"| {' | '.join(row.cells())} |" for row in rows)


def plot(measured: Measured) -> str:
    """Return an SVG of a bar for each ratio of ours over a peer's, with a line at 1."""
    rows = [
        (row.what, row.value)
        for name, (_, group) in measured.items()
        for row in group
        if name not in NOT_DRAWN and row.value is not None and " over " in row.figures
    ]
    scale = (WIDTH - LABELS - 60) / MOST
    height = STEP * (len(rows) + 2)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for i, (what, value) in enumerate(rows):
        top = STEP * (i + 1)
        shown = min(value, MOST) * scale
        color = OURS if value <= 1 else THEIRS
        drawn += [
            f'<text x="{LABELS - 8}" y="{top + 13}" text-anchor="end">{escape(what)}</text>',
            f'<rect x="{LABELS}" y="{top + 3}" width="{shown:.0f}" height="{STEP - 7}" '
            f'fill="{color}"/>',
            f'<text x="{LABELS + shown + 4:.0f}" y="{top + 13}">{value:.2f}</text>',
        ]
    one = LABELS + scale
    drawn.append(
        f'<line x1="{one:.0f}" x2="{one:.0f}" y1="{STEP / 2:.0f}" y2="{height - STEP / 2:.0f}" '
        'stroke="#333333" stroke-dasharray="4 3"/>'
    )
    return "\n".join([*drawn, "</svg>", ""])
