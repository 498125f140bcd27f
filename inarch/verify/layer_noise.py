"""Noise of each layer of a model in low precision, against the same model in float32."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from inarch.verify import trace
from inarch.verify.compare import FLOOR
from inarch.verify.reference import real_tokens
from inarch.verify.trace import Tap

Values = Mapping[Tap, np.ndarray]


@dataclass(frozen=True)
class LayerNoise:
    """Error of a layer's output in low precision.

    Attributes:
        layer: its path; empty for the model's output.
        ratio: the noise ratio: distance from float64 over float32's distance from it.
        local_ratio: the same where every layer is given float64's inputs; of a layer of layers it
            is of what comes after the inputs of the last of these.
        relative_rms: distance from float64 over the root mean square of the values.
    """

    layer: str
    ratio: float
    local_ratio: float
    relative_rms: float


@contextmanager
def float64() -> Iterator[None]:
    """Allow models in float64 within this block, which JAX has to enable."""
    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    with jax.enable_x64(True):
        yield


def layer_noise(
    double: keras.Model,
    single: keras.Model,
    low: keras.Model,
    batches: Iterable[Mapping[str, np.ndarray]],
) -> tuple[LayerNoise, ...]:
    """Return the noise of every layer of `low`, in the order in which they end.

    Args:
        double, single, low: one model in float64, in float32 and in low precision.
        batches: inputs by name; one batch is in memory at a time.
    """
    # By layer: squares of values, distances of single and low, and of both in isolation.
    sums: dict[str, np.ndarray] = {}
    for inputs in batches:
        with float64(), _inference():
            exact = trace.run(double, inputs, with_attention=False)
        given = {tap: value for tap, value in exact.items() if tap[2] == "input"}
        with _inference():
            runs = [
                trace.run(model, inputs, values, with_attention=False)
                for values in (None, given)
                for model in (single, low)
            ]
        for tap, value in exact.items():
            if tap[0] and tap[2] != "output":
                continue
            expected = real_tokens(value, inputs).astype("float64")
            distances = [real_tokens(run[tap], inputs) - expected for run in runs]
            found = [float(np.sum(np.square(x))) for x in (expected, *distances)]
            sums[tap[0]] = sums.get(tap[0], 0.0) + np.array(found)
    return tuple(_noise(layer, np.sqrt(found)) for layer, found in sums.items())


def _noise(layer: str, found: np.ndarray) -> LayerNoise:
    size, single, low, local_single, local_low = found.tolist()
    return LayerNoise(
        layer,
        _ratio(low, max(single, FLOOR * size)),
        _ratio(local_low, max(local_single, FLOOR * size)),
        _ratio(low, size),
    )


def _ratio(error: float, noise: float) -> float:
    if not math.isfinite(error):
        return math.inf
    return error / noise if noise else (math.inf if error else 0.0)


def _inference() -> Any:
    """Return a context in which torch keeps nothing for gradients."""
    if keras.backend.backend() != "torch":
        return nullcontext()
    import torch

    return torch.inference_mode()
