"""Values given to variables: any view, any dtype, and training afterwards."""

import keras
import numpy as np
import pytest

from inarch.models.variables import build_without_values, set_value, to_numpy


def waiting_variable(shape, dtype="float32"):
    variable, _ = build_without_values(
        lambda: keras.Variable(lambda shape, dtype: keras.ops.zeros(shape, dtype), shape, dtype)
    )
    return variable


@pytest.mark.parametrize("shape", [(3, 5), (40, 7), (7, 40), (33, 65), (1, 100), (100, 1)])
@pytest.mark.parametrize("stored", ["float32", "float64", "float16"])
def test_a_transposed_matrix_arrives_whole(shape, stored):
    matrix = np.random.default_rng(0).normal(size=shape).astype(stored)
    variable = waiting_variable(shape[::-1])
    set_value(variable, matrix.T)
    np.testing.assert_array_equal(to_numpy(variable), matrix.T.astype("float32"))


def test_a_variable_of_lower_precision_is_rounded_to():
    matrix = np.random.default_rng(0).normal(size=(40, 70)).astype("float32")
    variable = waiting_variable((70, 40), "bfloat16")
    set_value(variable, matrix.T)
    assert to_numpy(variable).dtype == "bfloat16"
    np.testing.assert_allclose(to_numpy(variable).astype("float32"), matrix.T, rtol=2**-8)


def test_the_given_array_stays_apart_from_the_variable():
    array = np.ones((4, 4), "float32")
    variable = waiting_variable((4, 4))
    set_value(variable, array)
    array[:] = 2
    np.testing.assert_array_equal(to_numpy(variable), np.ones((4, 4)))


def test_training_from_given_values_is_training_from_those_values():
    """Buffers that a backend took over without a copy must survive being donated to a step."""
    random = np.random.default_rng(0)
    kernel = random.normal(size=(64, 32)).astype("float32")
    x, y = random.normal(size=(48, 32)), random.normal(size=(48, 64))

    def trained(give):
        inputs = keras.Input((32,))
        dense = keras.layers.Dense(64, use_bias=False)
        model = keras.Model(inputs, dense(inputs))
        give(dense)
        before = np.array(to_numpy(dense.kernel))
        view = to_numpy(dense.kernel)
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.fit(x, y, batch_size=16, epochs=2, shuffle=False)
        return before, view, np.array(to_numpy(dense.kernel))

    def given(dense):
        dense.kernel._value = None
        set_value(dense.kernel, kernel.T)

    def assigned(dense):
        dense.kernel.assign(kernel.T.copy())

    before, view, ours = trained(given)
    _, _, theirs = trained(assigned)
    np.testing.assert_array_equal(before, kernel.T)
    np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(ours, before)
    if keras.backend.backend() == "jax":
        np.testing.assert_array_equal(view, before)
