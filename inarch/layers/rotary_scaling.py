"""Scalings of rotary frequencies, by which models read longer texts than they were trained on.

A scaling is a mapping with the fields of `rope_parameters` in a published `config.json`: its
`rope_type` and what that type reads. Source: transformers, modeling_rope_utils.py.

Those of `"dynamic"` and `"longrope"` depend on the length of the sequence that a token is in. The
one of `"ntk"` is in no version of transformers: the authors of GTE publish it (Zhang et al., 2024,
arXiv:2407.19669) with a `type` of that name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, floor, inf, log, pi, sqrt
from typing import Any

import keras
import numpy as np

from inarch.errors import InputError

ops: Any = keras.ops  # Typed, every result may be None.

Scaling = Mapping[str, Any]
LENGTH = "original_max_position_embeddings"
MODEL_LENGTH = "max_position_embeddings"
# Fields with a value for each pair of features.
LISTS = ("short_factor", "long_factor")


@dataclass(frozen=True)
class ScalingType:
    """Type of scaling.

    Args:
        required: fields that it must have, positive numbers.
        scale: function of the frequencies, the scaling and the base of the wavelengths.
        optional: fields that it may have.
        length: name of the length that the model was trained on; `None` if it isn't read.
        scale_longer: function of what `scale` takes and of lengths, float32 `[..., 1]`; returns the
            frequencies `[..., dim / 2]` in sequences that are longer than the original length.
            `None` if they are those of `scale`.
    """

    required: tuple[str, ...]
    scale: Callable[[np.ndarray, Scaling, float], np.ndarray]
    optional: tuple[str, ...] = ()
    length: str | None = None
    scale_longer: Callable[[np.ndarray, Scaling, float, Any], Any] | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """All fields that the type reads."""
        return (*self.required, *self.optional, *((self.length,) if self.length else ()))


def scaled_frequencies(scaling: Scaling | None, dim: int, base: float) -> np.ndarray:
    """Return the radians that each pair of features turns by per position, float32 `[dim / 2]`.

    They are computed in float32, as published code does: rounded exponents move the frequencies of
    a width that is no power of two by several units in the last place.
    """
    frequencies = _plain_frequencies(dim, base)
    if scaling is None:
        return frequencies
    return SCALING_TYPES[scaling["rope_type"]].scale(frequencies, scaling, base)


def reads_lengths(scaling: Scaling | None) -> bool:
    """Return whether frequencies depend on the length of a sequence."""
    return scaling is not None and SCALING_TYPES[scaling["rope_type"]].scale_longer is not None


def stretched_length(scaling: Scaling | None, length: int) -> int:
    """Return the longest sequence of a model: that of its config, or a multiple of it.

    The length in a config with the scaling `"dynamic"` is that of training.
    """
    if scaling is None or scaling["rope_type"] != "dynamic":
        return length
    return max(length, int(length * scaling["factor"]))


def frequencies_by_length(scaling: Scaling, dim: int, base: float, lengths: Any) -> Any:
    """Return the frequencies in sequences of some lengths, of a scaling that reads them.

    Args:
        lengths: int `[...]`, tokens of the sequence.

    Returns:
        float32 `[..., dim / 2]`.
    """
    known = SCALING_TYPES[scaling["rope_type"]]
    if known.scale_longer is None or known.length is None:
        raise InputError(f"rope_type={scaling['rope_type']!r} doesn't depend on a length.")
    usual = ops.convert_to_tensor(scaled_frequencies(scaling, dim, base))
    lengths = ops.expand_dims(ops.cast(lengths, "float32"), -1)
    found = known.scale_longer(_plain_frequencies(dim, base), scaling, base, lengths)
    return ops.where(lengths > scaling[known.length], found, usual)


def _plain_frequencies(dim: int, base: float) -> np.ndarray:
    return 1 / base ** _exponents(dim)


def _exponents(dim: int) -> np.ndarray:
    """Return the powers of the base that wavelengths are, float32 `[dim / 2]`."""
    return np.arange(0, dim, 2, dtype="float32") / dim


def attention_factor(scaling: Scaling | None) -> float:
    """Return the factor on rotated queries and keys: that of YaRN or LongRoPE, else 1."""
    if scaling is None or scaling["rope_type"] not in ("yarn", "longrope"):
        return 1.0
    if (given := scaling.get("attention_factor")) is not None:
        return given
    if scaling["rope_type"] == "longrope":
        factor = scaling["factor"]
        return 1.0 if factor <= 1 else sqrt(1 + log(factor) / log(scaling[LENGTH]))
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
        if name in LISTS:
            _check_list(name, value)
        elif not _is_positive(value):
            raise InputError(
                f"scaling has {name}={value!r}. rope_type={rope_type!r} needs a positive number."
            )
    if rope_type == "longrope" and scaling[LENGTH] <= 1:
        raise InputError(f"scaling has {LENGTH}={scaling[LENGTH]!r}. Pass a length above 1.")
    if rope_type == "ntk" and scaling["factor"] < 1:
        raise InputError(f"scaling has factor={scaling['factor']!r}. Pass a factor of 1 or more.")
    if rope_type == "llama3" and not scaling["high_freq_factor"] > scaling["low_freq_factor"]:
        raise InputError(
            f"scaling has high_freq_factor={scaling['high_freq_factor']!r}. It must be above "
            f"low_freq_factor={scaling['low_freq_factor']!r}."
        )


def check_dim(scaling: Scaling | None, dim: int) -> None:
    """Raise InputError where a scaling is of another number of features than are rotated."""
    if scaling is None:
        return
    for name in LISTS:
        if (values := scaling.get(name)) is not None and len(values) != dim // 2:
            raise InputError(
                f"scaling has {len(values)} values of {name}, and {dim} features are rotated. "
                "Pass one for each pair of features."
            )
    if scaling["rope_type"] == "dynamic" and dim < 4:
        raise InputError(
            f"rope_type='dynamic' and {dim} features that are rotated. It needs 4 or more."
        )


def _check_list(name: str, values: Any) -> None:
    is_list = isinstance(values, list | tuple) and len(values) > 0
    if not is_list or not all(map(_is_positive, values)):
        raise InputError(f"scaling has {name}={values!r}. Pass a list of positive numbers.")


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < inf


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


def _scale_ntk(frequencies: np.ndarray, scaling: Scaling, base: float) -> np.ndarray:
    """Divide each frequency by more than the one before it, and the last by the factor.

    The divisor of pair `i` of `n`, counted from 1, is `factor ** ((i / n) ** mixed_b)`, where
    `mixed_b` is 1 if there is none (Su, 2023, kexue.fm/archives/9706, equations 6 and 10 to 13).
    """
    count, factor, mixed_b = len(frequencies), scaling["factor"], scaling.get("mixed_b")
    # In the order of published code, which rounds after each.
    if mixed_b is None:
        return 1 / (base * factor) ** _exponents(2 * count) / factor ** (1 / count)
    pairs = np.arange(1, count + 1, dtype="float32")
    return frequencies / np.exp(log(factor) / count**mixed_b * pairs**mixed_b)


def _keep(frequencies: np.ndarray, scaling: Scaling, base: float) -> np.ndarray:
    """Return frequencies as they are, of sequences of at most the original length."""
    return frequencies


def _scale_dynamic(frequencies: np.ndarray, scaling: Scaling, base: float, lengths: Any) -> Any:
    """Raise the base with the length (NTK-aware; bloc97 and emozilla, 2023)."""
    factor, dim = scaling["factor"], 2 * len(frequencies)
    stretched = factor * lengths / scaling[MODEL_LENGTH] - (factor - 1)
    bases = base * stretched ** (dim / (dim - 2))
    return 1 / ops.power(bases, ops.convert_to_tensor(_exponents(dim)))


def _scale_short(frequencies: np.ndarray, scaling: Scaling, base: float) -> np.ndarray:
    """Divide each frequency by its own factor (LongRoPE, arXiv:2402.13753)."""
    return _divide_each(len(frequencies), scaling["short_factor"], base)


def _scale_long(frequencies: np.ndarray, scaling: Scaling, base: float, lengths: Any) -> Any:
    """Divide each frequency by its own factor for long sequences."""
    return ops.convert_to_tensor(_divide_each(len(frequencies), scaling["long_factor"], base))


def _divide_each(count: int, factors: Any, base: float) -> np.ndarray:
    # In the order of published code, which rounds after each.
    return 1 / (np.asarray(factors, "float32") * base ** _exponents(2 * count))


def _compute_mscale(factor: float, mscale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * mscale * log(factor) + 1


SCALING_TYPES: dict[str, ScalingType] = {
    "linear": ScalingType(("factor",), _scale_linear),
    "llama3": ScalingType(
        ("factor", "low_freq_factor", "high_freq_factor"), _scale_llama3, length=LENGTH
    ),
    "yarn": ScalingType(
        ("factor",),
        _scale_yarn,
        ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"),
        length=LENGTH,
    ),
    "ntk": ScalingType(("factor",), _scale_ntk, ("mixed_b",)),
    "dynamic": ScalingType(("factor",), _keep, length=MODEL_LENGTH, scale_longer=_scale_dynamic),
    "longrope": ScalingType(
        ("factor", "short_factor", "long_factor"),
        _scale_short,
        ("attention_factor",),
        length=LENGTH,
        scale_longer=_scale_long,
    ),
}
# The fields of each type that transformers has.
SCALING_FIELDS = {name: known.fields for name, known in SCALING_TYPES.items() if name != "ntk"}
