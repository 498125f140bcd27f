"""Their modules are paired with our layers by the variables under both, and nothing else."""

import keras
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.checkpoints.maps.plan import Plan
from inarch.checkpoints.maps.rule import dense, rule
from inarch.layers import MultiHeadAttention, RelativePositionBias
from inarch.verify import pairs


def held(entries, tensors, modules, ties=None):
    """Return the variables that modules hold, by a map of these entries."""
    plan = Plan(tuple(entries), ties or {}, {}, {})
    return pairs.held_by_theirs(dict.fromkeys(modules), tensors, plan)


def names(**held):
    return {path.replace("__", "."): frozenset(of.split()) for path, of in held.items()}


# --- what a module holds -----------------------------------------------------------------------


def test_a_module_holds_the_variables_of_all_tensors_under_it():
    tensors = ["a.up.weight", "a.up.bias", "a.down.weight", "a.down.bias", "ab.weight", "ab.bias"]
    entries = [*dense("a.up", "x/up"), *dense("a.down", "x/down"), *dense("ab", "y")]
    found = held(entries, tensors, ["a", "a.up", "ab"])
    assert found["a"] == {"x/up/kernel", "x/up/bias", "x/down/kernel", "x/down/bias"}
    assert found["a.up"] == {"x/up/kernel", "x/up/bias"}
    assert found["ab"] == {"y/kernel", "y/bias"}  # "a" begins its name and isn't around it


def test_a_fused_tensor_is_no_pair_of_one_of_its_parts():
    parts = ["x/query/kernel", "x/key/kernel", "x/value/kernel"]
    entry = rule("fused.weight", parts, "(q + k + v) i -> i q, i k, i v")
    theirs = held([entry], ["fused.weight"], ["fused"])
    ours = {part.removesuffix("/kernel"): frozenset([part]) for part in parts}
    ours = {"x": frozenset(parts), **ours}
    assert pairs.pair(ours, theirs) == {"x": [["fused"]]}


def test_a_module_that_holds_half_of_a_stack_is_no_pair():
    entry = rule(["experts.0.weight", "experts.1.weight"], "x/kernel", "o i, o i -> * i o")
    tensors = ["experts.0.weight", "experts.1.weight"]
    theirs = held([entry], tensors, ["experts", "experts.0", "experts.1"])
    assert pairs.pair({"x": frozenset(["x/kernel"])}, theirs) == {"x": [["experts"]]}


def test_a_module_holds_a_tied_copy_as_if_it_were_the_tensor():
    entry = rule("table.weight", "table/embeddings", "v d -> v d")
    theirs = held(
        [entry], ["table.weight", "decoder.weight"], ["table", "decoder"],
        ties={"decoder.weight": "table.weight"},
    )  # fmt: skip
    assert theirs["decoder"] == theirs["table"] == {"table/embeddings"}


# --- pairs -------------------------------------------------------------------------------------


def test_only_the_same_set_of_variables_makes_a_pair():
    ours = names(some="a b", all="a b c", other="d")
    theirs = names(less="a", same="a b", more="a b d", none="")
    assert pairs.pair(ours, theirs) == {"some": [["same"]]}


def test_their_whole_model_is_no_pair():
    assert pairs.pair({"x": frozenset("a")}, {"": frozenset("a")}) == {}


def test_a_nest_is_listed_from_the_outside_in():
    theirs = names(a__b__c="w", a="w", a__b="w")
    assert pairs.pair(names(x="w"), theirs) == {"x": [["a", "a.b", "a.b.c"]]}


def test_of_two_layers_of_ours_the_inner_one_gets_the_innermost_module():
    ours = {"x": frozenset("w"), "x/inner": frozenset("w")}
    found = pairs.pair(ours, names(a="w", a__b="w", a__b__c="w"))
    assert found == {"x": [["a", "a.b", "a.b.c"]], "x/inner": [["a.b.c"]]}


def test_modules_side_by_side_are_nests_of_their_own():
    theirs = names(one="w", one__dense="w", two="w", one_more="w")
    found = pairs.pair(names(x="w"), theirs)
    assert found == {"x": [["one", "one.dense"], ["two"], ["one_more"]]}


def test_our_kth_call_is_the_kth_call_of_any_nest():
    nests = [["one", "one.dense"], ["two"]]
    order = [("two", 0), ("one.dense", 0), ("one", 0), ("other", 0), ("one.dense", 1), ("one", 1)]
    calls = {(name, number, "output"): np.zeros(1) for name, number in order}
    found = pairs._calls(nests, [0, 1, 2], calls)
    assert found == [(0, nests[1], 0), (1, nests[0], 0), (2, nests[0], 1)]


