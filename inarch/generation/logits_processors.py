"""Logits processors, which change the logits of the next token or forbid tokens.

A processor is a hashable value and a pure function of float32 logits `[rows, vocabulary]` and the
`GeneratedTokens` so far. It returns logits of the same shape, `NEG_INF` for forbidden tokens.

The numbers of an `ArrayLogitsProcessor` are inputs of the compiled program, so that processors
which differ in them alone are equal and share one program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import keras
import numpy as np

from inarch.errors import InputError
from inarch.generation.vocabulary import log_probabilities

ops: Any = keras.ops  # Typed, every result may be None.

NEG_INF = float("-inf")


@dataclass(frozen=True)
class GeneratedTokens:
    """Tokens generated so far, without the prompt.

    Attributes:
        token_ids: int32 `[rows, length]`; entries from `count` on have no meaning.
        count: int32, number of tokens generated.
        prompt_ids: int32 `[rows, prompt length]`, padded on the left; None where a caller has none.
        padding: int32 `[rows, 1]`, number of padding tokens of the prompts, or 0.
        start: int32 `[rows, 1]` or 0, index of the first of `token_ids` that has a meaning.
    """

    token_ids: Any
    count: Any
    prompt_ids: Any = None
    padding: Any = 0
    start: Any = 0

    def with_prompt(self) -> GeneratedTokens:
        """Return prompts and generated tokens in one, as if all had been generated."""
        if self.prompt_ids is None:
            return self
        joined = ops.concatenate([self.prompt_ids, self.token_ids], axis=1)
        count = self.prompt_ids.shape[1] + self.count
        return GeneratedTokens(joined, count, start=self.padding)

    def total(self) -> Any:
        """Return int32 `[rows, 1]` or a scalar, number of tokens with those of the prompt."""
        if self.prompt_ids is None:
            return self.count
        return self.count + self.prompt_ids.shape[1] - self.padding

    def mask(self) -> Any:
        """Return bool `[rows, length]`, true for the tokens that have a meaning."""
        places = ops.arange(self.token_ids.shape[1], dtype="int32")[None]
        known = ops.logical_and(places < self.count, places >= self.start)
        return ops.broadcast_to(known, self.token_ids.shape)


LogitsProcessor = Callable[[Any, GeneratedTokens], Any]


@dataclass(frozen=True)
class ArrayLogitsProcessor:
    """Base of processors whose numbers are inputs of the compiled program."""

    def arrays(self, size: int) -> dict[str, np.ndarray]:
        """Return the numbers of the processor for a vocabulary of `size` tokens.

        Raises:
            InputError: a token id is outside the vocabulary.
        """
        raise NotImplementedError

    def apply(self, logits: Any, generated: GeneratedTokens, arrays: Mapping[str, Any]) -> Any:
        """Return the processed logits; `arrays` are the tensors of `self.arrays`."""
        raise NotImplementedError

    def __call__(self, logits: Any, generated: GeneratedTokens) -> Any:
        arrays = self.arrays(logits.shape[-1])
        return self.apply(
            logits, generated, {n: ops.convert_to_tensor(a) for n, a in arrays.items()}
        )


@dataclass(frozen=True)
class SuppressTokens(ArrayLogitsProcessor):
    """Forbid tokens.

    Args:
        token_ids: their ids.
    """

    token_ids: tuple[int, ...] = field(compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "token_ids", sorted_token_ids(self.token_ids))

    def arrays(self, size: int) -> dict[str, np.ndarray]:
        return {"forbidden": vocabulary_mask(self.token_ids, size)}

    def apply(self, logits: Any, generated: GeneratedTokens, arrays: Mapping[str, Any]) -> Any:
        return ops.where(arrays["forbidden"], NEG_INF, logits)


@dataclass(frozen=True)
class SuppressTokensAtBegin(SuppressTokens):
    """Forbid tokens as the first generated token.

    Args:
        token_ids: their ids.
    """

    def apply(self, logits: Any, generated: GeneratedTokens, arrays: Mapping[str, Any]) -> Any:
        forbidden = ops.logical_and(arrays["forbidden"], ops.equal(generated.count, 0))
        return ops.where(forbidden, NEG_INF, logits)


@dataclass(frozen=True)
class AllowTokens:
    """Forbid all tokens but these.

    Args:
        token_ids: their ids.
    """

    token_ids: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "token_ids", sorted_token_ids(self.token_ids))

    def __call__(self, logits: Any, generated: GeneratedTokens) -> Any:
        return ops.where(token_mask(self.token_ids, logits), logits, NEG_INF)


@dataclass(frozen=True)
class MinLength:
    """Forbid the end token before a number of tokens.

    Args:
        length: number of tokens before the end token is allowed.
        end_id: the end token, or several.
        include_prompt: whether the tokens of the prompt count, too.
    """

    length: int
    end_id: int | tuple[int, ...]
    include_prompt: bool = False

    def __call__(self, logits: Any, generated: GeneratedTokens) -> Any:
        count = generated.total() if self.include_prompt else generated.count
        early = ops.less(count, self.length)
        ends = (self.end_id,) if isinstance(self.end_id, int) else sorted_token_ids(self.end_id)
        forbidden = ops.logical_and(token_mask(ends, logits), early)
        return ops.where(forbidden, NEG_INF, logits)


@dataclass(frozen=True)
class ForceTokens(ArrayLogitsProcessor):
    """Allow no tokens but these after a number of tokens, with a logit of 0.

    Source: transformers, generation/logits_process.py, ForcedBOSTokenLogitsProcessor and
    ForcedEOSTokenLogitsProcessor.

    Args:
        token_ids: their ids.
        place: number of tokens before the one that is forced.
        include_prompt: whether the tokens of the prompt count, too.
    """

    token_ids: tuple[int, ...] = field(compare=False)
    place: int = field(compare=False)
    include_prompt: bool = False

    def arrays(self, size: int) -> dict[str, np.ndarray]:
        forced = vocabulary_mask(sorted_token_ids(self.token_ids), size)
        return {"forced": forced, "place": np.asarray(self.place, np.int32)}

    def apply(self, logits: Any, generated: GeneratedTokens, arrays: Mapping[str, Any]) -> Any:
        count = generated.total() if self.include_prompt else generated.count
        here = ops.equal(count, arrays["place"])
        return ops.where(here, ops.where(arrays["forced"], 0.0, NEG_INF), logits)


@dataclass(frozen=True)
class Normalize:
    """Turn logits into log-probabilities of the tokens that are still allowed.

    Source: transformers, generation/logits_process.py, LogitNormalization.
    """

    def __call__(self, logits: Any, generated: GeneratedTokens) -> Any:
        return log_probabilities(logits)


def processor_arrays(
    processors: Sequence[LogitsProcessor], size: int
) -> list[dict[str, np.ndarray]]:
    """Return the numbers of each processor, empty for one without arrays."""
    return [p.arrays(size) if isinstance(p, ArrayLogitsProcessor) else {} for p in processors]


def bind_arrays(
    processors: Sequence[LogitsProcessor], arrays: Sequence[Mapping[str, Any]]
) -> list[LogitsProcessor]:
    """Return processors bound to the tensors of `processor_arrays`, in the same order."""
    return [
        partial(p.apply, arrays=bound) if isinstance(p, ArrayLogitsProcessor) else p
        for p, bound in zip(processors, arrays, strict=True)
    ]


def apply_processors(
    processors: Iterable[LogitsProcessor], logits: Any, generated: GeneratedTokens
) -> Any:
    """Return the logits after every processor, applied in order."""
    for processor in processors:
        logits = processor(logits, generated)
    return logits


def sorted_token_ids(token_ids: Iterable[int]) -> tuple[int, ...]:
    """Return sorted ids without repetition, so that equal processors are equal values.

    Raises:
        InputError: an id is negative.
    """
    ids = tuple(sorted({int(token_id) for token_id in token_ids}))
    if ids and ids[0] < 0:
        raise InputError(f"token id {ids[0]} is negative. Pass ids of the vocabulary.")
    return ids


def token_mask(token_ids: tuple[int, ...], logits: Any) -> Any:
    """Return bool `[1, vocabulary]`, true for the given tokens.

    Raises:
        InputError: an id is outside the vocabulary.
    """
    return ops.convert_to_tensor(vocabulary_mask(token_ids, logits.shape[-1]))


def vocabulary_mask(token_ids: tuple[int, ...], size: int) -> np.ndarray:
    """Return bool `[1, size]`, true for the given tokens, which are sorted.

    Raises:
        InputError: an id is outside the vocabulary.
    """
    if token_ids and token_ids[-1] >= size:
        raise InputError(
            f"token id {token_ids[-1]} is outside the vocabulary of {size} tokens. Pass "
            "ids of this model's tokenizer."
        )
    mask = np.zeros((1, size), bool)
    mask[:, list(token_ids)] = True
    return mask
