"""Protocol of a decoder that tokens are generated with."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import keras


class Decoder(Protocol):
    """A model that reads tokens step by step, with a cache of earlier ones.

    Every method is pure and made of `keras.ops` and layers, with static shapes, so that it can
    be part of a compiled loop. Caches are nests of tensors with `rows` or `rows * n` entries,
    those of a row one after another. Where several beams of a row are decoded, tokens have an entry
    for each beam, the cross-attention cache one for each row, and the beams share a cache.

    Attributes:
        max_length: maximal length of a sequence.
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
        """Return empty caches of `rows` sequences of up to `length` tokens."""

    def share_cache(self, caches: Any, beams: int) -> Any:
        """Return caches of `beams` sequences for each row, which go on from what they hold."""

    def reorder_cache(self, caches: Any, rows: int, indices: Any) -> Any:
        """Return caches of `rows` sequences with those at `indices` alone, int32 `[k]`."""

    def step(self, token_ids: Any, caches: Any, context: Mapping[str, Any]) -> tuple[Any, Any]:
        """Read the next tokens.

        Args:
            token_ids: int32 `[rows, T]`.
            caches: of `init_cache` or the last step.
            context: dict of tensors: `cache_index`, int32, index of the first token in the
                caches; `positions`, int32 `[rows, T]` or `[1, T]`, of the tokens in their
                sequences; `lengths`, of the same shape, tokens of the prompt, or of the sequence
                up to a token after it; where there is padding, `padding_mask`, int32
                `[rows, length]` of the caches, 0 for padding; where there is an encoder,
                `cross_attention_cache`, and `cross_attention_mask`, bool `[rows, 1, S]`, where its
                output has padding.

        Returns:
            Hidden states, float `[rows, T, dim]`, and the updated caches.
        """

    def logits(self, hidden: Any) -> Any:
        """Return logits over the next token, `[rows, vocabulary_size]`, of `[rows, dim]`."""
