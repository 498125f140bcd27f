"""Values of the reference at every place where a layer of ours has its counterpart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from inarch.verify.trace import Tap


@dataclass(frozen=True)
class TappedTensor:
    """One tensor of the reference, at a place that ours has too.

    Attributes:
        tap: the place in our model: path of the layer, which call of it, and `input`, `linear`,
            `output` or `attention`. The model itself has the path `""` and its outputs' names.
        module: the reference's module.
        value: float64.
        noise: distance from `value` of the reference's own float32, as `distance` measures it.
        local_noise: the same when every module is fed float64's values.
    """

    tap: Tap
    module: str
    value: np.ndarray
    noise: float
    local_noise: float


@dataclass(frozen=True)
class Reference:
    """A run of the reference.

    Attributes:
        inputs: of our model, by name.
        tensors: in the order in which the reference computes them. Taps of one
            tensor share one array.
        weights: the reference's tensors in float64, under its own names.
        about: versions and sha256 of what was run.
    """

    inputs: Mapping[str, np.ndarray]
    tensors: tuple[TappedTensor, ...]
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)


def padding_mask_in(inputs: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return the mask of the tokens that outputs are of, a decoder's where there is one, if any."""
    return inputs.get("padding_mask", inputs.get("decoder_padding_mask"))


def mask_of_tokens(shape: Sequence[int], inputs: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return the mask `[batch, length]` of the tokens that a tensor of such rows is of, if any.

    An encoder and a decoder are given rows of different lengths (`make_inputs`).
    """
    fits = (m for n, m in inputs.items() if n.endswith("padding_mask") and m.shape == tuple(shape))
    return next(fits, None)


def real_tokens(array: np.ndarray, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the part of a traced tensor that isn't padding, as rows.

    Tokens come first in `[batch, length, ...]`, queries third in `[batch, heads, length, length]`;
    whatever has another shape has no padding.
    """
    whole = padding_mask_in(inputs)
    if whole is None:
        return array.reshape(len(array), -1)
    if array.ndim > 2 and len(array) == 1:
        array = np.broadcast_to(array, (len(whole), *array.shape[1:]))
    if array.ndim == 4 and mask_of_tokens((len(array), array.shape[2]), inputs) is not None:
        array = array.swapaxes(1, 2)
    mask = mask_of_tokens(array.shape[:2], inputs) if array.ndim > 2 else None
    if mask is None:
        return array.reshape(len(array), -1)
    return array[mask != 0].reshape(int((mask != 0).sum()), -1)


def distance(one: np.ndarray, other: np.ndarray, inputs: Mapping[str, np.ndarray]) -> float:
    """Return root mean square of the difference over real tokens."""
    difference = real_tokens(one, inputs).astype("float64") - real_tokens(other, inputs)
    return float(np.sqrt(np.mean(np.square(difference))))
