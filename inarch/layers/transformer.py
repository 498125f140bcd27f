"""KerasNLP's transformer layers: blocks of multi-head attention under one signature."""

from typing import Any

import keras

from inarch.errors import InputError
from inarch.layers.activation import Activation
from inarch.layers.attention import MultiHeadAttention
from inarch.layers.block import Block
from inarch.layers.feed_forward import FeedForward
from inarch.layers.mask import decoder_masks, padding_mask_of


class TransformerLayer(Block):
    """Transformer block given by the sizes of its sublayers.

    Args:
        intermediate_dim: width between the two feed-forward projections.
        num_heads: number of attention heads; must divide the width of the inputs.
        dropout: rate of dropout on the output of each sublayer.
        activation: between the feed-forward projections; a name or a function (`get_activation`).
        layer_norm_epsilon: added to the variance in layer normalization.
        kernel_initializer: of all kernels.
        bias_initializer: of all biases.
        normalize_first: whether to normalize the input of each sublayer, rather than its output.
        attention_dropout: rate of dropout on attention probabilities; `None` is `dropout`.
        use_bias: whether projections have biases, those of the feed-forward network included.
        query_bias, key_bias, value_bias, output_bias: overrides of `use_bias` for one projection
            of attention (Whisper has no bias on keys).
        activation_dropout: rate of dropout between the feed-forward projections.
    """

    def __init__(
        self,
        intermediate_dim: int,
        num_heads: int,
        dropout: float = 0,
        activation: Activation = "relu",
        layer_norm_epsilon: float = 1e-5,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        normalize_first: bool = False,
        *,
        attention_dropout: float | None = None,
        use_bias: bool = True,
        query_bias: bool | None = None,
        key_bias: bool | None = None,
        value_bias: bool | None = None,
        output_bias: bool | None = None,
        activation_dropout: float = 0,
        **kwargs: Any,
    ):
        feed_forward = FeedForward(
            intermediate_dim,
            activation,
            kernel_initializer,
            bias_initializer,
            use_bias=use_bias,
            activation_dropout=activation_dropout,
            dtype=self.dtype_policy,
            name="feed_forward",
        )
        super().__init__(
            self.make_attention("attention"),
            feed_forward,
            keras.layers.LayerNormalization(epsilon=layer_norm_epsilon),
            order="pre" if normalize_first else "post",
            dropout=dropout,
        )

    def make_attention(self, name: str) -> MultiHeadAttention:
        """Return an attention layer with the arguments of this block."""
        rate = self.dropout if self.attention_dropout is None else self.attention_dropout
        return MultiHeadAttention(
            self.num_heads,
            dropout=rate,
            use_bias=self.use_bias,
            query_bias=self.query_bias,
            key_bias=self.key_bias,
            value_bias=self.value_bias,
            output_bias=self.output_bias,
            kernel_initializer=self.kernel_initializer,
            bias_initializer=self.bias_initializer,
            dtype=self.dtype_policy,
            name=name,
        )


@keras.saving.register_keras_serializable(package="inarch")
class TransformerEncoder(TransformerLayer):
    """Self-attention, then a feed-forward network (Vaswani et al., 2017, arXiv:1706.03762).

    Its arguments are those of `TransformerLayer`.

    Call arguments:
        inputs: float `[batch, length, dim]`.
        padding_mask: int or bool `[batch, length]` of sequence ids: 0 for padding, 1 for
            tokens, 2, 3, ... for further packed sequences. `None` takes the implicit Keras mask.
        attention_mask: bool or int `[batch, length, length]` or `[batch, 1, length, length]`,
            true where a token may attend to another; narrows `padding_mask` further.
        return_attention_scores: whether to return `(output, scores)`, with the attention
            probabilities `[batch, num_heads, length, length]`.

    Returns:
        float `[batch, length, dim]`.
    """

    def build(self, inputs_shape: Any) -> None:  # type: ignore[override]
        super().build(inputs_shape)

    def call(  # type: ignore[override]
        self,
        inputs: Any,
        padding_mask: Any = None,
        attention_mask: Any = None,
        training: bool | None = None,
        return_attention_scores: bool = False,
    ) -> Any:
        context = {
            "padding_mask": padding_mask,
            "attention_mask": attention_mask,
            "return_attention_scores": return_attention_scores,
        }
        x, found = self.apply(inputs, context, training)
        return (x, found["attention"]["scores"]) if return_attention_scores else x


