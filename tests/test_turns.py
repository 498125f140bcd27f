"""Cases that take turns: every one runs on some backend, and every value of a list has its turn."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest

from . import conftest


class Case:
    """A collected test, as far as the hook looks at it."""

    path = Path("test_of_layers.py")

    def __init__(self, test, values, turns=None):
        self.nodeid = f"{self.path}::{test}" + (f"[{'-'.join(values)}]" if values else "")
        self.turns = turns
        self.is_exhaustive = False
        if values:
            self.callspec = SimpleNamespace(_idlist=values)

    def get_closest_marker(self, name):
        assert name == "turns"
        return None if self.turns is None else SimpleNamespace(args=(self.turns,))

    def add_marker(self, name):
        assert name == "exhaustive"
        self.is_exhaustive = True


def run_on(backend, monkeypatch, cases):
    """The identifiers of the cases that run on a backend."""
    monkeypatch.setenv("KERAS_BACKEND", backend)
    found = [Case(*case) for case in cases]
    conftest.pytest_collection_modifyitems(found)
    return [case.nodeid for case in found if not case.is_exhaustive]


def product(turns):
    names = [("bert", "fnet", "roberta", "whisper"), ("float32", "float16", "bfloat16")]
    return [("test_layer", list(values), turns) for values in itertools.product(*names)]


def test_of_three_turns_the_backends_have_each_case_once(monkeypatch):
    parts = [run_on(backend, monkeypatch, product(3)) for backend in conftest.BACKENDS]
    assert all(parts)
    assert sorted(sum(parts, [])) == sorted(Case(*case).nodeid for case in product(3))


@pytest.mark.parametrize("backend", conftest.BACKENDS)
def test_every_value_of_two_lists_has_its_turn(backend, monkeypatch):
    found = run_on(backend, monkeypatch, product(3))
    values = {value for name in found for value in name.partition("[")[2][:-1].split("-")}
    assert values == {value for _, values, _ in product(3) for value in values}


def test_tests_of_one_case_each_take_turns_too(monkeypatch):
    cases = [(name, [], 3) for name in ("test_a", "test_b", "test_c")]
    parts = [run_on(backend, monkeypatch, cases) for backend in conftest.BACKENDS]
    assert sorted(map(len, parts)) == [1, 1, 1]


def test_tests_without_the_mark_run_everywhere(monkeypatch):
    cases = [("test_a", []), ("test_b", ["bert"])]
    assert all(len(run_on(backend, monkeypatch, cases)) == 2 for backend in conftest.BACKENDS)
