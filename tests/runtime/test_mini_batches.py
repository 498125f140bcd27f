"""Laws of a batch that is computed a few rows at a time: it is the whole one's step."""

import keras
import numpy as np
import pytest

from inarch.runtime.mini_batches import call_in_mini_batches

X = {"x": np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)}
Y = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)


class InParts(keras.Model):
    size = None

    def call(self, inputs, training=None, mask=None):
        if self.size is None:
            return super().call(inputs, training=training)
        return call_in_mini_batches(
            self, lambda rows: super(InParts, self).call(rows, training=training), inputs, self.size
        )


def step(size, dropout=0.0, frozen=False, dtype="float32"):
    """The loss of a step, the weights after it, and the states of dropout."""
    keras.utils.set_random_seed(0)
    policy = {"dtype": dtype}
    x = keras.Input((4,), name="x")
    hidden = keras.layers.Dense(8, activation="tanh", name="hidden", **policy)(x)
    hidden = keras.layers.Dropout(dropout, seed=1, **policy)(hidden)
    model = InParts({"x": x}, keras.layers.Dense(3, name="out", **policy)(hidden))
    model.get_layer("hidden").trainable = not frozen
    model.size = size
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    loss = float(model.train_on_batch(X, Y))
    return loss, [np.array(w) for w in model.get_weights()]


def same(one, two, atol=1e-6):
    assert one[0] == pytest.approx(two[0], rel=1e-5, abs=atol)
    for a, b in zip(one[1], two[1], strict=True):
        np.testing.assert_allclose(a, b, atol=atol)


@pytest.mark.parametrize("size", [3, 50])
def test_a_step_in_parts_is_the_step_of_all_rows(size):
    same(step(size), step(None))


def test_a_part_is_computed_again_with_the_same_dropout():
    # All rows are one part, which draws the numbers that they draw together.
    same(step(7, dropout=0.5), step(None, dropout=0.5))


def test_each_part_draws_dropout_of_its_own():
    one, two = step(3, dropout=0.5), step(7, dropout=0.5)
    assert one[0] != two[0]
    assert any((a != b).any() for a, b in zip(one[1], two[1], strict=True))


def test_frozen_weights_stay_and_mixed_precision_keeps_its_dtype():
    same(step(3, frozen=True), step(None, frozen=True))
    same(step(3, dtype="mixed_bfloat16"), step(None, dtype="mixed_bfloat16"), atol=2e-3)
