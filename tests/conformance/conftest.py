"""Settings that make the models of every architecture quick to build."""

import keras
import numpy as np
import pytest

DRAWN = ("TruncatedNormal", "RandomNormal", "RandomUniform", "VarianceScaling")


@pytest.fixture(autouse=True)
def initial_values_by_numpy(monkeypatch):
    """Initial values that nothing is compiled for; each is overwritten, or any would do."""

    def draw(self, shape, dtype=None):
        values = np.random.default_rng(0).normal(scale=0.02, size=tuple(shape))
        return keras.ops.convert_to_tensor(values.astype("float32"), dtype=dtype)

    for name in DRAWN:
        monkeypatch.setattr(getattr(keras.initializers, name), "__call__", draw)
