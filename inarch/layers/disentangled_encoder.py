"""DeBERTa's encoder layer, and the convolution whose output is added to that of the first."""

from __future__ import annotations

from typing import Any, ClassVar

import keras

from inarch.errors import InputError
from inarch.layers.activation import Activation
from inarch.layers.axes import EMBED
from inarch.layers.block import Block
from inarch.layers.disentangled_attention import DisentangledSelfAttention
from inarch.layers.dropout import Dropout
from inarch.layers.feed_forward import FeedForward
from inarch.layers.initializer import fresh_initializer
from inarch.layers.layer import Layer
from inarch.layers.mask import padding_mask_of

ops: Any = keras.ops  # Typed, every result may be None.


@keras.saving.register_keras_serializable(package="inarch")
class DisentangledAttentionEncoder(Block):
    """Disentangled self-attention, then a feed-forward network (He et al., 2021, arXiv:2006.03654).

    Args:
        intermediate_dim, num_heads, dropout, activation: as `TransformerLayer` has them.
        layer_norm_epsilon, kernel_initializer, attention_dropout: likewise.
        max_relative_positions, bucket_size: as `DisentangledSelfAttention` has them.
        position_terms, share_keys, key_bias: likewise; `dropout` is its `position_dropout` too.

    Call arguments:
        inputs: float `[batch, length, dim]`.
        relative_embeddings: float `[rows, dim]`, the output of `RelativeEmbedding`, or `None`.
        padding_mask: int or bool `[batch, length]` of sequence ids: 0 for padding, 1 for
            tokens, 2, 3, ... for further packed sequences. `None` takes the implicit Keras mask.
        attention_mask: bool or int `[batch, length, length]` or `[batch, 1, length, length]`,
            true where a token may attend to another; narrows `padding_mask` further.
        return_attention_scores: whether to return `(output, scores)`, with the attention
            probabilities `[batch, num_heads, length, length]`.

    Returns:
        float `[batch, length, dim]`.
    """

    # The reference's masks make no token that attends and isn't attended to (see `layers.mask`).
    attends_one_way = False

    def __init__(
        self,
        intermediate_dim: int,
        num_heads: int,
        dropout: float = 0,
        activation: Activation = "gelu",
        layer_norm_epsilon: float = 1e-7,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        *,
        attention_dropout: float | None = None,
        max_relative_positions: int = 512,
        bucket_size: int = 256,
        position_terms: str = "c2p|p2c",
        share_keys: bool = True,
        key_bias: bool = True,
        **kwargs: Any,
    ):
        attention = DisentangledSelfAttention(
            num_heads,
            max_relative_positions,
            bucket_size,
            dropout if attention_dropout is None else attention_dropout,
            position_terms=position_terms,
            share_keys=share_keys,
            key_bias=key_bias,
            position_dropout=dropout,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            dtype=self.dtype_policy,
            name="attention",
        )
        feed_forward = FeedForward(
            intermediate_dim, activation, kernel_initializer, bias_initializer,
            dtype=self.dtype_policy, name="feed_forward",
        )  # fmt: skip
        norm = keras.layers.LayerNormalization(epsilon=layer_norm_epsilon)
        super().__init__(attention, feed_forward, norm, dropout=dropout)

    def build(self, inputs_shape: Any, relative_embeddings_shape: Any = None) -> None:
        super().build(inputs_shape, {"relative_embeddings": relative_embeddings_shape})

    def call(  # type: ignore[override]
        self,
        inputs: Any,
        relative_embeddings: Any = None,
        padding_mask: Any = None,
        attention_mask: Any = None,
        training: bool | None = None,
        return_attention_scores: bool = False,
    ) -> Any:
        context = {
            "relative_embeddings": relative_embeddings,
            "padding_mask": padding_mask,
            "attention_mask": attention_mask,
            "return_attention_scores": return_attention_scores,
        }
        x, found = self.apply(inputs, context, training)
        return (x, found["attention"]["scores"]) if return_attention_scores else x


@keras.saving.register_keras_serializable(package="inarch")
class ConvResidual(Layer):
    """Residual convolution over neighboring tokens, added to another layer's output and normalized.

    `norm(residual + activation(dropout(convolution(inputs))))`. Neighbours are tokens of the same
    sequence; padding and other packed sequences count as zeros, as beyond the ends.

    Source: microsoft/DeBERTa, DeBERTa/deberta/bert.py, ConvLayer.

    Args:
        kernel_size: tokens that are seen at once, an odd number.
        inner_activation: a name or a function (`get_activation`).
        groups: parts of the width that are convolved each by itself.
        dropout: rate of dropout before the activation.
        layer_norm_epsilon: added to the variance in layer normalization.
        kernel_initializer: of the kernel.

    Call arguments:
        inputs: float `[batch, length, dim]`.
        residual: float `[batch, length, dim]`, what the result is added to.
        padding_mask: int or bool `[batch, length]` of sequence ids, or `None`.

    Returns:
        float `[batch, length, dim]`.

    Raises:
        InputError: `kernel_size` is even, or `groups` doesn't divide the width.
    """

    axes: ClassVar = {"kernel": (None, EMBED, EMBED), "bias": (EMBED,)}

    def __init__(
        self,
        kernel_size: int = 3,
        inner_activation: Activation = "tanh",
        groups: int = 1,
        dropout: float = 0.0,
        layer_norm_epsilon: float = 1e-7,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ):
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise InputError(
                f"kernel_size={kernel_size} has no token in the middle. Pass an odd number."
            )

    def build(self, inputs_shape: Any, residual_shape: Any = None) -> None:
        width = inputs_shape[-1]
        if self.groups < 1 or width % self.groups:
            raise InputError(
                f"groups={self.groups} doesn't divide the hidden size {width}. Choose a number "
                "that does."
            )
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, width // self.groups, width),
            initializer=fresh_initializer(self.kernel_initializer),
        )
        self.bias = self.add_weight(name="bias", shape=(width,), initializer="zeros")
        self.dropout_layer = Dropout(self.dropout, dtype=self.dtype_policy)
        self.norm = keras.layers.LayerNormalization(
            epsilon=self.layer_norm_epsilon, dtype=self.dtype_policy, name="norm"
        )
        self.norm.build(inputs_shape)
        self.built = True

    def call(
        self, inputs: Any, residual: Any, padding_mask: Any = None, training: bool | None = None
    ) -> Any:
        sequence_ids = padding_mask_of(inputs, padding_mask)
        sequence_ids = (
            ops.ones_like(inputs[..., 0], dtype="int32") if sequence_ids is None else sequence_ids
        )
        batch, length, width = ops.shape(inputs)
        reach, each = self.kernel_size // 2, width // self.groups
        padded = ops.pad(inputs, ((0, 0), (reach, reach), (0, 0)))
        others = ops.pad(sequence_ids, ((0, 0), (reach, reach)), constant_values=-1)
        kernel = ops.reshape(self.kernel, (self.kernel_size, each, self.groups, each))

        y = ops.cast(self.bias, inputs.dtype)
        for i in range(self.kernel_size):
            same = ops.expand_dims(ops.equal(others[:, i : i + length], sequence_ids), -1)
            seen = ops.where(same, padded[:, i : i + length], 0)
            seen = ops.reshape(seen, (batch, length, self.groups, each))
            part = ops.einsum("blgi,igo->blgo", seen, ops.cast(kernel[i], inputs.dtype))
            y = y + ops.reshape(part, (batch, length, width))
        y = self.inner_activation(self.dropout_layer(y, training=training))
        return self.norm(residual + y)
