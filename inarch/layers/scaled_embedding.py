"""Embedding of tokens whose vectors are scaled."""

from __future__ import annotations

from typing import Any

import keras

from inarch.errors import InputError
from inarch.layers.alternatives import Alternatives

ops: Any = keras.ops  # Typed, every result may be None.


@keras.saving.register_keras_serializable(package="inarch")
class ScaledEmbedding(keras.layers.ReversibleEmbedding):
    """Token embedding times a constant that isn't in the table.

    Source: Vaswani et al., 2017, arXiv:1706.03762, section 3.4.

    In reverse the table is used as it is, unscaled. The constant is rounded to float32, and then to
    the dtype of the vectors, as published code does: in bfloat16 `sqrt(3072)` is 55.5.

    Args:
        input_dim: rows of the table.
        output_dim: columns of the table.
        scale: the constant; published models have `sqrt(output_dim)`.
        kwargs: of `keras.layers.ReversibleEmbedding`, but `mask_zero`.

    Call arguments:
        inputs: int `[batch, length]`, or float `[..., output_dim]` in reverse.
        reverse: whether to return the products of `inputs` with the rows of the table.

    Returns:
        float `[batch, length, output_dim]`, or `[..., input_dim]` in reverse.

    Raises:
        InputError: `mask_zero` is true.
    """

    def __init__(self, input_dim: int, output_dim: int, scale: float = 1.0, **kwargs: Any):
        if kwargs.get("mask_zero"):
            raise InputError("mask_zero=True. Pass masks as padding_mask to the layers after it.")
        super().__init__(input_dim, output_dim, **kwargs)
        self.scale = scale

    def call(self, inputs: Any, reverse: bool = False) -> Any:
        return self._scaled(super().call(inputs, reverse=reverse), reverse)

    def quantize(self, mode: Any = None, type_check: bool = True, config: Any = None) -> None:
        # By default Keras refuses to quantize a subclass.
        super().quantize(mode, type_check=False, config=config)

    def quantized_call(self, inputs: Any, reverse: bool = False) -> Any:
        return self._scaled(super().quantized_call(inputs, reverse=reverse), reverse)

    def _scaled(self, x: Any, reverse: bool) -> Any:
        return x if reverse else x * ops.cast(ops.convert_to_tensor(self.scale, "float32"), x.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}

    def alternatives(self) -> Alternatives:
        return {
            "vectors that aren't scaled": {"scale": 1.0},
            "vectors that are divided by the scale": {"scale": 1 / self.scale},
            "vectors that are scaled twice": {"scale": self.scale**2},
        }
