"""Keras's `Dense`, whose product and bias are one operation on torch."""

from typing import Any

import keras
from keras import ops

from inarch.layers.direct_calls import DirectCall


class Dense(DirectCall, keras.layers.Dense):
    """`keras.layers.Dense`, which computes `activation(x @ kernel + bias)`.

    On torch the bias is added within the product: a sum of its own takes as much as a quarter of
    the time of a narrow product on a CPU.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        if keras.backend.backend() != "torch" or self.bias is None:
            return super().call(inputs, training=training)
        from torch.nn import functional

        # The kernel is a tensor where it has a low-rank update.
        kernel: Any = getattr(self.kernel, "value", self.kernel)
        x = functional.linear(ops.convert_to_tensor(inputs), kernel.t(), self.bias.value)
        return x if self.activation is None else self.activation(x)

    def quantize(self, mode: Any, type_check: bool = True, **options: Any) -> None:
        # Keras passes over subclasses, which may compute something else; this one doesn't.
        super().quantize(mode, type_check=False, **options)
