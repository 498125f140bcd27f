"""Tools of the layer tests. They run on the backend that KERAS_BACKEND names, jax by default."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
from keras import ops

from ..compiled import compiled


@pytest.fixture(scope="session")
def perturb():
    """Give every weight of a built layer a random value: no bias is 0 and no gamma is 1."""

    def perturb(layer, seed=0):
        rng = np.random.default_rng(seed)
        for weight in layer.weights:
            center = 1.0 if weight.name == "gamma" else 0.0
            weight.assign(center + 0.4 * rng.standard_normal(weight.shape))
        return layer

    return perturb


@pytest.fixture(scope="session")
def normal():
    """Standard normal float32 numbers of a shape."""

    def normal(*shape, seed=0):
        return np.random.default_rng(seed).standard_normal(shape).astype("float32")

    return normal


@pytest.fixture(scope="session", name="compiled")
def compiled_fixture():
    """A layer as one program per shape, where jax would compile each operation of a call apart."""
    return compiled


@pytest.fixture
def reload(tmp_path):
    """Save a model as `.keras` and load it."""

    def reload(model):
        model.save(tmp_path / "model.keras")
        return keras.saving.load_model(tmp_path / "model.keras")

    return reload


@pytest.fixture
def train():
    """Take one step of gradient descent on the sum of squares of a model's output."""

    def train(model, inputs):
        model.compile(
            optimizer=keras.optimizers.SGD(0.1),
            loss=lambda _, y: ops.mean(ops.square(y)),
            jit_compile=keras.backend.backend() == "jax",
        )
        batch = len(inputs[0] if isinstance(inputs, list) else inputs)
        return model.train_on_batch(inputs, np.zeros((batch, 1), "float32"))

    return train
