"""A snapshot tells whether variables still have the values that they had."""

import keras
import numpy as np
import pytest

from inarch.runtime.weight_snapshot import WeightSnapshot


@pytest.fixture
def variables():
    return [keras.Variable(np.ones((2, 3), "float32")) for _ in range(3)]


def test_variables_that_nothing_changed_are_current(variables):
    snapshot = WeightSnapshot(variables)
    [keras.ops.convert_to_numpy(v + 1) for v in variables]
    assert snapshot.is_current(variables)


@pytest.mark.parametrize("change", ["assign", "assign_add", "optimizer"])
def test_a_change_of_one_element_is_noticed(variables, change):
    snapshot = WeightSnapshot(variables)
    update = np.zeros((2, 3), "float32")
    update[1, 2] = 1e-7 if change == "assign" else 1.0
    if change == "optimizer":
        optimizer = keras.optimizers.SGD(0.1)
        optimizer.apply([keras.ops.convert_to_tensor(update)], variables[1:2])
    elif change == "assign_add":
        variables[1].assign_add(update)
    else:
        variables[1].assign(1 + update)
    assert not snapshot.is_current(variables)
    assert WeightSnapshot(variables).is_current(variables)


def test_other_variables_are_not_current(variables):
    snapshot = WeightSnapshot(variables)
    assert not snapshot.is_current(variables[:2])
    assert not snapshot.is_current(variables[::-1])
