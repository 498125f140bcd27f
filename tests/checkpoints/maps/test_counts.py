"""An index runs over a count or a part of it, and a wrong one is named with the way out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.checkpoints.maps.counts import Count
from inarch.checkpoints.maps.entries import expand
from inarch.checkpoints.maps.pattern import Pattern
from inarch.checkpoints.maps.rule import dense, rule, under, unused
from inarch.errors import WeightMapError

FIVE = {"num_layers": 5}


@pytest.mark.parametrize(
    ("text", "indices"),
    [
        ("num_layers", [0, 1, 2, 3, 4]),
        ("num_layers[1:]", [1, 2, 3, 4]),
        ("num_layers[:-1]", [0, 1, 2, 3]),
        ("num_layers[::3]", [0, 3]),
        ("num_layers[1::2]", [1, 3]),
        ("num_layers[not ::3]", [1, 2, 4]),
        ("num_layers[not 0]", [1, 2, 3, 4]),
        ("num_layers[-1]", [4]),
        ("num_layers[9:]", []),
    ],
)
def test_a_part_of_a_count_is_as_python_slices(text, indices):
    assert Count.parse(text).indices(FIVE) == indices


@given(values=st.lists(st.booleans(), max_size=7))
def test_a_part_by_an_argument_and_the_others_are_all_of_a_count(values):
    arguments = {"num_layers": len(values), "is_sparse": values}
    of, others = (
        Count.parse(f"num_layers[{part}]").indices(arguments)
        for part in ("is_sparse", "not is_sparse")
    )
    assert of == [i for i, value in enumerate(values) if value]
    assert sorted([*of, *others]) == list(range(len(values)))


def test_without_a_list_all_are_of_the_part():
    arguments = {"num_layers": 3, "is_sparse": None}
    assert Count.parse("num_layers[is_sparse]").indices(arguments) == [0, 1, 2]
    assert Count.parse("num_layers[not is_sparse]").indices(arguments) == []


@pytest.mark.parametrize("values", [[True], 3, "abc"])
def test_a_list_that_does_not_have_a_value_for_each_is_refused_by_name(values):
    with pytest.raises(WeightMapError, match=r"argument is_sparse, which is .* each of the 3, or"):
        Count.parse("num_layers[is_sparse]").indices({"num_layers": 3, "is_sparse": values})


@pytest.mark.parametrize(
    "text", ["", "num layers", "num_layers[", "num_layers[a b]", "num_layers[::0]", "n[1:2:3:4]", 3]
)
def test_a_count_of_another_form_is_refused(text):
    with pytest.raises(WeightMapError):
        Count.parse(text)


@pytest.mark.parametrize("text", ["num_layers[5]", "num_layers[not 5]", "num_layers[-6]"])
def test_an_index_out_of_its_range_is_named_with_the_range(text):
    with pytest.raises(WeightMapError, match=r"num_layers is 5: only 0 to 4 exist"):
        Count.parse(text).indices(FIVE)


@pytest.mark.parametrize("size", [None, True, 2.0, "2", -1])
def test_what_is_no_count_is_refused_by_name(size):
    with pytest.raises(WeightMapError, match=r"argument num_layers, which is"):
        Count.parse("num_layers").indices({} if size is None else {"num_layers": size})


def moe(pattern="o i -> {e} i o", **counts):
    inner = under("experts.{e}", "experts", rule("w", "kernel", pattern), **counts)
    return under("layers.{i}", "layer_{i}", inner)


def test_two_indices_run_over_their_own_counts():
    entries = under(
        "layers.{i}",
        "layer_{i}",
        under("experts.{e}", "expert_{e}", dense("w", "w", bias=False), e="num_experts"),
    )
    found = expand(entries, {"num_layers": 2, "num_experts": 3})
    assert [e.theirs[0] for e in found] == [
        f"layers.{i}.experts.{e}.w.weight" for i in range(2) for e in range(3)
    ]
    assert found[-1].ours == ("layer_1/expert_2/w/kernel",)


def test_an_index_that_is_an_axis_makes_one_rule_of_all_its_values():
    found = expand(moe(e="num_experts[1:]"), {"num_layers": 2, "num_experts": 3})
    assert [e.theirs for e in found] == [
        (f"layers.{i}.experts.1.w", f"layers.{i}.experts.2.w") for i in range(2)
    ]
    assert {e.pattern for e in found} == {"o i, o i -> * i o"}
    assert found[1].ours == ("layer_1/experts/kernel",)


def test_a_stack_on_their_side_is_taken_apart_into_layers():
    entry = under("all", "layer_{e}", rule("kernel", "kernel", "{e} i o -> i o"), e="num_layers")
    (found,) = expand(entry, {"num_layers": 2})
    assert (found.theirs, found.ours) == (("all.kernel",), ("layer_0/kernel", "layer_1/kernel"))
    assert found.pattern == "* i o -> i o, i o"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (moe(), r"index \{e\}, which nothing counts; .*e='num_layers'"),
        (moe("o i -> i o", e="num_experts"), r"don't all have the index \{e\}; write it into"),
        (moe("o i -> {x} i o", e="num_experts"), r"don't all have the index \{e\}"),
        (rule("w", "kernel", "o i -> {x} i o"), r"stacked along \{x\}, which nothing counts"),
        (under("a", "b", unused("{x}", reason="none")), r"index \{x\}, which nothing counts"),
    ],
)
def test_an_index_of_one_side_alone_or_of_no_count_is_refused(entries, message):
    with pytest.raises(WeightMapError, match=message):
        expand(entries, {"num_layers": 2, "num_experts": 3})


def test_a_stack_of_nothing_is_refused():
    with pytest.raises(WeightMapError, match=r"stacks over \{e\}, which has no value"):
        expand(moe(e="num_experts"), {"num_layers": 1, "num_experts": 0})


@pytest.mark.parametrize("heads", [None, 0, True, 2.0, "2"])
def test_a_size_that_no_argument_gives_is_refused_by_name(heads):
    fused = rule("qkv", ("q", "k"), "(h=num_heads (d + d)) -> (h d), (h d)")
    with pytest.raises(WeightMapError, match="size of 'h' from the argument num_heads, which is"):
        expand([fused], {} if heads is None else {"num_heads": heads})
    with pytest.raises(WeightMapError, match="num_heads"):
        Pattern.parse(fused.pattern).sizes([(12,)], None)


@pytest.mark.parametrize("sizes", [(7, 9, 8), [7, 9, 8]])
def test_an_argument_with_a_value_for_each_index_counts_by_them(sizes):
    assert Count.parse("conv_dims").indices({"conv_dims": sizes}) == [0, 1, 2]
    assert Count.parse("conv_dims[1:]").indices({"conv_dims": sizes}) == [1, 2]
