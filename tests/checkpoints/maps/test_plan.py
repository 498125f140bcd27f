"""A weight map meets a file: tied tensors under either name, and tensors of unknown heads."""

from dataclasses import replace

import numpy as np
import pytest

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.checkpoints.maps import transfer
from inarch.checkpoints.maps.plan import UNKNOWN_HEAD, match
from inarch.checkpoints.maps.rule import norm
from inarch.errors import WeightMapError

from .toy import ARGUMENTS, OURS, SOURCE, Memory, arrays, header

LM = OURS | {"lm/norm/gamma": (4,), "lm/norm/beta": (4,)}


def named(prefix, **changes):
    """A header of the toy with its head and more, whose names are outside of the prefix."""
    extra = header(lm__norm__weight=(4,), lm__norm__bias=(4,), **changes)
    own = header().keys()
    return {(prefix if n in own else "") + n: info for n, info in extra.items()}


@pytest.mark.parametrize("prefix", ["", "toy."])
@pytest.mark.parametrize(("head", "ours"), [("lm", LM), (None, OURS)])
@pytest.mark.parametrize("dropped", ["words.weight", "lm.out"])
def test_a_tied_table_is_read_and_written_under_either_name(dropped, head, ours, prefix):
    of = named(prefix, lm__out=(11, 4))
    del of[(prefix if dropped == "words.weight" else "") + dropped]
    weights = Memory(arrays(of))
    plan = match(SOURCE, weights.header, ours, ARGUMENTS, head)
    found = {}
    carried = transfer.load(plan, weights, ours, found.__setitem__)
    (table,) = (a for n, a in weights.arrays.items() if a.shape == (11, 4))
    np.testing.assert_array_equal(found["embedding/embeddings"], table)
    value = transfer.exporter(plan, weights.header, ours, found.__getitem__, carried)
    for name, array in weights.arrays.items():
        np.testing.assert_array_equal(value(name), array)


def test_the_prefix_of_other_code_is_read_and_stays():
    other = replace(SOURCE, other_prefixes=("kit.",))
    assert other.prefixes == ("kit.", "toy.")
    weights = Memory(arrays(named("kit.")))
    plan = match(other, weights.header, LM, ARGUMENTS, "lm")
    assert not plan.unknown
    found = {}
    carried = transfer.load(plan, weights, LM, found.__setitem__)
    value = transfer.exporter(plan, weights.header, LM, found.__getitem__, carried)
    for name, array in weights.arrays.items():
        np.testing.assert_array_equal(value(name), array)
    assert other.prefix_of("lm") == "toy."
    with pytest.raises(WeightMapError, match="unknown in the file: kit.ids"):
        match(SOURCE, weights.header, LM, ARGUMENTS, "lm")


def test_modules_of_a_head_may_have_other_names_than_its_tensors():
    head = replace(SOURCE.heads["lm"], module_weights=(norm("lm.scale", "lm/norm"),))
    of = named("toy.") | {
        f"lm.scale.{leaf}": TensorInfo("F32", (4,)) for leaf in ("weight", "bias")
    }
    of = {name: info for name, info in of.items() if not name.startswith("lm.norm")}
    by_files = replace(SOURCE, module_weights=SOURCE.weights, heads={"lm": head})
    by_modules = by_files.by_modules
    assert match(by_modules, of, LM, ARGUMENTS, "lm").rule_of().keys() >= {"lm.scale.weight"}
    assert by_modules.by_modules is by_modules
    with pytest.raises(WeightMapError, match=r"missing from the file: lm\.norm"):
        match(by_files, of, LM, ARGUMENTS, "lm")


def test_an_untied_output_is_no_table():
    of = named("toy.", lm__out=(11, 4))
    del of["toy.words.weight"]
    with pytest.raises(WeightMapError, match=r"missing from the file: toy\.words\.weight"):
        match(SOURCE, of, LM | {"lm/kernel": (4, 11)}, ARGUMENTS, "lm", tie=False)
    with pytest.raises(WeightMapError, match=r"missing from the file: toy\.words\.weight"):
        match(SOURCE, of, OURS, ARGUMENTS, tie=False)


@pytest.mark.parametrize("prefix", ["", "toy."])
@pytest.mark.parametrize("name", ["mine.weight", "normal", "a.layer.0.qkv"])
def test_a_tensor_outside_the_backbone_is_of_an_unknown_head(name, prefix):
    of = named(prefix) | {name: TensorInfo("F32", (2,))}
    plan = match(SOURCE, of, LM, ARGUMENTS, "lm")
    assert plan.unknown == [name]
    assert plan.passthrough[name] == UNKNOWN_HEAD
    with pytest.raises(WeightMapError, match=f"unknown in the file: {name}"):
        match(replace(SOURCE, strict=True), of, LM, ARGUMENTS, "lm")


@pytest.mark.parametrize(
    ("prefix", "name"),
    [("", "norm.extra"), ("", "layer.7.qkv"), ("", "pooler.x.weight"), ("toy.", "toy.mine.weight")],
)
def test_an_unknown_tensor_of_the_backbone_is_refused(prefix, name):
    of = named(prefix) | {name: TensorInfo("F32", (2,))}
    with pytest.raises(WeightMapError, match=f"unknown in the file: {name}"):
        match(SOURCE, of, OURS, ARGUMENTS)


def test_an_unknown_tensor_within_the_head_in_use_is_refused_and_of_another_head_is_not():
    of = named("toy.") | {"lm.norm.scale": TensorInfo("F32", (2,))}
    assert match(SOURCE, of, OURS, ARGUMENTS).unknown == ["lm.norm.scale"]
    with pytest.raises(WeightMapError, match=r"unknown in the file: lm\.norm\.scale"):
        match(SOURCE, of, LM, ARGUMENTS, "lm")


def test_names_of_a_wrapper_are_called_so():
    of = {f"module.toy.{name}": info for name, info in header().items()}
    with pytest.raises(WeightMapError, match=r"every name begins with 'module\.'"):
        match(SOURCE, of, OURS, ARGUMENTS)
