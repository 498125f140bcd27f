"""Outputs of a fused layer of the reference are paired with ours by the weight map alone."""

import numpy as np
import pytest

from inarch.checkpoints.maps.plan import Plan
from inarch.checkpoints.maps.rule import rule
from inarch.models.registry import Input
from inarch.verify.fused import Part, find_parts
from inarch.verify.hooks import Run

QUERY_KEY = ["x/query/kernel", "x/key/kernel"]
OURS = {p.removesuffix("/kernel"): frozenset([p]) for p in QUERY_KEY}
WHOLE = {"a.fused": frozenset(QUERY_KEY)}


def parts_of(pattern, fused, kernels, ours=OURS, theirs=WHOLE):
    plan = Plan((rule("a.fused.weight", QUERY_KEY, pattern),), {}, {}, {})
    shapes = dict(zip(QUERY_KEY, kernels, strict=True))
    found = find_parts(plan, ours, theirs, shapes, {"a.fused.weight": fused})
    return {name: part for parts in found.values() for name, part in parts.items()}


@pytest.mark.parametrize(
    ("pattern", "fused", "query", "key"),
    [
        ("(q + k) i -> i q, i k", (6, 3), [0, 1], [2, 3, 4, 5]),
        ("i (q + k) -> i q, i k", (3, 6), [0, 1], [2, 3, 4, 5]),
        ("i (q + k) -> i q, i k", (6, 6), [0, 1], [2, 3, 4, 5]),
        ("(q + k) i -> i q, i k", (6, 1), [0, 1], [2, 3, 4, 5]),
        ("(h=2 (q + k)) i -> i (h q), i (h k)", (6, 3), [0, 3], [1, 2, 4, 5]),
    ],
)
def test_each_layer_has_the_columns_of_its_kernel(pattern, fused, query, key):
    width = fused[0] if pattern.startswith("i ") else fused[1]
    found = parts_of(pattern, fused, [(width, 2), (width, 4)])
    assert found["a.fused[0]"].columns.tolist() == query
    assert found["a.fused[1]"].columns.tolist() == key
    assert found["a.fused[0]"].names == {"x/query/kernel"}


def test_a_module_that_holds_more_or_less_than_the_layers_has_no_parts():
    pattern, shapes = "(q + k) i -> i q, i k", ((6, 3), [(3, 2), (3, 4)])
    more = {"a.fused": frozenset([*QUERY_KEY, "x/other/bias"])}
    assert parts_of(pattern, *shapes, theirs=more) == {}
    biased = {**OURS, "x/query": frozenset(["x/query/kernel", "x/query/bias"])}
    assert parts_of(pattern, *shapes, ours=biased) == {}


def test_a_bias_that_another_module_has_is_its_parts():
    biased = {"x/query": frozenset(["x/query/kernel", "x/query/bias"]), "x/key": OURS["x/key"]}
    rules = (
        rule("a.fused.weight", QUERY_KEY, "(q + k) i -> i q, i k"),
        rule("a.q_bias", "x/query/bias", "o -> o"),
    )
    shapes = dict(zip(QUERY_KEY, [(3, 2), (3, 4)], strict=True))
    found = find_parts(Plan(rules, {}, {}, {}), biased, WHOLE, shapes, {"a.fused.weight": (6, 3)})
    query, key = found["a.fused"].values()
    assert (query.names, query.bias) == (biased["x/query"], "a.q_bias")
    assert (key.names, key.bias) == (OURS["x/key"], "")


@pytest.mark.reference
def test_a_part_is_shown_with_its_bias_and_given_back_without():
    torch = pytest.importorskip("torch")

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fused = torch.nn.Linear(3, 6, bias=False)
            self.q_bias = torch.nn.Parameter(torch.tensor([5.0, 7.0]))

        def forward(self, x, return_dict):
            query, key = self.fused(x).split([2, 4], -1)
            return {"query": query + self.q_bias, "key": key}

    names = {f"fused[{i}]": c for i, c in enumerate([[0, 1], [2, 3, 4, 5]])}
    biases = {"fused[0]": "q_bias", "fused[1]": ""}
    parts = {"fused": {n: Part(frozenset(), np.array(c), biases[n]) for n, c in names.items()}}
    run = Run(Model(), {"x": np.ones((1, 2, 3), "float32")}, {"x": Input("x")}, torch, parts)
    seen = run.free("float64")
    np.testing.assert_array_equal(seen["fused[0]", 0, "output"], seen["", 0, "query"])
    other = seen["fused[0]", 0, "output"] + 1
    values = {("fused[0]", 0, "output"): other, ("", 0, "query"): other}
    assert run.measured("float64", values, force=True)["", 0, "query"] == pytest.approx(0)


@pytest.mark.reference
def test_a_value_is_kept_as_it_was_when_code_goes_on_to_change_it_in_place():
    torch = pytest.importorskip("torch")

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)

        def forward(self, x, return_dict):
            x = self.first(x)
            x *= 2
            return {"y": self.second(x)}

    run = Run(Model(), {"x": np.ones((1, 2, 3), "float32")}, {"x": Input("x")}, torch, {})
    seen = run.free("float64")
    np.testing.assert_array_equal(seen["second", 0, "input"], 2 * seen["first", 0, "output"])
    assert run.measured("float64", seen, force=False)["first", 0, "output"] == 0


