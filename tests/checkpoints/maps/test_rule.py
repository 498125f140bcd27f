"""An axis pattern moves every element to its place, and reads backwards without a loss."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.checkpoints.maps.entries import Rule, Tied, expand, prefixed
from inarch.checkpoints.maps.pattern import Pattern
from inarch.checkpoints.maps.rule import (
    dense,
    derived,
    embedding,
    norm,
    rule,
    tied,
    under,
    unless,
    unused,
    when,
)
from inarch.errors import WeightMapError

A = np.arange(24)


@pytest.mark.parametrize(
    ("text", "theirs", "ours"),
    [
        ("o i -> i o", [A.reshape(4, 6)], [A.reshape(4, 6).T]),
        ("d -> d", [A], [A]),
        ("->", [np.array(7)], [np.array(7)]),
        (
            "(h k) d -> d h k",
            [A.reshape(6, 4)],
            [A.reshape(2, 3, 4).transpose(2, 0, 1)],
        ),
        ("h k d -> d (h k)", [A.reshape(2, 3, 4)], [A.reshape(6, 4).T]),
        (
            "(q + k + v) i -> i q, i k, i v",
            [A.reshape(12, 2)],
            [A.reshape(12, 2).T[:, :6], A.reshape(12, 2).T[:, 6:9], A.reshape(12, 2).T[:, 9:]],
        ),
        (
            "a, b -> (a + b)",
            [A[:5], A[5:]],
            [A],
        ),
        (
            "o i, o i -> * i o",
            [A[:12].reshape(3, 4), A[12:].reshape(3, 4)],
            [A.reshape(2, 3, 4).transpose(0, 2, 1)],
        ),
        (
            "o * i -> i o, i o, i o",
            [A.reshape(4, 3, 2)],
            [A.reshape(4, 3, 2)[:, n].T for n in range(3)],
        ),
    ],
)
def test_elements_go_where_plain_numpy_puts_them(text, theirs, ours):
    pattern = Pattern.parse(text)
    shapes = [a.shape for a in theirs], [a.shape for a in ours]
    for got, wanted in [
        (pattern.load(theirs, *shapes), ours),
        (pattern.export(ours, *shapes), theirs),
    ]:
        assert len(got) == len(wanted)
        for one, two in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(one, two)
    assert pattern.their_shapes(pattern.sizes(*shapes)) == shapes[0]


@st.composite
def single(draw):
    """One tensor with every axis apart, the other with some merged: pattern and both shapes."""
    names = list("abcde"[: draw(st.integers(1, 5))])
    sizes = {name: draw(st.integers(1, 3)) for name in names}
    order = draw(st.permutations(names))
    groups = [[order[0]]]
    for name in order[1:]:
        if draw(st.booleans()):
            groups[-1].append(name)
        else:
            groups.append([name])
    merged = " ".join(g[0] if len(g) == 1 else f"({' '.join(g)})" for g in groups)
    shape = tuple(int(np.prod([sizes[n] for n in g])) for g in groups)
    return (" ".join(names), [tuple(sizes[n] for n in names)]), (merged, [shape])


@st.composite
def several(draw):
    """One tensor fused or stacked from two to four, their axes permuted.

    Fused ones may have unequal sizes, and may be fused within each of several heads.
    """
    stacked = draw(st.booleans())
    count = draw(st.integers(2, 4))
    common = {name: draw(st.integers(1, 3)) for name in "xyz"[: draw(st.integers(0, 3))]}
    lanes = {f"p{n}": draw(st.integers(1, 3)) for n in range(count)}
    at = draw(st.integers(0, len(common)))
    heads = draw(st.sampled_from([None, 1, 2, 3])) if not stacked else None
    whole, parts = list(common), []
    joined = f"({' + '.join(lanes)})"
    whole.insert(at, "*" if stacked else f"(h={heads} {joined})" if heads else joined)
    shape = list(common.values())
    shape.insert(at, count if stacked else sum(lanes.values()) * (heads or 1))
    for lane, size in lanes.items():
        name = f"(h {lane})" if heads else lane
        mine = dict(common) if stacked else {**common, name: size * (heads or 1)}
        order = draw(st.permutations(list(mine)))
        parts.append((" ".join(order), tuple(mine[n] for n in order)))
    joined = ", ".join(text for text, _ in parts)
    return (joined, [s for _, s in parts]), (" ".join(whole), [tuple(shape)])


@settings(max_examples=150, deadline=None)
@given(st.one_of(single(), several()), st.booleans(), st.randoms())
def test_every_pattern_is_its_own_way_back(sides, flipped, random):
    (left, theirs), (right, ours) = sides[::-1] if flipped else sides
    pattern = Pattern.parse(f"{left} -> {right}")
    numbers = list(range(sum(int(np.prod(shape)) for shape in theirs)))
    random.shuffle(numbers)
    arrays = []
    for shape in theirs:
        size = int(np.prod(shape))
        arrays.append(np.array(numbers[:size], int).reshape(shape))
        numbers = numbers[size:]
    loaded = pattern.load(arrays, theirs, ours)
    assert [a.shape for a in loaded] == ours
    assert sorted(np.concatenate([a.ravel() for a in loaded])) == sorted(
        np.concatenate([a.ravel() for a in arrays])
    )
    for one, two in zip(pattern.export(loaded, theirs, ours), arrays, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    "text",
    [
        "o i",  # no arrow
        "o i -> i",  # an axis lost
        "o i -> i o o",  # one twice
        "(h h) d -> d h",
        "o i -> i j",  # another one
        "(o i -> i o",  # brackets that don't match
        "o i) -> i o",
        "((o) i) -> o i",
        "() o -> o",
        "O i -> i O",  # not a name
        "1 i -> i 1",
        "a-b -> a-b",
        "o ... -> ... o",
        "(a + b c) -> a, b c",  # joined and merged in one
        "((a + b) (c + d)) -> (a c), (b d)",  # two sums in one axis
        "(h (a + b) -> (h a), (h b)",
        "(h (a (b + c))) -> (h a b), (h a c)",  # deeper than one sum
        "(h= (a + b)) -> (h a), (h b)",
        "{e} o -> o o",
        "a+b -> a, b",  # joined without brackets
        "(a +) -> a",
        "(* a) -> * a",  # a new axis inside brackets
        "(a + b) (c + d) -> a c, b d",  # two axes taken apart
        "* (a + b) -> a, b",
        "(a + b), c -> (a + b), c",  # several tensors, and one of them taken apart
        "(a + b) c -> (b + a) c",
        "(a + b + c) -> a, b",  # three paired with two
        "a, b, c -> a, b",
        "o i, o i -> i o",
        "o i -> i o,",
        "a -> b -> a",
    ],
)
def test_a_malformed_pattern_is_refused_with_its_text(text):
    with pytest.raises(WeightMapError) as error:
        Pattern.parse(text)
    assert repr(text) in str(error.value)


@pytest.mark.parametrize(
    ("text", "theirs", "ours"),
    [
        ("o i -> i o", [(2, 3)], [(2, 3)]),
        ("o i -> i o", [(2, 3)], [(3,)]),
        ("o i -> i o", [(2, 3), (2, 3)], [(3, 2)]),
        ("(h k) d -> d h k", [(7, 4)], [(4, 2, 3)]),
        ("(h k) -> h k", [(0,)], [(0, 5, 1)]),
        ("(q + k) -> q, k", [(3,)], [(5,), (2,)]),
        ("(q + k) -> q, k", [(5,)], [(5,), (1,)]),
        ("o, o -> * o", [(3,), (3,)], [(3, 3)]),
        ("o, o -> * o", [(3,), (4,)], [(2, 3)]),
    ],
)
def test_shapes_that_do_not_fit_are_refused(text, theirs, ours):
    with pytest.raises(WeightMapError):
        Pattern.parse(text).sizes(theirs, ours)


def test_sizes_that_the_shapes_leave_open_are_named():
    with pytest.raises(WeightMapError, match=r"\['h', 'k'\]"):
        Pattern.parse("(h k) d -> d h k").sizes([(6, 4)], None)


def test_a_rule_must_name_as_many_tensors_as_its_pattern():
    with pytest.raises(WeightMapError, match=r"qkv"):
        rule("qkv", ("q", "k"), "(q + k + v) -> q, k, v")


def test_bricks_are_the_rules_they_name():
    assert dense("a", "b", bias=False) == [Rule(("a.weight",), ("b/kernel",), "o i -> i o")]
    assert [r.ours for r in dense("a", "b")] == [("b/kernel",), ("b/bias",)]
    assert embedding("a", "b") == [Rule(("a.weight",), ("b/embeddings",), "v d -> v d")]
    assert [r.legacy for r in norm("a", "b")] == [(("a.gamma",),), (("a.beta",),)]


@pytest.mark.parametrize("layer", [dense, norm])
def test_a_bias_may_depend_on_an_argument(layer):
    entries = layer("a", "b", bias="biased")
    biased = [replace(entry, when=None) for entry in expand(entries, {"biased": True})]
    assert biased == layer("a", "b")
    assert expand(entries, {"biased": False}) == layer("a", "b", bias=False)


def test_under_puts_both_sides_and_the_aliases_below_a_name():
    weight, _ = under("enc", "e", norm("n", "m"))
    assert (weight.theirs, weight.ours, weight.legacy) == (
        ("enc.n.weight",),
        ("e/m/gamma",),
        (("enc.n.gamma",),),
    )
    weight = prefixed(weight, "model.")
    assert weight.theirs == ("model.enc.n.weight",)
    assert weight.legacy == (("model.enc.n.gamma",),)
    assert weight.ours == ("e/m/gamma",)


def test_under_moves_ties_with_their_target():
    (entry,) = under("head", "h", tied("out", "table"))
    assert entry == Tied(("head.out",), "head.table")


def test_numbered_entries_run_over_the_count_on_both_sides():
    entries = under(
        "layer.{i}",
        "layer_{i}",
        norm("n", "m"),
        under("attention", "attention", dense("q", "query")),
        tied("again", "n.weight"),
        unused("mask", reason="a mask"),
        derived("ids", np.zeros, reason="ids"),
    )
    found = expand(under("model", "m", entries), {"num_layers": 2})
    assert len(found) == 2 * len(entries)
    assert not any(entry.indices for entry in found)
    names = [name for entry in found for name in entry.theirs]
    assert len(set(names)) == len(names)
    assert not any("{i}" in name for name in names)
    assert "model.layer.1.attention.q.weight" in names
    rules = {r.theirs[0]: r for r in found if isinstance(r, Rule)}
    assert rules["model.layer.1.n.weight"].ours == ("m/layer_1/m/gamma",)
    assert rules["model.layer.1.n.weight"].legacy == (("model.layer.1.n.gamma",),)
    assert [e.to for e in found if isinstance(e, Tied)] == [
        "model.layer.0.n.weight",
        "model.layer.1.n.weight",
    ]


def test_entries_run_over_the_count_that_they_name():
    entries = under("decoder.{i}", "d_{i}", dense("w", "w", bias=False), i="num_decoders")
    found = expand(entries, {"num_decoders": 3, "num_layers": 1})
    assert [e.theirs[0] for e in found] == [f"decoder.{i}.w.weight" for i in range(3)]


def test_two_numbered_levels_are_refused_rather_than_given_one_number():
    with pytest.raises(WeightMapError, match=r"layer\.\{i\}"):
        under(
            "layer.{i}",
            "layer_{i}",
            under("expert.{i}", "expert_{i}", dense("w", "w"), i="num_experts"),
        )


def test_entries_hold_where_their_condition_is_met():
    entries = [
        when("shared", dense("a", "a", bias=False)),
        unless("shared", dense("b", "b", bias=False)),
        under("l.{i}", "l_{i}", when(lambda m: m["shared"] > 1, dense("c", "c", bias=False))),
    ]

    def names(shared):
        found = expand(entries, {"shared": shared, "num_layers": 2})
        return [name for entry in found for name in entry.theirs]

    assert names(0) == ["b.weight"]
    assert names(1) == ["a.weight"]
    assert names(2) == ["a.weight", "l.0.c.weight", "l.1.c.weight"]
