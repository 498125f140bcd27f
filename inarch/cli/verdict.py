"""A verification's report in the terminal: what is wrong first, then the layers on a scale."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inarch.cli import output
from inarch.verify.report import Finding, Report
from inarch.verify.report_text import (
    RIGHT,
    WRONG,
    Scale,
    coverage,
    headline,
    layer_table,
    not_compared,
    number,
    sentence,
    share,
    state,
    texts_read_differently,
    visible,
    within,
)  # fmt: skip

if TYPE_CHECKING:
    from rich.text import Text

# Cells of a bar. With the other columns it fits a terminal of 80.
WIDTH = 16
EIGHTHS = " ▏▎▍▌▋▊▉"
COLOURS: Mapping[str, str] = {"right": "green", "inherited": "yellow", "wrong": "red"}


def show(report: Report, everything: bool = False) -> None:
    """Print a report; `everything` prints a line per tensor in place of one per layer."""
    from rich.text import Text

    if not report.findings:
        mark, style = ("✓ Passed", "green") if report.passed else ("✗ Failed", "red")
        output.show(Text.assemble((mark, f"bold {style}"), f"  {visible(headline(report))}"))
    for finding in report.findings:
        _show_finding(finding, "✗ Failed" if finding is report.first else "also wrong")
    if report.measures:
        output.show("")
        output.show(_table(report, everything))
    output.show("")
    output.print_facts(dict(_facts(report)))
    _show_differences(report)


def _show_finding(finding: Finding, title: str) -> None:
    """Print a finding: its layer, its diagnosis with the fix, and its noise ratio."""
    from rich.padding import Padding
    from rich.text import Text

    measure = finding.measure
    output.show(Text.assemble((title, "bold red"), "  ", (visible(finding.where), "bold")))
    if finding.diagnosis:
        output.show(Padding(Text(visible(sentence(finding.diagnosis))), (0, 0, 0, 2)))
    if measure.ratio is None:
        how = "our layer for it is never called"
    else:
        isolated = number(measure.local_ratio)
        how = f"noise ratio {number(measure.ratio)}, on the reference's own inputs {isolated}"
    reference = visible(measure.module or "the reference")
    output.show(Padding(Text(f"{reference}: {how}", "dim"), (0, 0, 0, 2)))


# --- the layer table ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Line:
    """A line of the table: a layer or a tensor."""

    name: str
    ratio: float | None
    local_ratio: float | None
    state: str
    has_finding: bool
    note: str


def _lines(report: Report, everything: bool) -> Iterator[_Line]:
    has_finding = [finding.measure for finding in report.findings]
    for row in layer_table(report):
        layer = row.layer or "outputs"
        if not everything:
            yield _Line(
                layer, row.worst.ratio, row.local_ratio, row.state, row.has_finding,
                within(row.worst, row).replace(" · ", ":"),
            )  # fmt: skip
            continue
        for m in row.measures:
            yield _Line(
                m.layer or layer, m.ratio, m.local_ratio, state(m, report), m in has_finding,
                m.role + (f" (call {m.call})" if m.call else ""),
            )  # fmt: skip


def _table(report: Report, everything: bool) -> Any:
    from rich.table import Table
    from rich.text import Text

    scale = Scale.of(report)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("layer", overflow="fold")
    table.add_column("ratio", justify="right", no_wrap=True)
    table.add_column("isolated", justify="right", no_wrap=True)
    table.add_column(Text(_axis(scale, report.threshold)), no_wrap=True, min_width=WIDTH)
    table.add_column("tensor" if everything else "worst tensor", overflow="fold")
    for line in _lines(report, everything):
        style = COLOURS[line.state] if line.state != RIGHT else ""
        table.add_row(
            Text(("▸ " if line.has_finding else "  ") + visible(line.name), style),
            Text("never" if line.ratio is None else number(line.ratio), style),
            Text(number(line.local_ratio), style if line.state == WRONG else "dim"),
            _bar(line, scale, report.threshold),
            Text(visible(line.note), "dim"),
        )
    return table


def _axis(scale: Scale, threshold: float) -> str:
    """Return the ends of the scale and, if there is room, the threshold next to its mark."""
    low, high, mark = f"{10.0**scale.low:g}", f"{10.0**scale.high:g}", _mark(scale, threshold)
    bound = f"│{threshold:g}"
    left = low.ljust(mark)[:mark] if len(low) < mark else " " * mark
    return left + bound + high.rjust(WIDTH - mark - len(bound))


def _bar(line: _Line, scale: Scale, threshold: float) -> Text:
    """Return a bar of the ratio on the scale, in eighths of a cell, with the threshold's mark."""
    from rich.text import Text

    ratio = math.inf if line.ratio is None else line.ratio
    whole, part = divmod(round((scale.at(ratio) if ratio < math.inf else 1) * WIDTH * 8), 8)
    cells = list(("█" * whole + EIGHTHS[part]).ljust(WIDTH)[:WIDTH])
    if math.isinf(ratio):
        cells[-1] = "×" if line.ratio is None else "▶"
    text = Text("".join(cells), COLOURS[line.state])
    mark = _mark(scale, threshold)
    return text[:mark] + Text("│", "bold") + text[mark + 1 :]


def _mark(scale: Scale, threshold: float) -> int:
    return min(int(scale.at(threshold) * WIDTH), WIDTH - 2)


# --- the rest ----------------------------------------------------------------------------------


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    yield "model", visible(report.title)
    yield "reference", visible(report.source)
    if report.measures:
        many = f"{len(report.measures)} tensors"
        yield "noise", f"{many}, largest {number(report.worst)}, threshold {report.threshold:g}"
    if report.coverage:
        yield "coverage", visible(coverage(report))
    for name, agreement in report.outputs.items():
        same = f"same likeliest class in {share(agreement.top1)} of rows"
        yield visible(name), f"{same}, divergence {number(agreement.kl)} nats"
    if report.proof:
        yield "weights", visible(report.proof)
    if report.not_compared:
        yield "not compared", visible(not_compared(report))
    if report.tokenizer:
        unread, total = texts_read_differently(report), report.tokenizer.texts
        yield "tokenizer", f"{unread} of {total} texts differ" if unread else f"{total} texts same"


def _show_differences(report: Report) -> None:
    if not report.tokenizer or report.tokenizer.same:
        return
    for d in report.tokenizer.differences:
        values = {"text": d.text, f"{d.what}, ours": d.ours, f"{d.what}, reference's": d.theirs}
        output.show("")
        output.print_facts({name: visible(value) for name, value in values.items()})
