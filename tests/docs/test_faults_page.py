"""The page of faults has the verdict of verification on each kind of fault."""

import re
from pathlib import Path

import keras
import pytest

from inarch.verify.golden import Golden

from ..verify.fault_table import COLUMNS, INTRO, NAMES, row_of, section
from ..verify.faults import GOLDENS, tried

PAGE = (Path(__file__).parents[2] / "docs" / "faults.md").read_text("utf-8")
SECTION = re.compile(r"^## (.+)\n\n(.+)\n\n((?:\|.*\n)+)", re.MULTILINE)
ANEW = "write it anew: make tables"


def sections(page):
    """Return each architecture's first line, and the cells of every row."""
    found = {}
    for name, head, lines in SECTION.findall(page):
        assert lines.startswith(COLUMNS)
        rows = lines.removeprefix(COLUMNS).split("\n")
        found[name] = head, [[cell.strip() for cell in r.split("|")[1:-1]] for r in rows if r]
    return found


def test_the_page_begins_with_what_its_columns_mean():
    assert PAGE.startswith(INTRO), ANEW


def test_every_architecture_has_a_section():
    assert list(sections(PAGE)) == [path.stem for path in GOLDENS], ANEW


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_the_figures_at_its_head_are_those_of_its_rows(path):
    head, rows = sections(PAGE)[path.stem]
    assert head.startswith(f"{len(rows)} kinds: ")
    for column, name in enumerate(NAMES, 1):
        marks = [row[column] for row in rows]
        assert set(marks) <= {"yes", "no"}
        assert f"{100 * marks.count('yes') / len(rows):.0f}% {name}" in head
    runs = len(Golden.read(path).runs)
    assert head.endswith(f" 0 false alarms in {runs} right models.")


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_every_fault_is_caught_nearly_all_are_located_and_most_diagnosed(path):
    _, rows = sections(PAGE)[path.stem]
    for column, least in enumerate((1, 0.95, 0.8), 1):
        assert [row[column] for row in rows].count("yes") >= least * len(rows)
    assert len(rows) >= 30


on_jax = pytest.mark.skipif(keras.backend.backend() != "jax", reason="the page is written on JAX")


@pytest.mark.reference
@on_jax
@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_every_twentieth_row_is_what_verification_makes_of_its_fault(path):
    marks = {row[0]: row[1:-1] for row in sections(PAGE)[path.stem][1]}
    faults = [trial.fault for trial in tried(path)[::20]]
    anew = {fault.name: row_of(path, fault)[1:-1] for fault in faults if fault.places}
    assert len(anew) >= 5
    assert anew == {name: marks[name] for name in anew}, ANEW


@pytest.mark.exhaustive
@on_jax
@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_a_section_is_what_verification_makes_of_the_faults(path):
    # The ratio is left out: another machine rounds otherwise.
    (found, anew), (stored, rows) = sections(section(path))[path.stem], sections(PAGE)[path.stem]
    assert (found, [row[:-1] for row in anew]) == (stored, [row[:-1] for row in rows]), ANEW
