"""Scalings of rotary frequencies, by which models read longer texts than they were trained on.

A scaling is a mapping with the fields of `rope_parameters` in a published `config.json`: its
`rope_type` and what that type reads. Source: transformers, modeling_rope_utils.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, floor, inf, log, pi
from typing import Any

import numpy as np

from inarch.errors import InputError

Scaling = Mapping[str, Any]
LENGTH = "original_max_position_embeddings"


@dataclass(frozen=True)
class ScalingType:
    """Type of scaling.

    Args:
        required: fields that it must have, positive numbers.
        scale: function of the frequencies, the scaling and the base of the wavelengths.
        optional: fields that it may have.
        needs_original_length: whether it reads the length that the model was trained on.
    """

    required: tuple[str, ...]
    scale: Callable[[np.ndarray, Scaling, float], np.ndarray]
    optional: tuple[str, ...] = ()
    needs_original_length: bool = False

    @property
    def fields(self) -> tuple[str, ...]:
        """All fields that the type reads."""
        return (*self.required, *self.optional, *((LENGTH,) if self.needs_original_length else ()))


def scaled_frequencies(scaling: Scaling | None, dim: int, base: float) -> np.ndarray:
    """Return the radians that each pair of features turns by per position, float32 `[dim / 2]`.

    They are computed in float32, as published code does: rounded exponents move the frequencies of
    a width that is no power of two by several units in the last place.
    """
    frequencies = 1 / base ** (np.arange(0, dim, 2, dtype="float32") / dim)
    if scaling is None:
        return frequencies
    return SCALING_TYPES[scaling["rope_type"]].scale(frequencies, scaling, base)


def attention_factor(scaling: Scaling | None) -> float:
    """Return the factor on rotated queries and keys: that of YaRN, else 1."""
    if scaling is None or scaling["rope_type"] != "yarn":
        return 1.0
    if (given := scaling.get("attention_factor")) is not None:
        return given
    factor, mscale = scaling["factor"], scaling.get("mscale")
    all_dim = scaling.get("mscale_all_dim")
    if mscale and all_dim:
        return _compute_mscale(factor, mscale) / _compute_mscale(factor, all_dim)
    return _compute_mscale(factor, 1.0)


def check_scaling(scaling: Any) -> None:
    """Raise InputError unless a scaling is `None`, or has a known type and the fields of it."""
    if scaling is None:
        return
    rope_type = scaling.get("rope_type") if isinstance(scaling, Mapping) else None
    if rope_type not in SCALING_TYPES:
        raise InputError(
            f"scaling={scaling!r} has no known rope_type. Pass a dict with one of "
            f"{', '.join(map(repr, SCALING_TYPES))}, or None."
        )
    known = SCALING_TYPES[rope_type]
    if unknown := sorted(scaling.keys() - {"rope_type", *known.fields}):
        raise InputError(
            f"scaling has {unknown[0]}={scaling[unknown[0]]!r}, which rope_type={rope_type!r} "
            f"doesn't read. Pass {', '.join(known.fields)}."
        )
    for name in known.fields:
        value = scaling.get(name)
        if name in known.optional and (value is None or name == "truncate"):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf:
            raise InputError(
                f"scaling has {name}={value!r}. rope_type={rope_type!r} needs a positive number."
            )
    if rope_type == "llama3" and not scaling["high_freq_factor"] > scaling["low_freq_factor"]:
        raise InputError(
            f"scaling has high_freq_factor={scaling['high_freq_factor']!r}. It must be above "
            f"low_freq_factor={scaling['low_freq_factor']!r}."
        )


def _scale_linear(frequencies: np.ndarray, scaling: Scaling, base: float) -> np.ndarray:
    """Divide all frequencies (kaiokendev, 2023)."""
    return frequencies / scaling["factor"]


def _scale_llama3(frequencies: np.ndarray, scaling: Scaling, base: float) -> np.ndarray:
    """Divide low frequencies, and those between low and high in part (Llama 3.1)."""
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling[LENGTH] * frequencies / (2 * pi)
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return frequencies * (kept + (1 - kept) / scaling["factor"])


def _scale_yarn(frequencies: np.ndarray, scaling: Scaling, base: float) -> np.ndarray:
    """Divide those that turn slowly, and the ones next to them in part (arXiv:2309.00071)."""
    if base == 1:
        raise InputError("max_wavelength=1 and a scaling of rope_type='yarn'. Pass another base.")
    dim = 2 * len(frequencies)
    fast, slow = scaling.get("beta_fast") or 32, scaling.get("beta_slow") or 1
    low, high = (
        dim * log(scaling[LENGTH] / (rotations * 2 * pi)) / (2 * log(base))
        for rotations in (fast, slow)
    )
    if scaling.get("truncate", True):
        low, high = floor(low), ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    high = high + 0.001 if low == high else high
    divided = np.clip((np.arange(dim // 2, dtype="float32") - low) / (high - low), 0, 1)
    return frequencies * (1 - divided + divided / scaling["factor"])


def _compute_mscale(factor: float, mscale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * mscale * log(factor) + 1


SCALING_TYPES: dict[str, ScalingType] = {
    "linear": ScalingType(("factor",), _scale_linear),
    "llama3": ScalingType(
        ("factor", "low_freq_factor", "high_freq_factor"), _scale_llama3, needs_original_length=True
    ),
    "yarn": ScalingType(
        ("factor",),
        _scale_yarn,
        ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"),
        needs_original_length=True,
    ),
}
