"""Whisper's decoder token by token, for generation, and what its attention looks at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

ops: Any = keras.ops  # Typed, every result may be None.


class WhisperDecoder:
    """The decoder of a `WhisperBackbone` as `inarch.generation` takes it.

    The context is what `context_of` makes of the encoder's output.

    Args:
        backbone: the model.
        head: a layer from hidden states to logits, where these aren't tied to the embeddings.

    Attributes:
        max_length: positions that the model has.
        vocabulary_size: number of tokens.
        variables: every variable that the methods read.
    """

    def __init__(self, backbone: Any, head: Any = None):
        sizes = backbone.arguments
        self.max_length: int = sizes["max_decoder_sequence_length"]
        self.vocabulary_size: int = sizes["vocabulary_size"]
        self._heads: int = sizes["num_decoder_heads"]
        self._width: int = sizes["hidden_dim"] // self._heads
        self._embedding = backbone.get_layer("decoder_embedding")
        count = sizes["num_decoder_layers"]
        self._layers = [backbone.get_layer(f"decoder_layer_{i}") for i in range(count)]
        self._norm = backbone.get_layer("decoder_norm")
        self._head = head

    @property
    def variables(self) -> Sequence[keras.Variable]:
        layers = [self._embedding, *self._layers, self._norm, *([self._head] if self._head else [])]
        return [variable for layer in layers for variable in layer.variables]

    def context_of(self, encoded: Any) -> list[Any]:
        """Keys and values of each layer's cross-attention, of the encoder's output."""
        return [layer.cross_attention_cache_of(encoded) for layer in self._layers]

    def start(self, rows: int, length: int) -> list[Any]:
        shape = (rows, 2, length, self._heads, self._width)
        return [ops.zeros(shape, layer.compute_dtype) for layer in self._layers]

    def step(
        self,
        token_ids: Any,
        index: Any,
        caches: Any,
        context: Any,
        positions: Any,
        padding_mask: Any = None,
    ) -> tuple[Any, Any]:
        x = self._embedding(token_ids, positions=positions)
        written = []
        for layer, cache, cross in zip(self._layers, caches, context, strict=True):
            x, cache, _ = layer(
                x,
                decoder_padding_mask=padding_mask,
                self_attention_cache=cache,
                self_attention_cache_update_index=index,
                cross_attention_cache=cross,
            )
            written.append(cache)
        return self._norm(x), written

    def logits(self, hidden: Any) -> Any:
        if self._head is not None:
            return self._head(hidden)
        return self._embedding.token_embedding(hidden, reverse=True)

    def attended(
        self, token_ids: Any, encoded: Any, heads: Sequence[tuple[int, int]]
    ) -> tuple[Any, Any]:
        """Logits of a whole sequence, and what some heads of the cross-attention look at.

        Args:
            token_ids: int32 `[batch, length]`.
            encoded: the encoder's output.
            heads: layer and head, of each that is wanted.

        Returns:
            `[batch, length, vocabulary_size]` and `[batch, heads, length, positions]`, float32.
        """
        x = self._embedding(token_ids)
        scores = []
        for layer in self._layers:
            x, found = layer.with_cross_attention_scores(x, encoded)
            scores.append(found)
        chosen = ops.stack([scores[layer][:, head] for layer, head in heads], axis=1)
        logits = self.logits(self._norm(x))
        return ops.cast(logits, "float32"), ops.cast(chosen, "float32")
