"""Layers on logits: a bias, and a soft cap."""

from typing import Any, ClassVar

import keras

from inarch.errors import InputError
from inarch.layers.alternatives import Alternatives
from inarch.layers.axes import VOCABULARY
from inarch.layers.dot_product_attention import cap_softly
from inarch.layers.layer import Layer

ops: Any = keras.ops  # Typed, every result may be None.


@keras.saving.register_keras_serializable(package="inarch")
class LogitsBias(Layer):
    """A bias for each token of a vocabulary, added to its logit.

    Args:
        bias_initializer: of the bias.

    Call arguments:
        inputs: float `[..., vocabulary]`, logits.

    Returns:
        float `[..., vocabulary]`.
    """

    axes: ClassVar = {"bias": (VOCABULARY,)}

    def __init__(self, bias_initializer: Any = "zeros", **kwargs: Any): ...

    def build(self, inputs_shape: Any) -> None:
        self.bias = self.add_weight(
            name="bias", shape=(inputs_shape[-1],), initializer=self.bias_initializer
        )
        self.built = True

    def call(self, inputs: Any) -> Any:
        return inputs + ops.cast(self.bias, inputs.dtype)

    def alternatives(self) -> Alternatives:
        return {"logits without their bias": {"call": lambda x: x}}


@keras.saving.register_keras_serializable(package="inarch")
class SoftCap(Layer):
    """Soft cap of logits, `cap * tanh(logits / cap)` (Gemma Team, 2024, arXiv:2408.00118).

    Args:
        cap: what logits approach, of either sign.

    Call arguments:
        inputs: float `[..., vocabulary]`, logits.

    Returns:
        float `[..., vocabulary]`, within `cap` of 0.

    Raises:
        InputError: `cap` isn't positive.
    """

    def __init__(self, cap: float, **kwargs: Any):
        if not cap > 0:
            raise InputError(f"cap={cap}. Pass a positive number.")
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        return cap_softly(inputs, self.cap)

    def alternatives(self) -> Alternatives:
        cap = self.cap
        return {
            "no soft cap": {"call": lambda x: x},
            **{f"the soft cap {c:g}": {"cap": c} for c in (cap / 2, 2 * cap)},
            "logits that are clipped in place of capped softly": {
                "call": lambda x: ops.clip(x, -cap, cap)
            },
            "capped logits that aren't multiplied with the cap": {
                "call": lambda x: ops.tanh(x / cap)
            },
        }
