"""Self-attention over windows, and over all tokens of those that are global."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import sqrt
from typing import Any, ClassVar

import keras

from inarch.errors import InputError
from inarch.layers.alternatives import Alternatives
from inarch.layers.attention_alternatives import attention_alternatives, window_alternatives
from inarch.layers.axes import ATTENTION_AXES, EMBED, HEADS
from inarch.layers.dot_product_attention import (
    attention_logits,
    dot_product_attention,
    join_heads,
    masked_softmax,
    split_heads,
)
from inarch.layers.dropout import Dropout
from inarch.layers.layer import Layer
from inarch.layers.mask import combine_masks, self_attention_mask, window_mask

ops: Any = keras.ops  # Typed, every result may be None.

PARTS = ("query", "key", "value")


@keras.saving.register_keras_serializable(package="inarch")
class GlobalLocalAttention(Layer):
    """Attention to near and to global tokens (Beltagy et al., 2020, arXiv:2004.05150, section 3).

    A token attends to those of its window and to all global ones. A global token attends to all,
    by queries, keys and values of its own. `keras.layers.Dense` named `query`, `key`, `value` and
    `output`, and `global_query`, `global_key` and `global_value`.

    Source: transformers, models/longformer/modeling_longformer.py.

    Args:
        num_heads: number of heads; must divide the width of the inputs.
        window: largest distance in tokens of a query and its keys, either way; `None` for none.
        dropout: rate of dropout on the attention probabilities.
        kernel_initializer, bias_initializer: of the kernels and of the biases.

    Call arguments:
        inputs: float `[batch, length, dim]`.
        global_mask: bool or int `[batch, length]`, other than 0 of global tokens; `None` where no
            token is.
        attention_mask: bool or int `[length, length]`, `[batch, length, length]` or
            `[batch, 1, length, length]`, true where a token may attend to another.
        return_attention_scores: whether to return the probabilities
            `[batch, num_heads, length, length]`.

    Returns:
        float `[batch, length, dim]`, or a tuple of it and the scores.

    Raises:
        InputError: `num_heads` doesn't divide the width, or `window` isn't positive.
    """

    axes: ClassVar = {
        **ATTENTION_AXES,
        **{f"global_{name}": (EMBED, HEADS) for name in PARTS},
    }
    # The reference projects the queries of global tokens alone.
    parts_within = ("global_query",)
    _fusible = True
    _softmax = staticmethod(masked_softmax)
    _split_heads = staticmethod(split_heads)

    def __init__(
        self,
        num_heads: int,
        window: int | None = None,
        dropout: float = 0.0,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ):
        if window is not None and window < 1:
            raise InputError(f"window={window}. Pass a positive int, or None for none.")
        self.supports_masking = True

    def build(self, inputs_shape: Any, global_mask_shape: Any = None) -> None:
        width = inputs_shape[-1]
        if self.num_heads < 1 or width % self.num_heads:
            raise InputError(
                f"num_heads={self.num_heads} doesn't divide the hidden size {width}. Choose a "
                "number of heads that does."
            )
        self._scale = 1 / sqrt(width // self.num_heads)
        for name in (*PARTS, "output", *(f"global_{name}" for name in PARTS)):
            setattr(self, f"{name}_dense", self.make_dense(name, width, inputs_shape))
        self.dropout_layer = Dropout(self.dropout, dtype=self.dtype_policy, name="dropout")
        self.built = True

    def call(
        self,
        inputs: Any,
        global_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
    ) -> Any:
        is_global = None if global_mask is None else ops.not_equal(global_mask, 0)
        queries, keys, values = self._queries_keys_values(inputs, is_global)
        near = self._with_global(window_mask(queries, keys, self.window), is_global)
        mask = combine_masks(attention_mask, near)
        if mask is not None:
            mask = ops.expand_dims(mask, {2: (0, 1), 3: 1, 4: ()}[len(mask.shape)])

        scores = None
        if return_attention_scores or (training and self.dropout) or not self._fusible:
            scores = self._softmax(attention_logits(queries, keys, self._scale), mask)
            dropped = ops.cast(self.dropout_layer(scores, training=training), values.dtype)
            attended = ops.einsum("bhts,bshd->bthd", dropped, values)
        else:
            attended = dot_product_attention(queries, keys, values, mask, self._scale)
        if is_global is not None:
            near, far = ops.split(attended, 2, axis=-1)
            attended = ops.where(_of_heads(is_global), far, near)
        output = self.output_dense(join_heads(attended, inputs))
        if not return_attention_scores:
            return output
        return output, ops.cast(scores, self.compute_dtype)

    def _queries_keys_values(self, x: Any, is_global: Any) -> tuple[Any, Any, Any]:
        """Return queries, keys and values `[batch, length, heads, d]`.

        With global tokens each is twice as wide: first what is of the window, then what is global.
        Of a query one of the two is 0, so that its products are those with the keys of its kind,
        and one run of attention is that of both kinds.
        """
        found = [self._split_heads(getattr(self, f"{n}_dense")(x), self.num_heads) for n in PARTS]
        if is_global is None:
            return found[0], found[1], found[2]
        dense = (getattr(self, f"global_{name}_dense") for name in PARTS)
        others = [self._split_heads(layer(x), self.num_heads) for layer in dense]
        is_global, zeros = _of_heads(is_global), ops.zeros_like(found[0])
        found[0] = ops.where(is_global, zeros, found[0])
        others[0] = ops.where(is_global, others[0], zeros)
        query, key, value = (
            ops.concatenate(both, axis=-1) for both in zip(found, others, strict=True)
        )
        return query, key, value

    @staticmethod
    def _with_global(
        near: Any, is_global: Any, of_keys: bool = True, of_queries: bool = True
    ) -> Any:
        """Return the mask of pairs that are near, or of which one is global.

        Args:
            near: bool `[length, length]`; `None` where all are.
            is_global: bool `[batch, length]`, or `None`.
            of_keys, of_queries: whether it counts that the key is, and that the query is.
        """
        if near is None or is_global is None:
            return near
        if of_keys:
            near = ops.logical_or(near, ops.expand_dims(is_global, 1))
        if of_queries:
            near = ops.logical_or(near, ops.expand_dims(is_global, 2))
        return near

    # --- as a sublayer of a block --------------------------------------------------------------

    def build_mixing(self, shape: Any, context_shapes: Mapping[str, Any]) -> None:
        self.build(shape)

    def mix(self, x: Any, context: Mapping[str, Any], training: Any = None) -> tuple[Any, dict]:
        """Return attention over `x`, given the `global_mask` of a context."""
        scores = context.get("return_attention_scores", False)
        outputs = self(
            x,
            context.get("global_mask"),
            attention_mask=self_attention_mask(
                context["padding_mask"], context.get("attention_mask")
            ),
            return_attention_scores=scores,
            training=training,
        )
        return (outputs[0], {"scores": outputs[1]}) if scores else (outputs, {})

    def branches(self) -> Alternatives:
        """Return the window, and what global tokens have of their own."""
        window = {} if self.window is None else {"window": {"window": None}}
        return {**window, **self._global_alternatives()}

    def alternatives(self) -> Alternatives:
        """Return what attention gets wrong in itself, in its window and in global tokens."""
        dense = {name: getattr(self, f"global_{name}_dense") for name in PARTS}
        return {
            **attention_alternatives(self, of_itself=True),
            **window_alternatives(self),
            **self._global_alternatives(),
            "projections of global tokens for all, and the others' for them": {
                **{f"{name}_dense": layer for name, layer in dense.items()},
                **{f"global_{name}_dense": getattr(self, f"{name}_dense") for name in PARTS},
            },
            "global queries and keys projected by each other's layer": {
                "global_query_dense": dense["key"],
                "global_key_dense": dense["query"],
            },
            "global keys and values projected by each other's layer": {
                "global_key_dense": dense["value"],
                "global_value_dense": dense["key"],
            },
        }

    def _global_alternatives(self) -> Alternatives:
        """Return global tokens without one or all of what they have."""
        own = type(self)._with_global
        local = {name: {f"global_{name}_dense": getattr(self, f"{name}_dense")} for name in PARTS}
        windows: dict[str, dict[str, Any]] = {
            "global tokens that only those near them attend to": {
                "_with_global": partial(own, of_keys=False)
            },
            "global tokens that attend to near ones alone": {
                "_with_global": partial(own, of_queries=False)
            },
        }
        return {
            **({} if self.window is None else windows),
            **{f"global tokens with the {n} of the others": change for n, change in local.items()},
        }


def _of_heads(is_global: Any) -> Any:
    """Return a mask of tokens `[batch, length]` for heads, `[batch, length, 1, 1]`."""
    return ops.expand_dims(is_global, (2, 3))
