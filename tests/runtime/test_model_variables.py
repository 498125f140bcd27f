"""Variables of a model are looked up anew where a layer has come to hold others."""

import keras
import numpy as np
import pytest

from inarch.runtime.forward import compiled
from inarch.runtime.model_variables import ModelVariables


@pytest.fixture
def model():
    inputs = keras.Input((4,), name="x")
    inner = keras.Sequential([keras.layers.Dense(4, name="low"), keras.layers.Dropout(0.5)])
    return keras.Model({"x": inputs}, keras.layers.Dense(2, name="high")(inner(inputs)))


def test_variables_are_the_same_list_until_a_layer_holds_others(model):
    variables = ModelVariables(model)
    first = variables()
    assert list(map(id, first)) == list(map(id, model.variables))
    model.get_layer("high").kernel.assign(np.ones((4, 2)))
    model.get_layer("high").trainable = False
    assert variables() is first
    model.get_layer("high").enable_lora(1)
    assert list(map(id, variables())) == list(map(id, model.variables)) != list(map(id, first))


def test_a_layer_that_is_added_below_is_seen(model):
    variables = ModelVariables(model)
    first = variables()
    inner = next(layer for layer in model.layers if isinstance(layer, keras.Sequential))
    inner.add(keras.layers.Dense(4, name="new"))
    assert len(variables()) == len(first) + 2


def test_a_compiled_model_computes_with_the_variables_that_it_has_come_to_have(model):
    run, x = compiled(model), {"x": np.ones((1, 4), "float32")}
    high = model.get_layer("high")
    before = keras.ops.convert_to_numpy(run(x))
    high.enable_lora(1)
    high.lora_kernel_b.assign(np.ones(high.lora_kernel_b.shape))
    after = keras.ops.convert_to_numpy(run(x))
    np.testing.assert_allclose(after, keras.ops.convert_to_numpy(model(x)), rtol=1e-5)
    assert np.abs(after - before).max() > 1e-3
