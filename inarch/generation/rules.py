"""Rules on logits: what may come next. Each is a hashable value and a pure function.

A rule is called with float32 logits `[rows, vocabulary]` and the `Trace` of what was generated
before, and returns logits of the same shape, `FORBIDDEN` where a token may not come.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from inarch.errors import InputError

ops: Any = keras.ops  # Typed, every result may be None.

FORBIDDEN = float("-inf")


@dataclass(frozen=True)
class Trace:
    """What was generated so far; prompts aren't in it.

    Attributes:
        token_ids: int32 `[rows, longest]`; what stands from `count` on has no meaning.
        count: int32, number of tokens generated.
    """

    token_ids: Any
    count: Any


Rule = Callable[[Any, Trace], Any]


@dataclass(frozen=True)
class _OfTokens:
    """A rule on some tokens.

    Args:
        token_ids: their ids.
    """

    token_ids: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "token_ids", sorted_ids(self.token_ids))


@dataclass(frozen=True)
class Suppress(_OfTokens):
    """Tokens that never come.

    Args:
        token_ids: their ids.
    """

    def __call__(self, logits: Any, trace: Trace) -> Any:
        return ops.where(listed(self.token_ids, logits), FORBIDDEN, logits)


@dataclass(frozen=True)
class SuppressAtFirst(_OfTokens):
    """Tokens that don't come as the first one generated.

    Args:
        token_ids: their ids.
    """

    def __call__(self, logits: Any, trace: Trace) -> Any:
        barred = ops.logical_and(listed(self.token_ids, logits), ops.equal(trace.count, 0))
        return ops.where(barred, FORBIDDEN, logits)


@dataclass(frozen=True)
class Only(_OfTokens):
    """Nothing but these tokens, such as the languages where a language is to be told.

    Args:
        token_ids: their ids.
    """

    def __call__(self, logits: Any, trace: Trace) -> Any:
        return ops.where(listed(self.token_ids, logits), logits, FORBIDDEN)


@dataclass(frozen=True)
class MinimumLength:
    """No end before so many tokens.

    Args:
        length: tokens before the end token may come.
        end_id: the end token.
    """

    length: int
    end_id: int

    def __call__(self, logits: Any, trace: Trace) -> Any:
        early = ops.less(trace.count, self.length)
        barred = ops.logical_and(listed((self.end_id,), logits), early)
        return ops.where(barred, FORBIDDEN, logits)


def applied(rules: Iterable[Rule], logits: Any, trace: Trace) -> Any:
    """The logits after every rule, in order."""
    for rule in rules:
        logits = rule(logits, trace)
    return logits


def sorted_ids(token_ids: Iterable[int]) -> tuple[int, ...]:
    """Ids in order, each once, so that equal rules are equal values.

    Raises:
        InputError: an id is negative.
    """
    ids = tuple(sorted({int(token_id) for token_id in token_ids}))
    if ids and ids[0] < 0:
        raise InputError(f"token id {ids[0]} is negative. Pass ids of the vocabulary.")
    return ids


def listed(token_ids: tuple[int, ...], logits: Any) -> Any:
    """bool `[1, vocabulary]`: which tokens are among these.

    Raises:
        InputError: an id is outside the vocabulary.
    """
    size = logits.shape[-1]
    if token_ids and token_ids[-1] >= size:
        raise InputError(
            f"token id {token_ids[-1]} is outside the vocabulary of {size} tokens. Pass rules "
            "with ids of this model's tokenizer."
        )
    mask = np.zeros((1, size), bool)
    mask[:, list(token_ids)] = True
    return ops.convert_to_tensor(mask)
