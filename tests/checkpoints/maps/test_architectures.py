"""Maps shaped like published architectures lose nothing, and take each tensor where it belongs."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.checkpoints.maps import transfer
from inarch.checkpoints.maps.config import field
from inarch.checkpoints.maps.entries import Derived, expand
from inarch.checkpoints.maps.pattern import Pattern
from inarch.checkpoints.maps.plan import export_rules, match
from inarch.checkpoints.maps.proof import prove
from inarch.errors import ConfigError, WeightMapError

from .models import TOYS, gpt2, gpt_neox, mixtral, modern_bert
from .toy import Memory

SIZES = st.integers(1, 4)


def made(toy, seed=0):
    """A file of random values for a toy, with its derived tensors."""
    random = np.random.default_rng(seed)
    arrays = {}
    for rule in export_rules(toy.source, toy.arguments, None, True)[0]:
        pattern = Pattern.parse(rule.pattern)
        sizes = pattern.sizes(None, [toy.ours[name] for name in rule.ours])
        for name, shape in zip(rule.theirs, pattern.their_shapes(sizes), strict=True):
            arrays[name] = random.normal(size=shape).astype("float32")
    for entry in expand(toy.source.weights, toy.arguments):
        if isinstance(entry, Derived):
            arrays |= {name: entry.make((1, 1, 5, 5)) for name in entry.theirs}
    return Memory(arrays)


def loaded(toy, file):
    plan = match(toy.source, file.header, toy.ours, toy.arguments)
    found = {}
    rest = transfer.load(plan, file, toy.ours, found.__setitem__)
    return plan, found, rest


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(TOYS)), st.tuples(SIZES, SIZES, SIZES, SIZES))
def test_what_is_loaded_is_written_back_equal_and_proven(name, sizes):
    toy = TOYS[name](*sizes[: TOYS[name].__code__.co_argcount])
    file = made(toy)
    plan, found, rest = loaded(toy, file)
    assert {name: value.shape for name, value in found.items()} == toy.ours
    value = transfer.exporter(plan, file.header, toy.ours, found.__getitem__, rest)
    for name, array in file.arrays.items():
        np.testing.assert_array_equal(value(name), array)
    proof = prove(toy.source, file.header, toy.ours, toy.arguments)
    assert proof.variables == len(toy.ours)
    assert proof.elements == sum(map(math.prod, toy.ours.values()))


def test_the_first_layer_has_no_norm_and_the_others_have():
    toy = modern_bert(layers=3)
    file = made(toy)
    names = [name for name in file.arrays if "attn_norm" in name]
    assert names == ["layers.1.attn_norm.weight", "layers.2.attn_norm.weight"]
    more = file.header | {"layers.0.attn_norm.weight": TensorInfo("F32", (4,))}
    with pytest.raises(WeightMapError, match=r"unknown in the file: layers\.0\.attn_norm\.weight"):
        match(toy.source, more, toy.ours, toy.arguments)


def test_a_fused_kernel_that_lies_as_ours_is_cut_along_its_last_axis():
    toy = gpt2()
    file = made(toy)
    _, found, _ = loaded(toy, file)
    fused = file.arrays["h.1.attn.c_attn.weight"]
    np.testing.assert_array_equal(found["layer_1/attention/key/kernel"], fused[:, 4:8])
    np.testing.assert_array_equal(
        found["layer_1/feed_forward/up/kernel"], file.arrays["h.1.mlp.c_fc.weight"]
    )


def test_heads_that_are_fused_one_by_one_are_parted_within_each_head():
    toy = gpt_neox(heads=2, head_width=3, width=4)
    file = made(toy)
    _, found, _ = loaded(toy, file)
    fused = file.arrays["layers.1.attention.query_key_value.weight"]  # [2 * 3 * 3, 4]
    apart = fused.reshape(2, 3, 3, 4)  # heads, which of the three, width of a head, input
    for place, name in enumerate(("query", "key", "value")):
        kernel = found[f"layer_1/attention/{name}/kernel"]
        np.testing.assert_array_equal(kernel, apart[:, place].reshape(6, 4).T)


def test_experts_are_stacked_in_the_order_of_their_numbers():
    toy = mixtral(experts=12)
    file = made(toy)
    _, found, _ = loaded(toy, file)
    kernel = found["layer_1/experts/gate/kernel"]
    for e in range(12):
        theirs = file.arrays[f"layers.1.block_sparse_moe.experts.{e}.w1.weight"]
        np.testing.assert_array_equal(kernel[e], theirs.T)
    np.testing.assert_array_equal(
        found["layer_0/expert_11/up/kernel"], file.arrays["layers.0.experts.11.w1.weight"].T
    )


def test_experts_that_a_file_lacks_are_named_with_the_field_that_counts_them():
    toy = mixtral(experts=4)
    header = {n: i for n, i in made(toy).header.items() if "experts.3" not in n}
    with pytest.raises(WeightMapError) as error:
        prove(toy.source, header, toy.ours, toy.arguments)
    said = str(error.value)
    assert "missing from the file: layers.0.experts.3.w1.bias" in said
    assert "'num_experts' is 4, and the file has nothing of 3: fetch the shards" in said
    assert "'num_layers' is" not in said


def test_experts_and_layers_beyond_the_count_are_named_with_the_number_that_would_do():
    toy = mixtral(layers=2, experts=3)
    larger = made(mixtral(layers=3, experts=4)).header
    with pytest.raises(WeightMapError) as error:
        prove(toy.source, larger, toy.ours, toy.arguments)
    said = str(error.value)
    assert "'num_experts' is 3, and the file also has 3: set it to 4" in said
    assert "'num_layers' is 2, and the file also has 2: set it to 3" in said


@pytest.mark.parametrize(
    "sizes", [{"layers": 10**9, "experts": 1}, {"layers": 900, "experts": 900}]
)
def test_counts_that_no_file_bears_out_are_refused_before_names_are_made_of_them(sizes):
    fields = [field("layers", "num_layers"), field("experts", "num_experts")]
    counted = replace(mixtral().source, config=fields)
    with pytest.raises(ConfigError, match=r"num_\w+(=| is )"):
        counted.arguments(sizes, [f"layers.{i}" for i in range(50_000)])
    assert counted.arguments({"layers": 3, "experts": 4}, made(mixtral()).arrays)
