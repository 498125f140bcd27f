"""Decoding strategies: the protocol, greedy search, and sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import keras
import numpy as np

from inarch.errors import InputError
from inarch.generation.gumbel import gumbel_noise
from inarch.generation.logits_processors import GeneratedTokens, LogitsProcessor, apply_processors

ops: Any = keras.ops  # Typed, every result may be None.

State = dict[str, Any]


@dataclass(frozen=True)
class StrategyContext:
    """Settings and tensors of a generation that its strategy reads.

    Attributes:
        processors: logits processors, bound to their arrays.
        end_id: id of the token that fills a row after its end.
        ends: bool `[vocabulary]`, true for the tokens that end a row.
        length: maximal length of a generated sequence; the last axis of `token_ids`.
        limits: int32 `[rows]`, maximal number of generated tokens of each row.
        prompt_ids: int32 `[rows, prompt length]`, left-padded prompts.
        padding: int32 `[rows]`, number of padding tokens, or 0.
    """

    processors: Sequence[LogitsProcessor]
    end_id: int
    ends: Any
    length: int
    limits: Any
    prompt_ids: Any
    padding: Any

    def is_end(self, tokens: Any) -> Any:
        """Return bool of the shape of `tokens`, whether each of them ends a row."""
        return ops.take(self.ends, tokens, axis=0)

    def process(self, logits: Any, token_ids: Any, count: Any, width: int) -> Any:
        """Return logits `[rows * width, vocabulary]` after every processor.

        Args:
            token_ids: int32 `[rows * width, length]`, the tokens generated so far.
            count: int32, their number.
        """
        prompt_ids, padding = repeat_rows(self.prompt_ids, width), self.padding
        if not isinstance(padding, int):
            padding = ops.expand_dims(repeat_rows(padding, width), 1)
        generated = GeneratedTokens(token_ids, count, prompt_ids, padding)
        return apply_processors(self.processors, logits, generated)


class Strategy(Protocol):
    """Protocol of decoding strategies: hashable values with pure functions of nests of tensors.

    Strategies that share a compiled program are equal; their `arrays` may differ.

    Attributes:
        width: number of sequences decoded for each row.
    """

    @property
    def width(self) -> int: ...

    def arrays(self, rows: int) -> State:
        """Return arrays that are inputs of the program, with an entry for each row."""

    def begin(self, context: StrategyContext, rows: int, arrays: State) -> State:
        """Return the state before the first token, with `token_ids` `[rows * width, length]`."""

    def choose(
        self, context: StrategyContext, state: State, logits: Any, count: Any
    ) -> tuple[State, Any, Any | None]:
        """Choose one more token for each sequence.

        Args:
            logits: float32 `[rows * width, vocabulary]`.
            count: int32, number of tokens generated before.

        Returns:
            The state, the tokens `[rows * width]`, and the sequence that each continues
            `[rows * width]`, or None if each continues its own.
        """

    def done(self, context: StrategyContext, state: State, count: Any) -> Any:
        """Return bool, whether another token changes nothing."""

    def finish(self, context: StrategyContext, state: State, count: Any) -> State:
        """Return `token_ids` `[rows, length]`, `lengths` and `log_probs` `[rows]` of the best."""


@dataclass(frozen=True)
class Greedy:
    """Greedy search: the likeliest token."""

    @property
    def width(self) -> int:
        return 1

    def arrays(self, rows: int) -> State:
        return {}

    def begin(self, context: StrategyContext, rows: int, arrays: State) -> State:
        total = rows * self.width
        return {
            "token_ids": ops.full((total, context.length), context.end_id, dtype="int32"),
            "done": ops.zeros((total,), "bool"),
            "lengths": ops.zeros((total,), "int32"),
            "log_probs": ops.zeros((total,), "float32"),
            **{name: repeat_rows(array, self.width) for name, array in arrays.items()},
        }

    def choose(
        self, context: StrategyContext, state: State, logits: Any, count: Any
    ) -> tuple[State, Any, Any | None]:
        logits = context.process(logits, state["token_ids"], count, self.width)
        tokens = ops.cast(self._pick(state, logits, count), "int32")
        log_probs = ops.take_along_axis(logits, ops.expand_dims(tokens, 1), axis=1)[:, 0]
        log_probs = log_probs - ops.logsumexp(logits, axis=-1)
        tokens = ops.where(state["done"], context.end_id, tokens)
        ended = ops.logical_or(state["done"], context.is_end(tokens))
        full = ops.greater_equal(count + 1, repeat_rows(context.limits, self.width))
        state = state | {
            "token_ids": write_token(state["token_ids"], tokens, count),
            "log_probs": state["log_probs"] + ops.where(state["done"], 0.0, log_probs),
            "lengths": state["lengths"] + ops.cast(ops.logical_not(ended), "int32"),
            "done": ops.logical_or(state["done"], ops.logical_or(ended, full)),
        }
        return state, tokens, None

    def done(self, context: StrategyContext, state: State, count: Any) -> Any:
        return ops.all(state["done"])

    def finish(self, context: StrategyContext, state: State, count: Any) -> State:
        return {name: state[name] for name in ("token_ids", "lengths", "log_probs")}

    def _pick(self, state: State, logits: Any, count: Any) -> Any:
        return ops.argmax(logits, axis=-1)


@dataclass(frozen=True)
class Sample(Greedy):
    """Sampling; the likeliest of several samples.

    A row's tokens depend on its own logits, temperature and seed alone, and are the same on every
    backend up to rounding.

    The best sample has the highest sum of log-probabilities over its length. Log-probabilities
    are those at temperature 1. Source: openai/whisper, whisper/decoding.py, GreedyDecoder and
    MaximumLikelihoodRanker.

    Args:
        temperature: divisor of the logits, one number or one for each row; 0 is greedy search.
        samples: number of samples for each row.
        seed: int, or one for each row. With one seed the rows draw different numbers.
        length_penalty: `None` ranks by the sum over the length, a number `a` by the sum over
            `((5 + length) / 6) ** a` (Wu et al., 2016, arXiv:1609.08144).
    """

    temperature: float | Sequence[float] = field(default=1.0, compare=False)
    samples: int = 1
    seed: int | Sequence[int] = field(default=0, compare=False)
    length_penalty: float | None = None

    def __post_init__(self) -> None:
        if np.min(self.temperature) < 0:
            raise InputError(f"temperature={self.temperature}. Pass 0 or a positive number.")
        _check_positive("samples", self.samples)

    @property
    def width(self) -> int:
        return self.samples

    def arrays(self, rows: int) -> State:
        seeds, temperatures = np.asarray(self.seed, np.int64), np.asarray(self.temperature)
        for name, array in {"seed": seeds, "temperature": temperatures}.items():
            if array.shape not in ((), (rows,)):
                raise InputError(
                    f"{name} has {len(array)} entries for {rows} rows. Pass one number, or one "
                    "for each row."
                )
        if seeds.ndim == 0:
            seeds = seeds + np.arange(rows) * 0x9E3779B1
        return {
            "temperature": np.broadcast_to(temperatures.astype(np.float32), rows),
            # To 32 bits, wrapping around.
            "seed": seeds.astype(np.uint32).view(np.int32),
        }

    def begin(self, context: StrategyContext, rows: int, arrays: State) -> State:
        state = super().begin(context, rows, arrays)
        numbers = ops.tile(ops.arange(self.width, dtype="int32"), (rows,))
        return state | {"seed": state["seed"] + numbers * 0x3C6EF372}

    def _pick(self, state: State, logits: Any, count: Any) -> Any:
        temperature = ops.expand_dims(state["temperature"], 1)
        noise = gumbel_noise(state["seed"], count, logits.shape[-1])
        warm = temperature > 0
        return ops.argmax(
            ops.where(warm, logits / ops.where(warm, temperature, 1.0) + noise, logits), axis=-1
        )

    def finish(self, context: StrategyContext, state: State, count: Any) -> State:
        found = super().finish(context, state, count)
        if self.width == 1:
            return found
        rank = found["log_probs"] / length_norm(found["lengths"], self.length_penalty)
        best = ops.argmax(ops.reshape(rank, (-1, self.width)), axis=1)
        return {
            name: pick_per_row(ops.reshape(array, (-1, self.width, *array.shape[1:])), best)
            for name, array in found.items()
        }


def length_norm(lengths: Any, penalty: float | None) -> Any:
    """Return the divisor of a sum of log-probabilities; lengths don't count the end token."""
    lengths = ops.cast(lengths, "float32")
    if penalty is None:
        return ops.maximum(lengths, 1.0)
    return ((5.0 + lengths) / 6.0) ** penalty


def repeat_rows(array: Any, width: int) -> Any:
    """Repeat rows, `[rows, ...]` to `[rows * width, ...]`, with the copies of a row together."""
    return array if width == 1 else ops.repeat(array, width, axis=0)


def write_token(token_ids: Any, tokens: Any, count: Any) -> Any:
    """Return `token_ids` `[..., length]` with `tokens` `[...]` at the index `count`."""
    here = ops.equal(ops.arange(token_ids.shape[-1], dtype="int32"), count)
    return ops.where(here, ops.expand_dims(tokens, -1), token_ids)


def pick_per_row(array: Any, index: Any) -> Any:
    """Return of `[rows, n, ...]` the entries `[rows, ...]` at `index` `[rows]`."""
    return gather_per_row(array, ops.expand_dims(index, 1))[:, 0]


def gather_per_row(array: Any, index: Any) -> Any:
    """Return of `[rows, n, ...]` the entries `[rows, k, ...]` at `index` `[rows, k]`."""
    shape = (*index.shape, *(1,) * (len(array.shape) - 2))
    return ops.take_along_axis(array, ops.reshape(index, shape), axis=1)


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise InputError(f"{name}={value}. Pass a positive int.")
