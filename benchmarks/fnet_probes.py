"""Probes of FNet: `python fnet_probes.py FUNCTION ARGUMENTS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from probe import median_seconds, report


def mix(batch: str, length: str) -> dict[str, float]:
    """Time FNet's mixing at a width of 768, and matrices of sines, in turns."""
    import numpy as np
    from keras import ops

    from inarch.layers.fnet import fourier_mixing

    width = 768
    half = width // 2 + 1
    (along, along_sine), (across, across_sine) = (_waves(n) for n in (int(length), width))
    waves = np.concatenate([across[:, :half], across_sine[:, :half]], axis=1)

    def matrices(x: Any) -> Any:
        # The frequencies beyond the half are those of the half, with another sign.
        y = ops.matmul(x, waves)
        even, odd = ops.matmul(along, y[..., :half]), ops.matmul(along_sine, y[..., half:])
        rest = ops.flip((even + odd)[..., 1 : width - half + 1], axis=-1)
        return ops.concatenate([even - odd, rest], axis=-1)

    x = np.random.default_rng(0).normal(size=(int(batch), int(length), width)).astype("float32")
    x = ops.convert_to_tensor(x)
    return median_seconds({"fft": _program(fourier_mixing, x), "matrices": _program(matrices, x)})


def _waves(n: int) -> tuple[Any, Any]:
    import numpy as np

    turns = 2 * np.pi * (np.outer(np.arange(n), np.arange(n)) % n) / n
    return np.cos(turns).astype("float32"), np.sin(turns).astype("float32")


def _program(function: Callable[[Any], Any], x: Any) -> Callable[[], Any]:
    """Return a call of the function, compiled if the backend compiles, that awaits its result."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        program = jax.jit(function)
        return lambda: jax.block_until_ready(program(x))
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        program = tf.function(function)
        return lambda: program(x).numpy()
    import torch

    def run() -> Any:
        with torch.inference_mode():
            return function(x)

    return run


def forward_fnet(batch: str, length: str) -> dict[str, float]:
    """Time FNet base by inarch on JAX and by transformers, in turns on as many threads."""
    import jax
    import numpy as np
    import torch
    from transformers import FNetConfig, FNetModel

    from inarch import FNetBackbone
    from inarch.runtime.forward import compiled

    forward = compiled(FNetBackbone(32000, 12, 768, 3072))
    ones = np.ones((int(batch), int(length)), "int32")
    inputs = {"token_ids": ones, "segment_ids": 0 * ones, "padding_mask": ones}
    model = FNetModel(FNetConfig()).eval()
    ids = torch.from_numpy(ones.astype("int64"))

    def theirs() -> Any:
        with torch.inference_mode():
            return model(ids)

    return median_seconds(
        {"ours": lambda: jax.block_until_ready(forward(inputs)), "theirs": theirs}
    )


if __name__ == "__main__":
    report(globals())
