"""Transformer encoder and decoder."""

from typing import Any

import keras

from inarch.errors import InputError
from inarch.layers.block import TransformerBlock
from inarch.layers.mask import (
    decoder_masks,
    padding_mask_of,
    self_attention_mask,
)


@keras.saving.register_keras_serializable(package="inarch")
class TransformerEncoder(TransformerBlock):
    """Self-attention, then a feed-forward half (Vaswani et al., 2017, arXiv:1706.03762).

    Its arguments are those of `TransformerBlock`.

    Call arguments:
        inputs: float `[batch, length, dim]`.
        padding_mask: int or bool `[batch, length]` of sequence numbers: 0 for padding, 1 for
            tokens, 2, 3, ... for further packed sequences. `None` takes the implicit Keras mask.
        attention_mask: bool or int `[batch, length, length]` or `[batch, 1, length, length]`,
            true where a token may see another; narrows `padding_mask` further.
        return_attention_scores: whether to return `(output, scores)`, with the attention
            probabilities `[batch, num_heads, length, length]`.

    Returns:
        float `[batch, length, dim]`.
    """

    def build(self, inputs_shape: Any) -> None:
        self.attention = self._attention("attention")
        self.attention.build(inputs_shape, inputs_shape)
        self.attention_norm, self.attention_drop = self._norm_and_dropout("attention", inputs_shape)
        self._build_feed_forward(inputs_shape)
        self.built = True

    def call(
        self,
        inputs: Any,
        padding_mask: Any = None,
        attention_mask: Any = None,
        training: bool | None = None,
        return_attention_scores: bool = False,
    ) -> Any:
        mask = self_attention_mask(padding_mask_of(inputs, padding_mask), attention_mask)

        x = self._before(self.attention_norm, inputs)
        y, *scores = _as_tuple(
            self.attention(
                x, x, attention_mask=mask, return_attention_scores=return_attention_scores
            )
        )
        x = self._after(self.attention_norm, inputs + self.attention_drop(y))
        x = self._feed_forward(x)
        return (x, *scores) if scores else x


@keras.saving.register_keras_serializable(package="inarch")
class TransformerDecoder(TransformerBlock):
    """Causal self-attention, cross-attention if there is an encoder, then a feed-forward half.

    Source: Vaswani et al., 2017, arXiv:1706.03762. Its arguments are those of `TransformerBlock`.
    Whether it has cross-attention is settled when it is built: by its first call, with or without
    `encoder_sequence`.

    Call arguments:
        decoder_sequence: float `[batch, T, dim]`.
        encoder_sequence: float `[batch, S, encoder dim]`, or `None` in a decoder-only model, and
            where a full `cross_attention_cache` stands for it.
        decoder_padding_mask: int or bool sequence numbers, `[batch, T]`, or `[batch, length of the
            cache]` with a cache. `None` takes the implicit Keras mask.
        decoder_attention_mask: bool or int `[batch, T, T or length of the cache]`.
        encoder_padding_mask: int or bool sequence numbers `[batch, S]`. Given both padding masks,
            a token sees the encoder's tokens of its own number.
        encoder_attention_mask: bool or int `[batch, T, S]`.
        self_attention_cache: a pair of float `[batch * num_heads, dim of a head, length]` (see
            `inarch.layers.cache`), or one float `[batch, 2, length, num_heads, dim of a head]`.
        self_attention_cache_update_index: index of the first token of this call in the cache.
        cross_attention_cache: the same, of length S.
        cross_attention_cache_update_index: 0 to fill the cache, `None` to use it as it is.
        use_causal_mask: whether a token sees none of those after it.

    Returns:
        `output` `[batch, T, dim]`; with a cache `(output, self_attention_cache)`, and with
        cross-attention too `(output, self_attention_cache, cross_attention_cache)`.

    Raises:
        InputError: called with an encoder sequence and built without, or the reverse; or one of
            the two caches is missing.
    """

    def build(self, decoder_sequence_shape: Any, encoder_sequence_shape: Any = None) -> None:
        shape = decoder_sequence_shape
        self.self_attention = self._attention("self_attention")
        self.self_attention.build(shape, shape)
        self.self_attention_norm, self.self_attention_drop = self._norm_and_dropout(
            "self_attention", shape
        )
        self.cross_attention = None
        if encoder_sequence_shape is not None:
            self.cross_attention = self._attention("cross_attention")
            self.cross_attention.build(shape, encoder_sequence_shape)
            self.cross_attention_norm, self.cross_attention_drop = self._norm_and_dropout(
                "cross_attention", shape
            )
        self._build_feed_forward(shape)
        self.built = True

    def call(
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

        x = self._before(self.self_attention_norm, decoder_sequence)
        y, *caches = _as_tuple(
            self.self_attention(
                x,
                x,
                attention_mask=self_mask,
                cache=self_attention_cache,
                cache_update_index=self_attention_cache_update_index,
            )
        )
        x = self._after(self.self_attention_norm, decoder_sequence + self.self_attention_drop(y))

        if self.cross_attention is not None:
            y, *cross_caches = _as_tuple(
                self.cross_attention(
                    self._before(self.cross_attention_norm, x),
                    x if encoder_sequence is None else encoder_sequence,
                    attention_mask=cross_mask,
                    cache=cross_attention_cache,
                    cache_update_index=cross_attention_cache_update_index,
                )
            )
            x = self._after(self.cross_attention_norm, x + self.cross_attention_drop(y))
            caches += cross_caches

        x = self._feed_forward(x)
        return (x, *caches) if caches else x

    def cross_attention_cache_of(self, encoder_sequence: Any) -> Any:
        """A cross-attention cache that is full, to be used as it is in every call."""
        attention: Any = self.cross_attention
        return attention.cache_of(encoder_sequence)

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

    def compute_output_shape(
        self,
        decoder_sequence_shape: Any,
        self_attention_cache_shape: Any = None,
        cross_attention_cache_shape: Any = None,
    ) -> Any:
        caches = (self_attention_cache_shape, cross_attention_cache_shape)
        given = [shape for shape in caches if shape is not None]
        return (decoder_sequence_shape, *given) if given else decoder_sequence_shape

    def with_cross_attention_scores(self, decoder_sequence: Any, cross_attention_cache: Any) -> Any:
        """`(output, scores)` of whole sequences without padding, in inference.

        Args:
            decoder_sequence: float `[batch, T, dim]`.
            cross_attention_cache: a full one, of length S (see `cross_attention_cache_of`).

        Returns:
            float `[batch, T, dim]`, and the cross-attention's probabilities
            `[batch, num_heads, T, S]`.

        Raises:
            InputError: it was built without cross-attention.
        """
        self._check_call(None, cross_attention_cache, cross_attention_cache)
        nothing = (None,) * 6
        mask, _ = decoder_masks(decoder_sequence, *nothing, causal=True)
        x = self._before(self.self_attention_norm, decoder_sequence)
        x = decoder_sequence + self.self_attention(x, x, attention_mask=mask)
        x = self._after(self.self_attention_norm, x)
        attention: Any = self.cross_attention
        y, scores, _ = attention(
            self._before(self.cross_attention_norm, x),
            x,
            cache=cross_attention_cache,
            return_attention_scores=True,
        )
        return self._feed_forward(self._after(self.cross_attention_norm, x + y)), scores


def _as_tuple(outputs: Any) -> tuple:
    """The outputs of an attention: the output, then scores or a cache if there are any."""
    return outputs if isinstance(outputs, tuple) else (outputs,)