@pytest.mark.reference
def test_tokens_of_all_rows_in_one_axis_are_shown_row_by_row_and_go_on_as_they_were():
    torch = pytest.importorskip("torch")

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(3, 4), torch.nn.Linear(4, 3)

        def forward(self, x, mask, return_dict):
            y = self.second(self.first(x.reshape(-1, 3)))
            return {"y": y.reshape(x.shape)}

    inputs = {"x": np.ones((2, 5, 3), "float32"), "padding_mask": np.ones((2, 5), "int32")}
    declared = {"x": Input("x"), "padding_mask": Input("mask")}
    run = Run(Model(), inputs, declared, torch, {})
    seen = run.free("float64")
    assert seen["first", 0, "output"].shape == (2, 5, 4)
    np.testing.assert_array_equal(seen["second", 0, "output"], seen["", 0, "y"])
    values = {("second", 0, "input"): np.zeros((2, 5, 4)), ("", 0, "y"): seen["", 0, "y"]}
    bias = run.reference.second.bias.detach().numpy()
    noise = run.measured("float64", values, force=True)["", 0, "y"]
    assert noise == pytest.approx(np.sqrt(np.mean((seen["", 0, "y"] - bias) ** 2)))


@pytest.mark.reference
def test_parts_are_shown_and_the_reference_goes_on_with_what_is_put_in_their_place():
    torch = pytest.importorskip("torch")

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fused = torch.nn.Linear(3, 6, bias=False)

        def forward(self, x, return_dict):
            return {"y": self.fused(x)}

    model = Model()
    plan = Plan((rule("fused.weight", QUERY_KEY, "(q + k) i -> i q, i k"),), {}, {}, {})
    shapes = dict(zip(QUERY_KEY, [(3, 2), (3, 4)], strict=True))
    theirs = {"fused": frozenset(QUERY_KEY)}
    parts = find_parts(plan, OURS, theirs, shapes, {"fused.weight": (6, 3)})
    run = Run(model, {}, {}, torch, parts)
    run.inputs = {"x": np.ones((1, 2, 3), "float64")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inarch.verify.hooks.reference_inputs", lambda inputs, declared: inputs)
        seen = run.free("float64")
        query, key = seen["fused[0]", 0, "output"], seen["fused[1]", 0, "output"]
        np.testing.assert_array_equal(np.concatenate([query, key], -1), seen["", 0, "y"])
        assert seen["fused[0]", 0, "input"] is seen["fused[1]", 0, "input"]
        values = {("fused[1]", 0, "output"): key + 1, ("", 0, "y"): seen["", 0, "y"]}
        noise = run.measured("float64", values, force=True)
    assert noise["fused[1]", 0, "output"] == pytest.approx(1)
    assert noise["", 0, "y"] == pytest.approx((4 / 6) ** 0.5)


@pytest.mark.reference
def test_an_activation_of_a_part_is_what_comes_next_after_it():
    torch = pytest.importorskip("torch")

    class Gated(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fused, self.act = torch.nn.Linear(3, 6), torch.nn.Tanh()

        def forward(self, x, return_dict):
            up, gate = self.fused(x).split([2, 4], -1)
            return {"y": self.act(gate).sum(-1) + up.sum(-1)}

    parts = {"fused": {f"fused[{i}]": Part(frozenset(), np.array(c)) for i, c in
                       enumerate([[0, 1], [2, 3, 4, 5]])}}  # fmt: skip
    run = Run(Gated(), {"x": np.ones((1, 2, 3), "float32")}, {"x": Input("x")}, torch, parts)
    seen = run.free("float64")
    gate = seen["fused[1]", 0, "output"]
    np.testing.assert_allclose(seen["fused[1]", 0, "next"], np.tanh(gate))
    assert ("fused[0]", 0, "next") not in seen


@pytest.mark.reference
def test_features_before_time_are_shown_after_it_also_behind_what_has_no_weights():
    torch = pytest.importorskip("torch")

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.act = torch.nn.Conv1d(3, 4, 1), torch.nn.ReLU()
            self.second = torch.nn.Conv1d(4, 2, 1)

        def forward(self, x, return_dict):
            y = self.second(self.act(self.first(x.transpose(1, 2))))
            return {"y": y.transpose(1, 2)}

    run = Run(Model(), {"x": np.ones((2, 5, 3), "float32")}, {"x": Input("x")}, torch, {})
    seen = run.free("float64")
    shapes = {"input": (2, 5, 3), "output": (2, 5, 4), "next": (2, 5, 4)}
    assert {what: seen["first", 0, what].shape for what in shapes} == shapes
    np.testing.assert_array_equal(seen["second", 0, "input"], seen["first", 0, "next"])
    np.testing.assert_array_equal(seen["second", 0, "output"], seen["", 0, "y"])
    values = {("first", 0, "next"): np.zeros((2, 5, 4)), ("", 0, "y"): seen["", 0, "y"]}
    bias = run.reference.second.bias.detach().numpy()
    noise = run.measured("float64", values, force=True)["", 0, "y"]
    assert noise == pytest.approx(np.sqrt(np.mean((seen["", 0, "y"] - bias) ** 2)))
