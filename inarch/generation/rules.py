"""Rules on logits: what may come next. Each is a hashable value and a pure function.

A rule is called with float32 logits `[rows, vocabulary]` and the `Trace` of what was generated
before, and returns logits of the same shape, `FORBIDDEN` where a token may not come.

A rule with numbers that may change from call to call (a `FedRule`) hands them over as arrays, and
is equal to others of its class, so that one compiled program serves all of them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
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
class FedRule:
    """A rule whose numbers are arrays that a compiled program takes at each call."""

    def arrays(self, size: int) -> dict[str, np.ndarray]:
        """The rule's numbers for a vocabulary of `size` tokens.

        Raises:
            InputError: a token id is outside the vocabulary.
        """
        raise NotImplementedError

    def apply(self, logits: Any, trace: Trace, arrays: Mapping[str, Any]) -> Any:
        """The logits after the rule; `arrays` are tensors."""
        raise NotImplementedError

    def __call__(self, logits: Any, trace: Trace) -> Any:
        arrays = self.arrays(logits.shape[-1])
        return self.apply(logits, trace, {n: ops.convert_to_tensor(a) for n, a in arrays.items()})


@dataclass(frozen=True)
class Suppress(FedRule):
    """Tokens that never come.

    Args:
        token_ids: their ids.
    """

    token_ids: tuple[int, ...] = field(compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "token_ids", sorted_ids(self.token_ids))

    def arrays(self, size: int) -> dict[str, np.ndarray]:
        return {"barred": mask_of(self.token_ids, size)}

    def apply(self, logits: Any, trace: Trace, arrays: Mapping[str, Any]) -> Any:
        return ops.where(arrays["barred"], FORBIDDEN, logits)


@dataclass(frozen=True)
class SuppressAtFirst(Suppress):
    """Tokens that don't come as the first one generated.

    Args:
        token_ids: their ids.
    """

    def apply(self, logits: Any, trace: Trace, arrays: Mapping[str, Any]) -> Any:
        barred = ops.logical_and(arrays["barred"], ops.equal(trace.count, 0))
        return ops.where(barred, FORBIDDEN, logits)


@dataclass(frozen=True)
class Only:
    """Nothing but these tokens, such as the languages where a language is to be told.

    Args:
        token_ids: their ids.
    """

    token_ids: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "token_ids", sorted_ids(self.token_ids))

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


def arrays_of(rules: Sequence[Rule], size: int) -> list[dict[str, np.ndarray]]:
    """The numbers that each rule is fed with; none for a rule that isn't fed."""
    return [rule.arrays(size) if isinstance(rule, FedRule) else {} for rule in rules]


def bound(rules: Sequence[Rule], arrays: Sequence[Mapping[str, Any]]) -> list[Rule]:
    """Rules with the tensors that they are fed with, in the order of `arrays_of`."""
    return [
        partial(rule.apply, arrays=fed) if isinstance(rule, FedRule) else rule
        for rule, fed in zip(rules, arrays, strict=True)
    ]


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
    return ops.convert_to_tensor(mask_of(token_ids, logits.shape[-1]))


def mask_of(token_ids: tuple[int, ...], size: int) -> np.ndarray:
    """bool `[1, size]`: which tokens of a vocabulary are among these sorted ones.

    Raises:
        InputError: an id is outside the vocabulary.
    """
    if token_ids and token_ids[-1] >= size:
        raise InputError(
            f"token id {token_ids[-1]} is outside the vocabulary of {size} tokens. Pass rules "
            "with ids of this model's tokenizer."
        )
    mask = np.zeros((1, size), bool)
    mask[:, list(token_ids)] = True
    return mask
