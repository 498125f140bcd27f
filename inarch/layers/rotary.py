"""Rotary position embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from inarch.errors import InputError
from inarch.layers.alternatives import Alternatives, interleave
from inarch.layers.layer import Layer
from inarch.layers.mask import position_range, positions_and_lengths
from inarch.layers.rotary_scaling import (
    LISTS,
    Scaling,
    attention_factor,
    check_dim,
    check_scaling,
    frequencies_by_length,
    reads_lengths,
    scaled_frequencies,
)

ops: Any = keras.ops  # Typed, every result may be None.


# Bases of published models.
BASES = (10_000, 160_000, 500_000, 1_000_000)


@keras.saving.register_keras_serializable(package="inarch")
class RotaryEmbedding(Layer):
    """Rotary position embedding (Su et al., 2021, arXiv:2104.09864).

    Feature `i` of the first half and feature `i` of the second half are rotated together by
    `position / scaling_factor * max_wavelength ** (-2 * i / dim)` radians, where `scaling` doesn't
    change them. `dim` counts the features that are rotated. Angles are computed in float32 at
    least.

    Args:
        max_wavelength: base of the wavelengths over 2 pi (`rope_theta` in published configs).
        scaling_factor: divisor of all positions (linear scaling).
        sequence_axis: axis of the tokens.
        feature_axis: axis of the features that are rotated; its size must be even.
        interleaved: whether features `2 i` and `2 i + 1` are rotated together, as in GPT-J.
        partial_rotary_factor: share of the features that are rotated, the first ones, as in
            GPT-NeoX (Black et al., 2022, arXiv:2204.06745, section 2.1).
        scaling: `rope_type`, one of `"linear"`, `"llama3"`, `"yarn"`, `"ntk"`, `"dynamic"` and
            `"longrope"`, and the fields of that type (see `inarch.layers.rotary_scaling`); `None`
            for none.

    Call arguments:
        inputs: float, for example `[batch, length, heads, dim]` or `[batch, length, dim]`.
        start_index: position of the first token, for decoding with a cache.
        positions: int `[length]` or `[batch, length]`, used in place of `start_index`; or, for a
            scaling that depends on the length of a sequence, `[batch, length, 2]`, each with that
            length. Without, it is the last position of a row, and 1.

    Returns:
        float of the shape of `inputs`.

    Raises:
        InputError: `max_wavelength` or `scaling_factor` isn't positive, `partial_rotary_factor`
            isn't in (0, 1], the number of features that are rotated is odd, the two axes are the
            same or don't exist, or `scaling` is of an unknown type or lacks a field.
    """

    def __init__(
        self,
        max_wavelength: float = 10000,
        scaling_factor: float = 1.0,
        sequence_axis: int = 1,
        feature_axis: int = -1,
        scaling: Scaling | None = None,
        interleaved: bool = False,
        partial_rotary_factor: float = 1.0,
        **kwargs: Any,
    ):
        self.supports_masking = True
        for argument in ("max_wavelength", "scaling_factor"):
            if not getattr(self, argument) > 0:
                value = getattr(self, argument)
                raise InputError(f"{argument}={value!r}. Pass a positive number.")
        if not 0 < partial_rotary_factor <= 1:
            raise InputError(
                f"partial_rotary_factor={partial_rotary_factor!r}. Pass a share of the features, "
                "above 0 and at most 1."
            )
        check_scaling(scaling)
        self._factor = attention_factor(scaling)

    @property
    def reads_lengths(self) -> bool:
        """Return whether angles depend on the length of a token's sequence."""
        return reads_lengths(self.scaling)

    def build(self, inputs_shape: Any) -> None:
        _, feature = self._axes(len(inputs_shape))
        self._dim = inputs_shape[feature]
        self.built = True

    def call(self, inputs: Any, start_index: Any = 0, positions: Any = None) -> Any:
        sequence, feature = self._axes(len(inputs.shape))
        # In a traced graph of torch sizes are tensors.
        dim = inputs.shape[feature] if isinstance(inputs.shape[feature], int) else self._dim
        whole, dim = dim, int(dim * self.partial_rotary_factor)
        if dim % 2 or not dim:
            raise InputError(
                f"feature_axis={self.feature_axis} has the size {whole}, of which {dim} features "
                "are rotated. They are rotated in pairs; pass an even number of them."
            )
        x = ops.moveaxis(inputs, (sequence, feature), (1, -1))
        # By slices: in a traced graph of torch a split at a place has open sizes.
        x, rest = (x, None) if dim == whole else (x[..., :dim], x[..., dim:])
        if self.interleaved:
            x = interleave(x, dim // 2)
        if positions is None:
            positions = position_range(ops.shape(x)[1], start_index)
        angles = self.angles(positions, dim)
        while len(angles.shape) < len(x.shape):
            angles = ops.expand_dims(angles, 2)
        first, second = ops.split(ops.cast(x, angles.dtype), 2, axis=-1)
        cos, sin = ops.cos(angles), ops.sin(angles)
        if self._factor != 1:
            cos, sin = cos * self._factor, sin * self._factor
        rotated = ops.concatenate((first * cos - second * sin, second * cos + first * sin), axis=-1)
        rotated = ops.cast(interleave(rotated, 2) if self.interleaved else rotated, inputs.dtype)
        if rest is not None:
            rotated = ops.concatenate((rotated, rest), axis=-1)
        return ops.moveaxis(rotated, (1, -1), (sequence, feature))

    def angles(self, positions: Any, dim: int) -> Any:
        """Return the angles in radians, float `[1 or batch, length, dim / 2]`."""
        dtype = keras.backend.result_type(self.compute_dtype, "float32")
        if len(positions.shape) == 1:
            positions = ops.expand_dims(positions, 0)
        lengths = None
        if len(positions.shape) == 3:
            positions, lengths = positions[..., 0], positions[..., 1]
        check_dim(self.scaling, dim)
        # In float32 as in published code, also where a model computes in float64.
        if self.scaling is not None and self.reads_lengths:
            if lengths is None:
                lengths = ops.max(positions, axis=-1, keepdims=True) + 1
            frequencies = frequencies_by_length(self.scaling, dim, self.max_wavelength, lengths)
            frequencies = ops.cast(frequencies / self.scaling_factor, dtype)
        else:
            frequencies = scaled_frequencies(self.scaling, dim, self.max_wavelength)
            frequencies = ops.convert_to_tensor(frequencies / self.scaling_factor, dtype)
        return ops.expand_dims(ops.cast(positions, dtype), -1) * frequencies

    def branches(self) -> Alternatives:
        """Return the scaling, where there is one."""
        return {} if self.scaling is None else {"scaling": {"scaling": None, "_factor": 1.0}}

    def alternatives(self) -> Alternatives:
        angles, base = self.angles, self.max_wavelength
        return {
            "no rotary positions": {"call": lambda x, **options: x},
            ("rotated halves" if self.interleaved else "rotated pairs of neighboring features"): {
                "interleaved": not self.interleaved
            },
            "a rotation the other way": {"angles": lambda *args: -angles(*args)},
            "rotary frequencies of twice the features": {
                "angles": lambda positions, dim: angles(positions, 2 * dim)[..., : dim // 2]
            },
            **{
                f"a rotary base of {value:g}": {"max_wavelength": value}
                for value in sorted({*BASES, 10 * base, base / 10} - {base})
            },
            **self._scaling_alternatives(),
            **self._share_alternatives(),
        }

    def _scaling_alternatives(self) -> Alternatives:
        if self.scaling is None:
            return {}
        unscaled: dict[str, Mapping[str, Any]] = {
            "rotary frequencies without their scaling": {"scaling": None}
        }
        if self.scaling["rope_type"] != "linear":
            linear = {"rope_type": "linear", "factor": self.scaling["factor"]}
            unscaled["rotary frequencies that are all divided alike"] = {"scaling": linear}
        if self._factor != 1:
            unscaled["rotated features without the attention factor"] = {"_factor": 1.0}
        if self.scaling["rope_type"] == "longrope":
            short, long = (self.scaling[name] for name in LISTS)
            swapped = {"short_factor": long, "long_factor": short}
            unscaled["rotary factors of the other lengths"] = {
                "scaling": {**self.scaling, **swapped}
            }
        return unscaled

    def _share_alternatives(self) -> Alternatives:
        if self.partial_rotary_factor == 1:
            return {}
        return {"all features rotated": {"partial_rotary_factor": 1.0}}

    def _axes(self, rank: int) -> tuple[int, int]:
        axes = (self.sequence_axis % rank, self.feature_axis % rank)
        are_valid = all(-rank <= axis < rank for axis in (self.sequence_axis, self.feature_axis))
        if not are_valid or axes[0] == axes[1] or 0 in axes:
            raise InputError(
                f"sequence_axis={self.sequence_axis} and feature_axis={self.feature_axis} must be "
                f"two different axes of inputs of rank {rank}, and not the batch axis 0."
            )
        return axes


def rotary_positions(layer: Any, context: Mapping[str, Any]) -> Any:
    """Return the positions that a layer of positions takes, from the context of a `Block`.

    Args:
        layer: the `position` of an attention layer.
        context: `positions`, int `[batch, length]`, and `lengths` of that shape; else the
            positions and lengths of the sequences of `padding_mask`.

    Returns:
        int `[batch, length]`; for a layer that reads the lengths of sequences `[batch, length, 2]`;
        `None` for positions that the layer counts itself.
    """
    positions, lengths = context.get("positions"), context.get("lengths")
    if not getattr(layer, "reads_lengths", False):
        return None if layer is None else positions
    if positions is None:
        mask = None if context.get("cache") is not None else context.get("padding_mask")
        return None if mask is None else positions_and_lengths(mask)
    return positions if lengths is None else ops.stack([positions, lengths], axis=-1)
