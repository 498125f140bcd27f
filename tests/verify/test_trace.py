"""Every layer's inputs and outputs are recorded, replaced where asked, and the model left as is."""

import keras
import numpy as np
import pytest

from inarch.models.variables import named_variables
from inarch.verify import trace

from .faults import GOLDENS, Golden, load


class Block(keras.layers.Layer):
    """A residual block; it raises where it is told to."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.up = keras.layers.Dense(6, activation="relu", name="up")
        self.down = keras.layers.Dense(4, name="down")
        self.broken = False

    def build(self, shape):
        self.up.build(shape)
        self.down.build((*shape[:-1], 6))
        self.built = True

    def call(self, x):
        y = self.down(self.up(x))
        if self.broken:
            raise ValueError("broken")
        return x + y


@pytest.fixture
def model():
    keras.utils.set_random_seed(3)
    x = keras.Input((3, 4), name="x")
    shared = keras.layers.Dense(4, name="shared", bias_initializer="random_normal")
    outputs = shared(shared(Block(name="block")(x)))
    return keras.Model({"x": x}, {"first": outputs, "second": 2 * outputs})


@pytest.fixture
def inputs():
    return {"x": np.random.default_rng(0).standard_normal((2, 3, 4)).astype("float32")}


def apply(layer, x):
    return keras.ops.convert_to_numpy(layer(keras.ops.convert_to_tensor(x)))


def of(values, layer):
    return [key for key in values if key[0] == layer]


# --- what is recorded --------------------------------------------------------------------------


def test_layers_have_the_paths_of_their_variables_outer_ones_first(model):
    layers = trace.layers_of(model)
    assert [*layers] == ["block", "block/up", "block/down", "shared"]
    holders = {name.rpartition("/")[0] for name in named_variables(model)}
    assert holders <= layers.keys()


def test_a_model_within_a_model_adds_no_level(model):
    x = keras.Input((3, 4), name="x")
    outer = keras.Model({"x": x}, model({"x": x})["first"])
    assert [*trace.layers_of(outer)] == [*trace.layers_of(model)]


def test_places_come_in_the_order_of_events(model, inputs):
    assert [*trace.run(model, inputs)] == [
        ("block", 0, "input"),
        ("block/up", 0, "input"), ("block/up", 0, "linear"), ("block/up", 0, "output"),
        ("block/down", 0, "input"), ("block/down", 0, "linear"), ("block/down", 0, "output"),
        ("block", 0, "output"),
        ("shared", 0, "input"), ("shared", 0, "linear"), ("shared", 0, "output"),
        ("shared", 1, "input"), ("shared", 1, "linear"), ("shared", 1, "output"),
        ("", 0, "first"), ("", 0, "second"),
    ]  # fmt: skip


def test_values_are_what_the_layers_compute(model, inputs):
    values = trace.run(model, inputs)
    layers = trace.layers_of(model)
    up = layers["block/up"]
    np.testing.assert_array_equal(values["block", 0, "input"], inputs["x"])
    linear = inputs["x"] @ keras.ops.convert_to_numpy(up.kernel)
    np.testing.assert_allclose(values["block/up", 0, "linear"], linear, atol=1e-6)
    assert (values["block/up", 0, "linear"] < 0).any()
    assert (values["block/up", 0, "output"] >= 0).all()
    once = apply(layers["shared"], values["block", 0, "output"])
    np.testing.assert_allclose(values["shared", 0, "output"], once, atol=1e-6)
    np.testing.assert_allclose(values["shared", 1, "output"], apply(layers["shared"], once), 1e-5)
    np.testing.assert_array_equal(values["", 0, "second"], 2 * values["", 0, "first"])


def test_one_tensor_is_one_array_at_every_place_it_passes(model, inputs):
    values = trace.run(model, inputs)
    assert values["block", 0, "input"] is values["block/up", 0, "input"]
    assert values["block", 0, "output"] is values["shared", 0, "input"]
    assert values["shared", 1, "output"] is values["", 0, "first"]
    assert values["shared", 0, "output"] is not values["shared", 1, "output"]


def test_a_second_run_counts_calls_from_0_again(model, inputs):
    once, again = trace.run(model, inputs), trace.run(model, inputs)
    assert [*once] == [*again]


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda path: path.stem)
def test_attention_gives_its_probabilities_without_being_called_twice(golden):
    golden = Golden.read(golden)
    model = load(golden)
    values = trace.run(model, golden.runs[""].inputs)
    for key, scores in values.items():
        if key[2] == "attention":
            np.testing.assert_allclose(scores.sum(axis=-1), 1, atol=1e-5)
    attending = {layer for layer, _, role in values if role == "attention"}
    assert attending == {layer for layer, _, _ in values if layer.endswith("attention")}
    assert attending == {
        path for path, layer in trace.layers_of(model).items()
        if path.endswith("attention") and hasattr(layer, "num_heads")
    }  # fmt: skip
    # A layer that the reference itself runs twice, on tokens and on positions or as two layers that
    # share weights, is none of these; nor is one that is a part of it and has no module there.
    again = {tensor.tap[:2] for tensor in golden.runs[""].tensors if tensor.tap[1]}
    called = {(layer, call) for layer, call, _ in values if call}
    assert again <= called
    assert {(layer.rpartition("/")[0], call) for layer, call in called - again} <= again


# --- teacher forcing ---------------------------------------------------------------------------


def test_the_model_goes_on_with_a_forced_value_and_its_own_is_recorded(model, inputs):
    free = trace.run(model, inputs)
    key = ("block/up", 0, "output")
    other = np.full_like(free[key], 0.5)
    values = trace.run(model, inputs, {key: other})
    np.testing.assert_array_equal(values[key], free[key])
    np.testing.assert_array_equal(values["block/down", 0, "input"], other)
    down = apply(trace.layers_of(model)["block/down"], other)
    np.testing.assert_allclose(values["block/down", 0, "output"], down, atol=1e-6)
    np.testing.assert_allclose(values["block", 0, "output"], inputs["x"] + down, atol=1e-6)


def test_each_call_of_a_shared_layer_is_forced_by_itself(model, inputs):
    free = trace.run(model, inputs)
    zeros = np.zeros_like(free["shared", 1, "input"])
    values = trace.run(model, inputs, {("shared", 1, "input"): zeros})
    bias = keras.ops.convert_to_numpy(trace.layers_of(model)["shared"].bias)
    np.testing.assert_array_equal(values["shared", 0, "output"], free["shared", 0, "output"])
    np.testing.assert_allclose(values["shared", 1, "output"], zeros + bias, atol=1e-7)


def test_what_all_rows_share_may_be_forced_by_one_row(model, inputs):
    row = np.ones((1, 3, 4))
    values = trace.run(model, inputs, {("block", 0, "input"): row})
    np.testing.assert_array_equal(values["block/up", 0, "input"], np.ones((2, 3, 4)))


def test_a_forced_value_of_another_shape_is_left_out(model, inputs):
    free = trace.run(model, inputs)
    values = trace.run(model, inputs, {("block", 0, "input"): np.ones((2, 3, 5))})
    np.testing.assert_array_equal(values["", 0, "first"], free["", 0, "first"])


# --- the model afterwards ----------------------------------------------------------------------


def attributes(model):
    """Return the attributes that a run replaces, by layer."""
    return {
        path: {name: layer.__dict__.get(name) for name in ("call", "activation")}
        for path, layer in trace.layers_of(model).items()
    }


@pytest.mark.parametrize("broken", [False, True])
def test_layers_are_left_as_they_were_even_by_a_model_that_raises(broken, model, inputs):
    layers = trace.layers_of(model)
    own = layers["shared"].call
    object.__setattr__(layers["shared"], "call", own)  # an instance may have a call of its own
    before = attributes(model)
    expected = keras.ops.convert_to_numpy(model(inputs)["first"])
    layers["block"].broken = broken
    if broken:
        with pytest.raises(ValueError, match="broken"):
            trace.run(model, inputs)
    else:
        trace.run(model, inputs)
    layers["block"].broken = False
    assert attributes(model) == before
    assert before["shared"]["call"] is own
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(inputs)["first"]), expected)
