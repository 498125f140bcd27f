"""The page of all faults and what verification makes of them: `fault_table.py docs/faults.md`."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
sys.path.insert(0, str(Path(__file__).parents[2]))

import tests.conftest  # noqa: F401  (compiled as in the tests, which compare with the page)
from inarch.verify.compare import verify
from inarch.verify.faults.fault import Fault
from tests.verify.faults import (
    GOLDENS,
    examine,
    faults_for,
    marks,
    subjects,
    unreached,
)

INTRO = """\
# Verification, verified

Each kind of fault below is put into a right model with tiny random weights, which is then verified
against what the reference computes. Layers are wrong in the ways that they declare themselves; the
rest are wrong weights, calls, sums and precisions. *Caught* is a fault that the verdict shows,
*located* one whose findings are the faulty places and no others, *diagnosed* one that the first
finding's line names. The noise ratio is the largest of any tensor, to a power of ten: what rounding
alone does is about 1, and from 8 on a tensor has diverged.
"""
COLUMNS = "| Kind of fault | Caught | Located | Diagnosed | Noise ratio |\n|---|---|---|---|---|"
NAMES = ("caught", "located", "diagnosed")


def section(path: Path) -> str:
    """Return the part of the page about the architecture of a golden file."""
    results = [row_of(path, fault) for fault in faults_for(path)]
    alarms = sum(
        not verify(subject.model, subject.reference).passed for subject in subjects(path).values()
    )
    columns = list(zip(*results, strict=True))[1:-1]
    shares = (
        f"{100 * cells.count('yes') / len(cells):.0f}% {name}"
        for name, cells in zip(NAMES, columns, strict=True)
    )
    rows = [f"| {' | '.join(row)} |" for row in results]
    return "\n".join([
        f"## {path.stem}\n",
        f"{len(results)} kinds: {', '.join(shares)}. "
        f"{alarms} false alarms in {len(subjects(path))} right models.\n",
        COLUMNS, *rows, "",
        f"Alternatives that change nothing for these inputs: {'; '.join(unreached(path))}.\n",
    ])  # fmt: skip


def row_of(path: Path, fault: Fault) -> list[str]:
    """Return the cells of a fault: its name, a mark for each of `NAMES`, its noise ratio."""
    report = examine(path, fault)
    ratio = _power(max(measure.worst for measure in report.measures))
    return [fault.name, *("yes" if mark else "no" for mark in marks(fault, report)), ratio]


def _power(ratio: float) -> str:
    """A ratio to a power of ten, which other machines agree with."""
    if math.isinf(ratio):
        return "∞"
    power = str(round(math.log10(ratio)))
    return "10" + power.translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def write(page: Path, names: list[str]) -> None:
    """Write the page; of named architectures the sections alone, each as soon as it is made."""
    stored = page.read_text("utf-8") if page.is_file() else ""
    found = {part.partition("\n")[0]: part for part in stored.split("\n## ")[1:]}
    for path in GOLDENS:
        if not names or path.stem in names:
            print(f"{path.stem}: {len(faults_for(path))} kinds of fault", file=sys.stderr)
            found[path.stem] = section(path).removeprefix("## ")
            parts = [found[p.stem].rstrip() for p in GOLDENS if p.stem in found]
            page.write_text("\n## ".join([INTRO, *(f"{part}\n" for part in parts)]), "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2:])
