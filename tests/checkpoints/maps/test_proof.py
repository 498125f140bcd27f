"""A map is proven loss-free, or every tensor that breaks the proof is named in one message."""

import math
from dataclasses import replace

import numpy as np
import pytest

from inarch.checkpoints.maps import transfer
from inarch.checkpoints.maps.pattern import Pattern
from inarch.checkpoints.maps.plan import match
from inarch.checkpoints.maps.proof import prove
from inarch.checkpoints.maps.rule import dense, embedding, rule, unused
from inarch.errors import WeightMapError

from .toy import ARGUMENTS, OURS, SOURCE, Memory, arrays, header


def proof(of, source=SOURCE, ours=OURS, **options):
    return prove(source, of, ours, {**ARGUMENTS, **options.pop("arguments", {})}, **options)


def test_a_good_map_is_proven_and_counted():
    found = proof(header())
    mapped = header(ids=None, mask=None)
    assert found.tensors == len(mapped)
    assert found.elements == sum(math.prod(i.shape) for i in mapped.values())
    assert found.elements == sum(map(math.prod, OURS.values()))
    assert found.variables == len(OURS)
    assert found.derived == ("ids",)
    assert found.passthrough == {"mask": "never read"}
    assert found.seconds < 0.5


def test_only_as_many_tensors_as_variables_are_suggested_as_pairs():
    found = replace(proof(header()), tensors=9, elements=2048)
    assert replace(found, variables=9).in_words("Task") == (
        "9 tensors (2,048 numbers) and 9 variables of Task pair one to one, nothing lost either way"
    )
    fused = replace(found, variables=11).in_words()
    assert fused == (
        "9 tensors (2,048 numbers) and 11 variables hold the same numbers, nothing lost either way"
    )


def test_a_prefix_is_taken_where_the_file_has_it():
    prefixed = {f"toy.{name}": info for name, info in header().items()}
    assert proof(prefixed).tensors == proof(header()).tensors


def test_the_absent_part_and_the_head_that_is_not_used_are_carried():
    ours = {n: s for n, s in OURS.items() if not n.startswith("pooler")}
    extra = {"lm.norm.gamma": (4,), "lm.norm.bias": (4,), "lm.out": (11, 4)}
    of = header(**{n.replace(".", "__"): s for n, s in extra.items()})
    found = proof(of, ours=ours, arguments={"pooler": False})
    assert found.passthrough.keys() == {"mask", "pooler.weight", "pooler.bias", *extra}


@pytest.mark.parametrize("tie", [True, False])
def test_a_tied_output_is_one_variable_and_an_untied_one_its_own(tie):
    ours = OURS | {"lm/norm/gamma": (4,), "lm/norm/beta": (4,)}
    if not tie:
        ours = {**ours, "lm/kernel": (4, 11)}
    of = header(lm__norm__weight=(4,), lm__norm__bias=(4,), lm__out=(11, 4))
    of = {("" if n.startswith("lm.") else "toy.") + n: info for n, info in of.items()}
    found = proof(of, ours=ours, head="lm", tie=tie)
    assert found.tied == (("lm.out",) if tie else ())


def test_every_problem_is_named_in_one_message():
    ours = {n: s for n, s in OURS.items() if n != "layer_0/heads"} | {"stranger/kernel": (2, 2)}
    of = header(
        words__weight=None,
        layer__1__qkv=None,
        surprise=(3,),
        another__surprise=(3,),
        norm__bias=(5,),
        layer__0__up__1=(4, 5),
    )
    source = replace(SOURCE, weights=[*SOURCE.weights, rule("norm.weight", "n2/gamma", "d -> d")])
    with pytest.raises(WeightMapError) as error:
        proof(of, source, ours, where="/some/folder")
    message = str(error.value)
    lines = dict(line.strip().split(": ", 1) for line in message.splitlines()[1:])
    assert "/some/folder" in message
    assert lines["mapped more than once"] == "norm.weight"
    assert lines["missing from the file"] == "layer.1.qkv, words.weight"
    assert lines["unknown in the file"] == "another.surprise, surprise"
    assert lines["variables that nothing fills"] == "stranger/kernel"
    assert lines["variables that the model lacks"] == "layer_0/heads, n2/gamma"
    assert (
        "norm.bias (5,) for norm/beta, where the file should have (4,)"
        in (lines["of another shape"])
    )
    assert "layer.0.up.0 + layer.0.up.1" in lines["of another shape"]


@pytest.mark.parametrize(
    "again",
    [
        embedding("words", "copy"),
        rule("copy", "norm/gamma", "d -> d"),
        unused("words.weight", reason="said to be unused, and mapped"),
        rule("ids", "norm/gamma", "d -> d"),
    ],
    ids=["theirs", "ours", "mapped and unused", "mapped and derived"],
)
def test_a_name_mapped_twice_is_refused_on_loading_too(again):
    source = replace(SOURCE, weights=[SOURCE.weights, again])
    with pytest.raises(WeightMapError, match="mapped more than once"):
        match(source, header(), OURS, ARGUMENTS)


def test_of_many_strangers_the_first_are_named_and_the_rest_counted():
    strangers = {f"norm__stranger{i:03}": (1,) for i in range(100)}
    with pytest.raises(WeightMapError, match=r"stranger000, .*stranger011 and 88 more") as error:
        proof(header(**strangers))
    assert "stranger012" not in str(error.value)


