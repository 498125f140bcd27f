"""What a model gives so that tokens can be generated with it."""

from collections.abc import Sequence
from typing import Any, Protocol

import keras


class Decoder(Protocol):
    """A model that reads tokens one after another and remembers what it has read.

    Every method is pure and made of `keras.ops` and layers, with static shapes, so that it can
    stand in a compiled loop. A model with an encoder gets what the encoder gave as `context`: a
    tensor or a nest of tensors with one entry for each row of the batch. Where several beams of a
    row are decoded, tokens and caches have an entry for each beam, side by side, and the context
    still has one for each row.

    Attributes:
        max_length: positions that the model has; the longest sequence that it can read.
        vocabulary_size: number of tokens.
        hidden_size: columns of the hidden states.
        compute_dtype: their dtype.
        variables: every variable that the methods read.
    """

    max_length: int
    vocabulary_size: int
    hidden_size: int
    compute_dtype: str

    @property
    def variables(self) -> Sequence[keras.Variable]: ...

    def init_cache(self, rows: int, length: int) -> Any:
        """Empty caches for `rows` sequences of `length` tokens.

        They are a nest of tensors of `rows` or `rows * n` entries, those of a row side by side.
        """

    def step(
        self,
        token_ids: Any,
        index: Any,
        caches: Any,
        context: Any,
        positions: Any,
        padding_mask: Any = None,
    ) -> tuple[Any, Any]:
        """Read the next tokens.

        Args:
            token_ids: int32 `[rows, T]`.
            index: int32, where in the caches the first of them goes.
            caches: what `init_cache` or the last call gave.
            context: what the encoder gave, or None.
            positions: int32 `[rows, T]` or `[1, T]`, where each token stands in its sequence.
            padding_mask: int32 `[rows, length of the caches]`, 0 for the padding before a prompt;
                None where there is none.

        Returns:
            Hidden states, float `[rows, T, dim]`, and the caches with the new tokens in.
        """

    def logits(self, hidden: Any) -> Any:
        """Logits over the next token, float `[rows, vocabulary_size]`, of `[rows, dim]`."""
