"""Whisper's decoder token by token, for generation, and what its attention looks at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from inarch.models.decoding import StackDecoder

ops: Any = keras.ops  # Typed, every result may be None.


class WhisperDecoder(StackDecoder):
    """The decoder of a `WhisperBackbone` as `inarch.generation` takes it.

    Args:
        backbone: the model.
        head: a layer from hidden states to logits, where these aren't tied to the embeddings.
    """

    def __init__(self, backbone: Any, head: Any = None):
        count = backbone.arguments["num_decoder_layers"]
        names = ["decoder_embedding", *(f"decoder_layer_{i}" for i in range(count)), "decoder_norm"]
        embedding, *layers, norm = found = [backbone.get_layer(name) for name in names]
        read = [*found, *([] if head is None else [head])]
        variables = [variable for layer in read for variable in layer.variables]
        super().__init__(embedding, layers, norm, head, variables)

    def attended(
        self, token_ids: Any, context: Any, heads: Sequence[tuple[int, int]]
    ) -> tuple[Any, Any]:
        """Logits of a whole sequence, and what some heads of the cross-attention look at.

        Args:
            token_ids: int32 `[batch, length]`.
            context: what `context_of` makes of the encoder's output.
            heads: layer and head, of each that is wanted.

        Returns:
            `[batch, length, vocabulary_size]` and `[batch, heads, length, positions]`, float32.
        """
        x = self.embedding(token_ids)
        scores = []
        for layer, cache in zip(self.layers, context, strict=True):
            x, found = layer.with_cross_attention_scores(x, cache)
            scores.append(found)
        chosen = ops.stack([scores[layer][:, head] for layer, head in heads], axis=1)
        logits = self.logits(self.norm(x))
        return ops.cast(logits, "float32"), ops.cast(chosen, "float32")