def test_a_module_that_gives_no_tensor_leaves_its_place_to_the_one_within():
    calls = {("encoder.layer.0", 0, "output"): np.zeros(1)}
    found = pairs._calls([["encoder", "encoder.layer.0"]], [0], calls)
    assert found == [(0, ["encoder.layer.0"], 0)]


def test_a_module_that_adds_a_residual_leaves_its_place_to_the_one_within():
    calls = {
        ("output.dense", 0, "output"): np.zeros(1),
        ("output", 0, "residual"): np.ones(1),
        ("output", 0, "output"): np.ones(1),
    }
    nests = [["output", "output.dense"]]
    assert pairs._calls(nests, [0], calls) == [(0, ["output.dense"], 0)]
    assert pairs._calls([["output"]], [0], calls) == [(0, ["output"], 0)]


def test_a_layer_that_is_never_called_stands_for_its_first_call():
    calls = {("one", 0, "output"): np.zeros(1), ("one", 1, "output"): np.zeros(1)}
    assert pairs._calls([["one"]], [], calls) == [(0, ["one"], 0)]


def test_a_table_of_pairs_is_compared_in_the_order_of_our_axes():
    model = keras.Sequential([keras.Input((5, 4)), RelativePositionBias(3, name="bias")])
    plan = Plan((rule("table.weight", "bias/embeddings", "b h -> b h"),), {}, {}, {})
    theirs = np.arange(75.0).reshape(5, 5, 3)  # query, key, head
    calls = {("table", 0, "output"): theirs}
    ours = {("bias", 0, "output"): np.zeros((1, 3, 5, 5))}
    (found,) = pairs.find_tap_pairs(model, ours, Tables(), plan, calls, {})
    assert found.tap == ("bias", 0, "output")
    np.testing.assert_array_equal(found.value[0], [theirs[..., head] for head in range(3)])


class Tables:
    """A reference that is one table."""

    def named_modules(self):
        return {"": self, "table": self}.items()

    def state_dict(self):
        return {"table.weight": None}


variables = st.frozensets(st.sampled_from("abc"))
modules = st.lists(st.sampled_from("pqr"), min_size=1, max_size=4).map(".".join)


@settings(deadline=None)
@given(st.dictionaries(modules, variables), variables.filter(bool))
def test_every_module_of_the_same_variables_is_in_one_nest_below_its_first(theirs, wanted):
    nests = pairs.pair({"x": wanted}, theirs).get("x", [])
    listed = [module for nest in nests for module in nest]
    assert sorted(listed) == sorted(module for module, of in theirs.items() if of == wanted)
    for outer, *inner in nests:
        assert all(module.startswith(f"{outer}.") for module in inner)
        assert not any(outer.startswith(f"{other[0]}.") for other in nests)


# --- attention ---------------------------------------------------------------------------------


def test_probabilities_come_from_the_module_that_holds_most_of_the_attention_and_no_more():
    x = keras.Input((3, 8), name="x")
    model = keras.Model({"x": x}, MultiHeadAttention(num_heads=2, key_dim=4, name="self")(x, x))
    ours = pairs.held_by_ours(model)
    of = {part: ours[f"self/{part}"] for part in ("query", "key", "value", "output")}
    theirs = {
        "block": ours["self"] | {"up/kernel"},
        "block.self": of["query"] | of["key"] | of["value"],
        "block.self.scores": of["query"] | of["key"],
        "block.whole": ours["self"],
        "mask": frozenset(),
    }
    for giving, chosen in [
        (["block", "mask", "block.self.scores", "block.self"], {"self": "block.self"}),
        ([*theirs], {"self": "block.whole"}),
        (["block", "mask"], {}),
    ]:
        assert pairs.pair_attention(model, ours, theirs, giving) == chosen


def test_a_tensor_of_heads_before_tokens_is_put_into_our_order_and_no_other_is():
    ours, theirs = np.zeros((2, 5, 3, 4)), np.arange(120.0).reshape(2, 3, 5, 4)
    found = pairs._in_our_axes(ours, theirs)
    np.testing.assert_array_equal(found, theirs.transpose(0, 2, 1, 3))
    assert pairs._fits(ours, theirs)
    assert pairs._in_our_axes(ours, found) is found
    assert not pairs._fits(ours, np.zeros((2, 3, 6, 4)))


def test_a_tensor_of_all_heads_side_by_side_is_split_as_ours():
    ours, theirs = np.zeros((2, 5, 3, 4)), np.arange(120.0).reshape(2, 5, 12)
    np.testing.assert_array_equal(pairs._in_our_axes(ours, theirs), theirs.reshape(2, 5, 3, 4))
    assert pairs._fits(ours, theirs[:1])
    assert not pairs._fits(ours, np.zeros((2, 5, 24)))
