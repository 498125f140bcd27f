"""Verification is itself verified: faults put into right models are caught, and at their place."""

from pathlib import Path

import keras
import pytest

from inarch.layers.alternatives import changed
from inarch.verify.compare import verify
from inarch.verify.doctor.bricks import alternatives_of, bricks

from .faults import (
    GOLDENS,
    blocks,
    caught,
    examine,
    load,
    marks,
    read,
    subjects,
    tried,
)

pytestmark = pytest.mark.turns(3)

BY_NAME = pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
# Every run of the tests injects one fault of so many. On JAX the page of faults is made anew of
# all; the other backends take turns with them, for what verification makes of arrays is NumPy's.
SHARE = 30
PAGE = Path(__file__).parents[2] / "docs/faults.md"
BACKENDS = ("torch", "tensorflow")
ANEW = "write docs/faults.md anew: make tables"


def section(path):
    """Return the page's text on an architecture."""
    return PAGE.read_text("utf-8").partition(f"## {path.stem}\n")[2].partition("\n## ")[0]


def rows(path):
    """Return the page's rows of an architecture: marks by the name of the fault."""
    cells = [line[2:].split(" | ") for line in section(path).splitlines() if line.startswith("| ")]
    return {name: tuple(mark == "yes" for mark in found[:3]) for name, *found in cells[1:]}


def hold(path, faults):
    """Check that no fault passes verification, and that each has the marks of the page."""
    if keras.backend.backend() == "tensorflow":  # refuses to add two precisions by itself
        faults = [fault for fault in faults if not fault.mixed]
    reports = [(fault, examine(path, fault)) for fault in faults]
    assert [fault.name for fault, report in reports if report.passed] == []
    stated, made = rows(path), {fault.name: marks(fault, report) for fault, report in reports}
    assert made == {name: stated[name] for name in made}, ANEW


@BY_NAME
def test_the_page_has_every_fault_caught_nearly_all_located_and_most_diagnosed(path):
    shares = [sum(marks) / len(marks) for marks in zip(*rows(path).values(), strict=True)]
    assert shares[0] == 1
    assert shares[1] >= 0.95
    assert shares[2] >= 0.8


@BY_NAME
def test_faults_are_caught_located_and_diagnosed_as_the_page_says(path):
    hold(path, [trial.fault for trial in tried(path)[::SHARE] if trial.fault.places])


@pytest.mark.reference
@pytest.mark.turns(2)
@pytest.mark.skipif(keras.backend.backend() not in BACKENDS, reason="JAX has the page of faults")
@BY_NAME
def test_other_backends_say_the_same_of_faults(path):
    turn = 1 + BACKENDS.index(keras.backend.backend())
    hold(path, [trial.fault for trial in tried(path)[turn::SHARE] if trial.fault.places])


@BY_NAME
def test_a_right_model_raises_no_alarm_before_and_after_a_fault(path):
    examine(path, tried(path)[0].fault)
    for subject in subjects(path).values():
        report = verify(subject.model, subject.reference)
        assert report.passed
        assert not caught(report)


@BY_NAME
def test_verifying_leaves_the_calls_of_a_model_as_they_were(path):
    model, run = load(read(path)), read(path).runs[""]
    block = model.get_layer(blocks(read(path), 0)[-1])
    seen, call = [], block.call

    def count(*args, **kwargs):
        seen.append(call)
        return call(*args, **kwargs)

    with changed(block, {"call": count}):
        model(run.inputs)
        before = len(seen)
        verify(model, run)
        seen.clear()
        model(run.inputs)
    assert len(seen) == before >= 1


@BY_NAME
def test_alternatives_are_undone(path):
    for layer in subjects(path)[""].layers.values():
        for brick in bricks(layer).values():
            before = dict(brick.__dict__)
            given = {n: getattr(brick, n, None) for a in alternatives_of(brick).values() for n in a}
            for attributes in alternatives_of(brick).values():
                with changed(brick, attributes):
                    assert all(getattr(brick, n) is not given[n] for n in attributes)
                assert brick.__dict__ == before


@BY_NAME
def test_names_of_faults_are_unique_and_are_on_the_page(path):
    names = [trial.name for trial in tried(path)]
    others = (
        section(path).partition("change nothing for these inputs: ")[2].rstrip(".\n").split("; ")
    )
    assert len(set(names)) == len(names) >= 30
    assert list(rows(path)) == [name for name in names if name not in others], ANEW
    assert others == [name for name in names if name in others], ANEW