@keras.saving.register_keras_serializable(package="inarch")
class TransformerDecoder(TransformerLayer):
    """Causal self-attention, cross-attention if there is an encoder, then a feed-forward network.

    Source: Vaswani et al., 2017, arXiv:1706.03762. Its arguments are those of `TransformerLayer`.
    Whether it has cross-attention is settled when it is built: by its first call, with or without
    `encoder_sequence`.

    Call arguments:
        decoder_sequence: float `[batch, T, dim]`.
        encoder_sequence: float `[batch, S, encoder dim]`, or `None` in a decoder-only model, and
            where a full `cross_attention_cache` stands for it.
        decoder_padding_mask: int or bool sequence ids, `[batch, T]`, or `[batch, length of the
            cache]` with a cache. `None` takes the implicit Keras mask.
        decoder_attention_mask: bool or int `[batch, T, T or length of the cache]`.
        encoder_padding_mask: int or bool sequence ids `[batch, S]`. Given both padding masks,
            a token attends to the encoder's tokens of its own sequence.
        encoder_attention_mask: bool or int `[batch, T, S]`.
        self_attention_cache: a pair of float `[batch * num_heads, dim of a head, length]` (see
            `inarch.layers.cache`), or one float `[batch, 2, length, num_heads, dim of a head]`.
        self_attention_cache_update_index: index of the first token of this call in the cache.
        cross_attention_cache: the same, of length S.
        cross_attention_cache_update_index: 0 to fill the cache, `None` to use it as it is.
        use_causal_mask: whether a token attends to none of those after it.

    Returns:
        `output` `[batch, T, dim]`; with a cache `(output, self_attention_cache)`, and with
        cross-attention too `(output, self_attention_cache, cross_attention_cache)`.

    Raises:
        InputError: called with an encoder sequence and built without, or the reverse; or one of
            the two caches is missing.
    """

    def build(self, decoder_sequence_shape: Any, encoder_sequence_shape: Any = None) -> None:
        context = {}
        if encoder_sequence_shape is not None:
            self.set_argument("cross_attention", self.make_attention("cross_attention"))
            context = {"cross": {"source": encoder_sequence_shape}}
        super().build(decoder_sequence_shape, context)

    def call(  # type: ignore[override]
        self,
        decoder_sequence: Any,
        encoder_sequence: Any = None,
        decoder_padding_mask: Any = None,
        decoder_attention_mask: Any = None,
        encoder_padding_mask: Any = None,
        encoder_attention_mask: Any = None,
        self_attention_cache: Any = None,
        self_attention_cache_update_index: Any = None,
        cross_attention_cache: Any = None,
        cross_attention_cache_update_index: Any = None,
        use_causal_mask: bool = True,
        training: bool | None = None,
    ) -> Any:
        self._check_call(encoder_sequence, self_attention_cache, cross_attention_cache)
        self_mask, cross_mask = decoder_masks(
            decoder_sequence,
            decoder_padding_mask,
            decoder_attention_mask,
            padding_mask_of(encoder_sequence, encoder_padding_mask),
            encoder_attention_mask,
            cache=self_attention_cache,
            start=self_attention_cache_update_index,
            causal=use_causal_mask,
        )
        context = {
            "mask": self_mask,
            "cache": self_attention_cache,
            "cache_index": self_attention_cache_update_index,
            "cross": {
                "mask": cross_mask,
                "source": encoder_sequence,
                "cache": cross_attention_cache,
                "cache_index": cross_attention_cache_update_index,
            },
        }
        x, found = self.apply(decoder_sequence, context, training)
        if self_attention_cache is None:
            return x
        return x, *(part["cache"] for part in found.values())

    def _check_call(self, encoder_sequence: Any, self_cache: Any, cross_cache: Any) -> None:
        built_with = self.cross_attention is not None
        called_with = encoder_sequence is not None or cross_cache is not None
        if built_with != called_with:
            raise InputError(
                f"{self.name!r} was built {'with' if built_with else 'without'} cross-attention "
                f"and called {'with' if called_with else 'without'} an encoder_sequence. Keep to "
                "one kind of call, or use a second decoder for the other."
            )
        if built_with and (self_cache is None) != (cross_cache is None):
            missing = "self" if self_cache is None else "cross"
            raise InputError(
                f"{missing}_attention_cache=None, and the other cache is given. A decoder with "
                "cross-attention takes both caches or neither."
            )
