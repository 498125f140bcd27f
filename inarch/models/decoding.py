"""A stack of `TransformerDecoder` layers as `inarch.generation` wants it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from inarch.layers import TokenAndPositionEmbedding, TransformerDecoder
from inarch.layers.cache import empty_cache

ops: Any = keras.ops  # Typed, every result may be None.


class StackDecoder:
    """Embeddings, decoder layers, a norm and logits, step by step with a key/value cache.

    It is made of a model's own layers and holds no weights. The context is what `context_of`
    makes of the encoder's output: the keys and values of cross-attention, computed once.

    Args:
        embedding: of tokens and positions.
        layers: in order.
        norm: after the last layer.
        to_logits: from hidden states to logits; `None` multiplies with the embeddings of tokens.
        variables: every variable that is read, those of an encoder too if it is to be called in
            the same program.
    """

    def __init__(
        self,
        embedding: TokenAndPositionEmbedding,
        layers: Sequence[TransformerDecoder],
        norm: Callable[[Any], Any],
        to_logits: Callable[[Any], Any] | None = None,
        variables: Sequence[keras.Variable] = (),
    ):
        self.embedding = embedding
        self.layers = layers
        self.norm = norm
        self.to_logits = to_logits
        self.variables = variables
        self.max_length = embedding.sequence_length
        self.vocabulary_size = embedding.vocabulary_size
        self.hidden_size = embedding.embedding_dim
        self.compute_dtype = embedding.compute_dtype

    def context_of(self, encoder_sequence: Any) -> Any:
        """The context of `[rows, S, dim]`: for each layer a cache of cross-attention."""
        return tuple(layer.make_cross_attention_cache(encoder_sequence) for layer in self.layers)

    def init_cache(self, rows: int, length: int) -> Any:
        return tuple(
            empty_cache(
                rows, length, layer.num_heads, self.hidden_size // layer.num_heads,
                self.compute_dtype,
            )
            for layer in self.layers
        )  # fmt: skip

    def step(
        self,
        token_ids: Any,
        index: Any,
        caches: Any,
        context: Any,
        positions: Any,
        padding_mask: Any = None,
    ) -> tuple[Any, Any]:
        x = self.embedding(token_ids, positions=positions)
        written = []
        for number, layer in enumerate(self.layers):
            cross = {} if context is None else {"cross_attention_cache": context[number]}
            x, cache, *_ = layer(
                x,
                decoder_padding_mask=padding_mask,
                self_attention_cache=caches[number],
                self_attention_cache_update_index=index,
                **cross,
            )
            written.append(cache)
        return self.norm(x), tuple(written)

    def logits(self, hidden: Any) -> Any:
        if self.to_logits is not None:
            return self.to_logits(hidden)
        if keras.backend.backend() == "torch" and self.embedding.tie_weights:
            return _torch_logits(hidden, self.embedding.token_embedding.embeddings)
        return self.embedding.token_embedding(hidden, reverse=True)


def _torch_logits(hidden: Any, embeddings: Any) -> Any:
    """Products of rows with embeddings, block by block: MKL is twice as slow over the whole."""
    table = ops.cast(ops.convert_to_tensor(embeddings), hidden.dtype)
    size, width = table.shape
    blocks = next(n for n in (24, 23, 11, 8, 5, 4, 3, 2, 1) if size % n == 0)
    if blocks == 1 or hidden.ndim > 2 or len(hidden) > 16:
        return hidden @ table.T
    columns = hidden.T[None].expand(blocks, width, len(hidden))
    return (table.view(blocks, -1, width) @ columns).reshape(size, len(hidden)).T
