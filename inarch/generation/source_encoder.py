"""`SourceEncoder`: the encoder of an encoder-decoder, run for the texts that a decoder reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from inarch.data import pad
from inarch.generation.compiled import compile_function
from inarch.runtime.forward import compiled

ops: Any = keras.ops  # Typed, every result may be None.


class SourceEncoder:
    """Encoder of texts, whose output is kept as the keys and values of cross-attention.

    Args:
        encoder: from `encoder_token_ids` and `encoder_padding_mask` to vectors.
        decoder: has `make_cross_attention_cache`, as a `DecoderStack`.
        start_ids: ids of the tokens that each generated text begins after.
        padding_id: id of the token that pads.
        max_length: most tokens of a text; None for any number.
    """

    def __init__(
        self,
        encoder: keras.Model,
        decoder: Any,
        start_ids: Sequence[int],
        padding_id: int,
        max_length: int | None,
    ):
        self.start_ids = list(start_ids)
        self.max_length = max_length
        self._padding_id = padding_id
        self._encoder = compiled(encoder)
        self._make_cache = compile_function(decoder, decoder.make_cross_attention_cache)

    def encode(self, rows: Sequence[Sequence[int]], length: int) -> dict[str, Any]:
        """Return `cross_attention_cache` and `cross_attention_mask` of rows, padded to a length.

        Args:
            rows: token ids of each text.
            length: at least the number of tokens of each.
        """
        mask = pad([[1] * len(row) for row in rows], len(rows), length)
        token_ids = pad(rows, len(rows), length, self._padding_id)
        given = {"encoder_token_ids": token_ids, "encoder_padding_mask": mask}
        return {
            "cross_attention_cache": self._make_cache(self._encoder(given)),
            "cross_attention_mask": ops.convert_to_tensor(mask[:, np.newaxis] != 0),
        }
