"""Logits processors against repetition: penalties on earlier tokens, n-grams that don't repeat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from inarch.errors import InputError
from inarch.generation.logits_processors import NEG_INF, ArrayLogitsProcessor, GeneratedTokens

ops: Any = keras.ops  # Typed, every result may be None.


@dataclass(frozen=True)
class RepetitionPenalty(ArrayLogitsProcessor):
    """Make tokens that were generated before less likely.

    A positive logit is divided by the penalty, a negative one multiplied, once for each token
    however often it was generated.

    Source: Keskar et al., 2019, arXiv:1909.05858, section 4.1, as CTranslate2 applies it, or with
    the prompt as transformers does (generation/logits_process.py).

    Args:
        penalty: above 1 discourages repetition, below 1 encourages it.
        include_prompt: whether the tokens of the prompt count, too.

    Raises:
        InputError: the penalty isn't above 0.
    """

    penalty: float = field(compare=False)
    include_prompt: bool = False

    def __post_init__(self) -> None:
        if not self.penalty > 0:
            raise InputError(f"penalty={self.penalty}. Pass a number above 0; 1 changes nothing.")

    def arrays(self, size: int) -> dict[str, np.ndarray]:
        return {"penalty": np.asarray(self.penalty, np.float32)}

    def apply(self, logits: Any, generated: GeneratedTokens, arrays: Mapping[str, Any]) -> Any:
        penalty = arrays["penalty"]
        generated = generated.with_prompt() if self.include_prompt else generated
        penalized = ops.where(logits < 0, logits * penalty, logits / penalty)
        mask = _tokens_where(generated.mask(), generated.token_ids, logits)
        return ops.where(mask, penalized, logits)


@dataclass(frozen=True)
class NoRepeatNGram:
    """Forbid tokens that would repeat an n-gram of `size` tokens.

    Source: CTranslate2's `no_repeat_ngram_size`; transformers counts the prompt, too.

    Args:
        size: number of tokens of an n-gram.
        include_prompt: whether the n-grams of the prompt count, too.

    Raises:
        InputError: the size is below 1.
    """

    size: int
    include_prompt: bool = False

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"size={self.size}. Pass a positive int.")

    def __call__(self, logits: Any, generated: GeneratedTokens) -> Any:
        generated = generated.with_prompt() if self.include_prompt else generated
        token_ids = generated.token_ids
        length = token_ids.shape[1]
        count = length - self.size + 1
        if count < 1:
            return logits
        places = ops.arange(length, dtype="int32")[None]
        # Complete n-grams, by the positions of their first tokens.
        firsts = places[:, :count]
        complete = firsts + (self.size - 1) < generated.count
        same = ops.logical_and(complete, firsts >= generated.start)
        same = ops.broadcast_to(same, (token_ids.shape[0], count))
        for i in range(self.size - 1):
            here = ops.equal(places, generated.count - (self.size - 1) + i)
            latest = ops.sum(ops.where(here, token_ids, 0), axis=1, keepdims=True)
            same = ops.logical_and(same, ops.equal(token_ids[:, i : i + count], latest))
        forbidden = _tokens_where(same, token_ids[:, self.size - 1 :], logits)
        return ops.where(forbidden, NEG_INF, logits)


def _tokens_where(mask: Any, token_ids: Any, logits: Any) -> Any:
    """Return bool `[rows, vocabulary]`, true for the tokens `[rows, n]` where `mask` is true."""
    rows, size = logits.shape
    number = token_ids.shape[1]
    row = ops.repeat(ops.arange(rows, dtype="int32"), number)
    # One index for both axes: backends agree on how a flat tensor is scattered into.
    index = ops.expand_dims(row * size + ops.reshape(ops.cast(token_ids, "int32"), (-1,)), 1)
    found = ops.scatter(index, ops.reshape(ops.cast(mask, "float32"), (-1,)), (rows * size,))
    return ops.reshape(found, (rows, size)) > 0
