"""Keras's `Dense`, with torch's own kernels: product and bias in one operation, and int8."""

from typing import Any

import keras
from keras import ops

from inarch.keras_private import delete_variable
from inarch.layers.direct_calls import DirectCall, facts_of_latest
from inarch.layers.prepacked import prepacked_product


class Dense(DirectCall, keras.layers.Dense):
    """`keras.layers.Dense`, which computes `activation(x @ kernel + bias)`.

    On torch the bias is added within the product: a sum of its own takes as much as a quarter of
    the time of a narrow product on a CPU. In inference on a CPU the kernel may be laid out for it
    (`inarch.layers.prepacked`). Quantized to int8, the product is one of integers on a
    CPU in inference, where Keras computes it in int32 without a kernel for it.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        if keras.backend.backend() != "torch":
            return super().call(inputs, training=training)
        if (product := prepacked_product(self, inputs)) is not None:
            return product
        if self.bias is None:
            return super().call(inputs, training=training)
        from torch.nn import functional

        # The kernel is a tensor where it has a low-rank update.
        kernel: Any = getattr(self.kernel, "value", self.kernel)
        x = functional.linear(ops.convert_to_tensor(inputs), kernel.t(), self.bias.value)
        return x if self.activation is None else self.activation(x)

    def quantize(self, mode: Any, type_check: bool = True, **options: Any) -> None:
        # Keras passes over subclasses, which may compute something else; this one doesn't.
        super().quantize(mode, type_check=False, **options)

    def __delattr__(self, name: str) -> None:
        if isinstance(getattr(self, name), keras.Variable):
            delete_variable(self, name)
        else:
            super().__delattr__(name)

    def quantized_call(self, *args: Any, **kwargs: Any) -> Any:
        inputs = args[0] if args else kwargs["inputs"]
        if not self._has_integer_kernel(inputs):
            return super().quantized_call(*args, **kwargs)
        x = self._int8_product(inputs)
        return x if self.activation is None else self.activation(x)

    def _has_integer_kernel(self, inputs: Any) -> bool:
        """Return whether the product of int8 is torch's own: on a CPU, in inference."""
        if keras.backend.backend() != "torch" or self.quantization_mode != "int8":
            return False
        import torch

        if self.lora_enabled or torch.is_grad_enabled() or not isinstance(inputs, torch.Tensor):
            return False
        is_fit = inputs.device.type == "cpu" and inputs.dtype == torch.float32
        return is_fit and _is_standard(self.inputs_quantizer)

    def _int8_product(self, inputs: Any) -> Any:
        """Return `inputs @ kernel + bias`, with a scale for each row and for each column.

        Integers and scales are those of Keras's `AbsMaxQuantizer`.
        """
        import torch

        rows, scales = _quantized_rows(inputs)
        # int32 times float32: one pass over the products where a cast would be another.
        x = torch.mul(torch._int_mm(rows, self._kernel.value), 1 / self.kernel_scale.value)
        if self.bias is None:
            x = x.mul_(scales)
        else:
            x = torch.addcmul(self.bias.value, x, scales, out=x)
        return x.reshape(*inputs.shape[:-1], self.units)


def _is_standard(quantizer: Any) -> bool:
    """Return whether inputs are quantized as Keras does by default."""
    if type(quantizer) is not keras.quantizers.AbsMaxQuantizer:
        return False
    return (*quantizer.value_range, quantizer.epsilon) == (-127, 127, keras.backend.epsilon())


def _quantized_rows(inputs: Any) -> tuple[Any, Any]:
    """Return int8 rows `[count, width]` of a tensor of torch, and of each what a step is worth.

    Queries, keys and values are of one tensor, which is quantized once.
    """
    import torch

    facts = facts_of_latest(inputs)
    if facts is not None and "int8" in facts:
        return facts["int8"]
    x = inputs.reshape(-1, inputs.shape[-1])
    scale = 127 / (x.abs().amax(-1, keepdim=True) + keras.backend.epsilon())
    found = (x * scale).round_().to(torch.int8), 1 / scale
    if facts is not None:
        facts["int8"] = found
    return found
