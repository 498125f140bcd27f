"""Verification is itself verified: faults put into right models are caught, and at their place."""

import keras
import pytest

from inarch.layers.alternatives import changed
from inarch.verify.compare import verify
from inarch.verify.doctor.bricks import alternatives_of, bricks

from .faults import (
    GOLDENS,
    astray,
    blocks,
    caught,
    diagnosed,
    examine,
    faults_for,
    load,
    read,
    subjects,
)

BY_NAME = pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
# Every run of the tests injects one fault of so many. On JAX the page of faults is made anew of
# all; the other backends take turns with them, for what verification makes of arrays is NumPy's.
SHARE = 12
BACKENDS = ("torch", "tensorflow")


def hold(path, faults):
    """All faults are caught, nearly all of them located, and most of them diagnosed."""
    if keras.backend.backend() == "tensorflow":  # refuses to add two precisions by itself
        faults = [fault for fault in faults if not fault.mixed]
    reports = [(fault, examine(path, fault)) for fault in faults]
    assert [fault.name for fault, report in reports if not caught(report) or report.passed] == []
    lost = {fault.name: found for fault, r in reports if (found := astray(fault, r))}
    assert len(lost) <= 0.05 * len(reports), lost
    dark = [fault.name for fault, report in reports if not diagnosed(fault, report)]
    assert len(dark) <= 0.2 * len(reports), dark


@BY_NAME
def test_faults_are_caught_at_their_places_and_diagnosed(path):
    hold(path, faults_for(path)[::SHARE])


@pytest.mark.reference
@pytest.mark.skipif(keras.backend.backend() not in BACKENDS, reason="JAX has the page of faults")
@BY_NAME
def test_faults_are_caught_on_other_backends(path):
    turn = 1 + BACKENDS.index(keras.backend.backend())
    hold(path, [f for start in range(turn, SHARE, 2) for f in faults_for(path)[start::SHARE]])


@BY_NAME
def test_a_right_model_raises_no_alarm_before_and_after_a_fault(path):
    for fault in faults_for(path)[:1]:
        examine(path, fault)
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
        verify(model, run)
        seen.clear()
        model(run.inputs)
    assert len(seen) == 1


@BY_NAME
def test_alternatives_are_undone(path):
    for layer in subjects(path)[""].layers.values():
        for brick in bricks(layer).values():
            before = dict(brick.__dict__)
            for attributes in alternatives_of(brick).values():
                with changed(brick, attributes):
                    assert all(brick.__dict__[name] is not before.get(name) for name in attributes)
                assert brick.__dict__ == before


@BY_NAME
def test_names_of_faults_are_unique(path):
    names = [fault.name for fault in faults_for(path)]
    assert len(set(names)) == len(names) >= 30
