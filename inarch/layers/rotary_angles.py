"""Rotary positions whose frequencies are weights of a checkpoint."""

from __future__ import annotations

from typing import Any, ClassVar

import keras

from inarch.errors import InputError
from inarch.layers.alternatives import Alternatives
from inarch.layers.layer import Layer
from inarch.layers.mask import position_range
from inarch.layers.rotary import RotaryEmbedding
from inarch.layers.rotary_scaling import scaled_frequencies

ops: Any = keras.ops  # Typed, every result may be None.


@keras.saving.register_keras_serializable(package="inarch")
class RotaryAngles(Layer):
    """Angles of rotary positions, from frequencies that are stored in place of computed.

    Files of ESM-2 hold the frequencies of its training, which may be rounded to 16 bits; the
    reference computes with them. They aren't trained, and have the dtype of other weights; angles
    are float32 all the same. `AngleRotation` takes the angles.

    Args:
        dim: features of a head, which are all rotated; must be even.
        max_wavelength: base of the initial frequencies (see `RotaryEmbedding`).

    Call arguments:
        inputs: float `[batch, length, width]`, read for its length alone.

    Returns:
        float32 `[1, length, dim / 2]`, in radians.

    Raises:
        InputError: `dim` is odd, or `max_wavelength` isn't positive.
    """

    axes: ClassVar = {"frequencies": (None,)}
    pairs_with_module = False

    def __init__(self, dim: int, max_wavelength: float = 10000, **kwargs: Any):
        if dim < 2 or dim % 2:
            raise InputError(f"dim={dim}. Features are rotated in pairs; pass an even number.")
        if not max_wavelength > 0:
            raise InputError(f"max_wavelength={max_wavelength!r}. Pass a positive number.")

    def build(self, inputs_shape: Any) -> None:
        initial = scaled_frequencies(None, self.dim, self.max_wavelength)
        self.frequencies = self.add_weight(
            name="frequencies",
            shape=(self.dim // 2,),
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(initial, dtype),
            trainable=False,
            autocast=False,
        )
        self.built = True

    def call(self, inputs: Any) -> Any:
        positions = ops.cast(position_range(ops.shape(inputs)[1]), "float32")
        frequencies = ops.cast(ops.convert_to_tensor(self.frequencies), "float32")
        return ops.expand_dims(ops.expand_dims(positions, -1) * frequencies, 0)

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.KerasTensor((1, inputs.shape[1], self.dim // 2), dtype="float32")


@keras.saving.register_keras_serializable(package="inarch")
class AngleRotation(RotaryEmbedding):
    """Rotary position embedding by angles that are computed once for all layers.

    Calls are those of `RotaryEmbedding`, but for `positions`, which is the output of
    `RotaryAngles`: float `[1 or batch, length, dim / 2]`.

    Args:
        interleaved: whether features `2 i` and `2 i + 1` are rotated together.

    Attributes:
        takes_angles: whether positions are angles for heads of one width.
    """

    takes_angles = True

    def __init__(self, interleaved: bool = False, **kwargs: Any):
        super().__init__(interleaved=interleaved)

    def angles(self, positions: Any, dim: int) -> Any:
        """Return the angles as they are given."""
        if len(positions.shape) != 3:
            raise InputError(
                f"{self.name!r} got positions of shape {tuple(positions.shape)} and no angles. "
                "Pass the output of RotaryAngles as positions, in a Block by its context."
            )
        return positions

    def alternatives(self) -> Alternatives:
        """Return those of `RotaryEmbedding` that angles leave open, and other angles."""
        angles = self.angles
        return {
            "no rotary positions": {"call": lambda x, **options: x},
            ("rotated halves" if self.interleaved else "rotated pairs of neighboring features"): {
                "interleaved": not self.interleaved
            },
            "a rotation the other way": {"angles": lambda *args: -angles(*args)},
            "frequencies in the reverse order": {
                "angles": lambda *args: ops.flip(angles(*args), axis=-1)
            },
            "a rotation by twice the angles": {"angles": lambda *args: 2 * angles(*args)},
        }