@pytest.mark.parametrize("name", sorted(header()))
def test_no_mapped_tensor_can_be_missing_or_doubled(name):
    of = header()
    info = of.pop(name)
    if name in ("ids", "mask"):  # which the model does without
        assert proof(of).tensors == proof(header()).tensors
    else:
        with pytest.raises(WeightMapError, match=f"missing from the file: {name}"):
            proof(of)
    with pytest.raises(WeightMapError, match=rf"unknown in the file: {name}\.copy"):
        proof(header() | {f"{name}.copy": info})


def _first_doubled(arrays):
    for array in arrays:
        array = array.copy()
        array.flat[-1] = array.flat[0]
        yield array


WRONG = {
    "an element lost, another doubled": _first_doubled,
    "elements moved": lambda arrays: [np.roll(a, 1) for a in arrays],
    "numbers rounded": lambda arrays: [(a // 2) * 2 for a in arrays],
    "zeroed": lambda arrays: [np.zeros_like(a) for a in arrays],
    "one tensor short": lambda arrays: arrays[:-1],
    "cut": lambda arrays: [a[:-1] for a in arrays],
}


@pytest.mark.parametrize("side", ["load", "export"])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_implementation_is_caught_by_the_integers(side, wrong, monkeypatch):
    right = getattr(Pattern, side)

    def broken(self, arrays, theirs, ours):
        return list(WRONG[wrong](right(self, arrays, theirs, ours)))

    monkeypatch.setattr(Pattern, side, broken)
    with pytest.raises(WeightMapError) as error:
        proof(header())
    # All of the patterns are named, not only the first.
    for text in ("(q + k + v) i -> i q, i k, i v", "o i, o i -> * i o", "v d -> v d"):
        assert text in str(error.value)


def test_a_wrong_way_back_of_one_pattern_names_only_its_tensors(monkeypatch):
    right = Pattern.export

    def broken(self, arrays, theirs, ours):
        found = right(self, arrays, theirs, ours)
        return [a[::-1] for a in found] if self.text == "(h k) d -> d h k" else found

    monkeypatch.setattr(Pattern, "export", broken)
    with pytest.raises(WeightMapError, match=r"layer\.0\.heads") as error:
        proof(header())
    assert "qkv" not in str(error.value)


def loaded(of, **options):
    """Load the arrays `of`; return plan, weights, values of variables and passthrough tensors."""
    weights = Memory(of)
    ours = options.pop("ours", OURS)
    plan = match(SOURCE, weights.header, ours, ARGUMENTS, **options)
    put = {}
    carried = transfer.load(plan, weights, ours, lambda n, a: put.__setitem__(n, np.array(a)))
    return plan, weights, put, carried


def test_loading_fills_every_variable_and_export_gives_every_tensor_back():
    of = arrays(header())
    plan, weights, put, carried = loaded(of)
    assert {n: a.shape for n, a in put.items()} == OURS
    np.testing.assert_array_equal(put["layer_1/k"], of["layer.1.qkv"][6:8].T)
    value = transfer.exporter(plan, weights.header, OURS, put.__getitem__, carried)
    for name, array in of.items():
        back = value(name)
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("older", [("norm.gamma", "norm.beta"), ("norm.gamma", "norm.bias")])
def test_older_spellings_are_read_and_written_back(older):
    of = arrays(header())
    of |= dict(zip(older, (of.pop("norm.weight"), of.pop("norm.bias")), strict=True))
    plan, weights, put, carried = loaded(of)
    np.testing.assert_array_equal(put["norm/gamma"], of["norm.gamma"])
    value = transfer.exporter(plan, weights.header, OURS, put.__getitem__, carried)
    np.testing.assert_array_equal(value(older[1]), of[older[1]])


def test_two_spellings_of_one_tensor_in_one_file_are_refused():
    with pytest.raises(WeightMapError, match=r"unknown in the file: norm\.gamma"):
        loaded(arrays(header(norm__gamma=(4,))))


def test_tied_tensors_that_differ_are_refused_by_name():
    of = arrays(header(lm__norm__weight=(4,), lm__norm__bias=(4,), lm__out=(11, 4)))
    of = {("" if n.startswith("lm.") else "toy.") + n: a for n, a in of.items()}
    ours = OURS | {"lm/norm/gamma": (4,), "lm/norm/beta": (4,)}
    with pytest.raises(WeightMapError, match=r"'lm\.out' and 'toy\.words\.weight'"):
        loaded(of, ours=ours, head="lm")
    same = of | {"lm.out": of["toy.words.weight"].copy()}
    plan, weights, put, carried = loaded(same, ours=ours, head="lm")
    value = transfer.exporter(plan, weights.header, ours, put.__getitem__, carried)
    np.testing.assert_array_equal(value("lm.out"), same["lm.out"])
    # Equal is not enough where the bytes differ: -0.0 would come back as 0.0.
    same["toy.words.weight"][0, 0], same["lm.out"][0, 0] = 0.0, -0.0
    with pytest.raises(WeightMapError, match="tied"):
        loaded(same, ours=ours, head="lm")


@pytest.mark.parametrize(
    "stored",
    [np.arange(1, 10)[None], np.arange(9)[None, ::-1], np.array(3), np.arange(8).reshape(2, 4)],
)
def test_a_derived_tensor_that_holds_something_else_is_refused(stored):
    with pytest.raises(WeightMapError, match="'ids' is not the range"):
        loaded(arrays(header()) | {"ids": stored})


def test_a_model_without_tensors_of_its_own_carries_nothing_over():
    source = replace(SOURCE, weights=dense("w", "w"), optional_layers={}, heads={})
    with pytest.raises(WeightMapError, match=r"w\.bias, w\.weight"):
        proof({}, source, {"w/kernel": (2, 3), "w/bias": (3,)})
