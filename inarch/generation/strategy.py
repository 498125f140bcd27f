"""How the next tokens are chosen: what all ways have in common, the likeliest, and by chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import keras
import numpy as np

from inarch.errors import InputError
from inarch.generation.chance import gumbel_noise
from inarch.generation.rules import Rule, Trace, applied

ops: Any = keras.ops  # Typed, every result may be None.

State = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """What a strategy is told of the decoding that it steers.

    Attributes:
        rules: rules on logits.
        end_id: the end token.
        length: the longest that a generated sequence may be; the shape of every trace.
        limits: int32 `[rows]`, the most tokens that each row may get.
    """

    rules: Sequence[Rule]
    end_id: int
    length: int
    limits: Any


class Strategy(Protocol):
    """A way of choosing tokens: a hashable value with pure functions of a nest of tensors.

    Two strategies are equal where the same program serves both; their `arrays` may differ.

    Attributes:
        width: sequences that are decoded for each row.
    """

    @property
    def width(self) -> int: ...

    def arrays(self, rows: int) -> State:
        """What the program takes beside the logits, with an entry for each row."""

    def begin(self, task: Task, rows: int, arrays: State) -> State:
        """The state before the first token. `token_ids` `[rows * width, length]` is in it."""

    def choose(
        self, task: Task, state: State, logits: Any, count: Any
    ) -> tuple[State, Any, Any | None]:
        """The state with one more token.

        Args:
            logits: float32 `[rows * width, vocabulary]`.
            count: int32, the number of tokens generated before.

        Returns:
            The state, the tokens `[rows * width]`, and for each of them which sequence it
            continues `[rows * width]`, or None if each continues its own.
        """

    def done(self, task: Task, state: State, count: Any) -> Any:
        """bool: whether another token changes nothing."""

    def finish(self, task: Task, state: State, count: Any) -> State:
        """`token_ids` `[rows, length]`, `lengths` and `log_probs` `[rows]`: the best of each."""


@dataclass(frozen=True)
class Greedy:
    """The likeliest token, always."""

    @property
    def width(self) -> int:
        return 1

    def arrays(self, rows: int) -> State:
        return {}

    def begin(self, task: Task, rows: int, arrays: State) -> State:
        total = rows * self.width
        return {
            "token_ids": ops.full((total, task.length), task.end_id, dtype="int32"),
            "done": ops.zeros((total,), "bool"),
            "lengths": ops.zeros((total,), "int32"),
            "log_probs": ops.zeros((total,), "float32"),
            **{name: repeated(array, self.width) for name, array in arrays.items()},
        }

    def choose(
        self, task: Task, state: State, logits: Any, count: Any
    ) -> tuple[State, Any, Any | None]:
        logits = applied(task.rules, logits, Trace(state["token_ids"], count))
        tokens = ops.cast(self._pick(state, logits, count), "int32")
        chances = ops.take_along_axis(logits, ops.expand_dims(tokens, 1), axis=1)[:, 0]
        chances = chances - ops.logsumexp(logits, axis=-1)
        tokens = ops.where(state["done"], task.end_id, tokens)
        ended = ops.equal(tokens, task.end_id)
        full = ops.greater_equal(count + 1, repeated(task.limits, self.width))
        state = state | {
            "token_ids": written(state["token_ids"], tokens, count),
            "log_probs": state["log_probs"] + ops.where(state["done"], 0.0, chances),
            "lengths": state["lengths"] + ops.cast(ops.logical_not(ended), "int32"),
            "done": ops.logical_or(state["done"], ops.logical_or(ended, full)),
        }
        return state, tokens, None

    def done(self, task: Task, state: State, count: Any) -> Any:
        return ops.all(state["done"])

    def finish(self, task: Task, state: State, count: Any) -> State:
        return {name: state[name] for name in ("token_ids", "lengths", "log_probs")}

    def _pick(self, state: State, logits: Any, count: Any) -> Any:
        return ops.argmax(logits, axis=-1)


@dataclass(frozen=True)
class Sample(Greedy):
    """Tokens by chance, and of `samples` tries the likeliest.

    A row's tokens depend on its own logits, temperature and seed alone, and with the same seed
    they are the same on every backend, as far as rounding lets them.

    The best try has the highest sum of log-probabilities over its length. Log-probabilities are
    those at temperature 1. Source: openai/whisper, whisper/decoding.py, GreedyDecoder and
    MaximumLikelihoodRanker.

    Args:
        temperature: what logits are divided by, one number or one for each row; 0 takes the
            likeliest token.
        samples: tries for each row.
        seed: int, or one for each row. Rows of one seed draw different numbers.
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

    def begin(self, task: Task, rows: int, arrays: State) -> State:
        state = super().begin(task, rows, arrays)
        tries = ops.tile(ops.arange(self.width, dtype="int32"), (rows,))
        return state | {"seed": state["seed"] + tries * 0x3C6EF372}

    def _pick(self, state: State, logits: Any, count: Any) -> Any:
        temperature = ops.expand_dims(state["temperature"], 1)
        noise = gumbel_noise(state["seed"], count, logits.shape[-1])
        warm = temperature > 0
        return ops.argmax(
            ops.where(warm, logits / ops.where(warm, temperature, 1.0) + noise, logits), axis=-1
        )

    def finish(self, task: Task, state: State, count: Any) -> State:
        found = super().finish(task, state, count)
        if self.width == 1:
            return found
        rank = found["log_probs"] / length_norm(found["lengths"], self.length_penalty)
        best = ops.argmax(ops.reshape(rank, (-1, self.width)), axis=1)
        return {
            name: picked(ops.reshape(array, (-1, self.width, *array.shape[1:])), best)
            for name, array in found.items()
        }


def length_norm(lengths: Any, penalty: float | None) -> Any:
    """What a sum of log-probabilities is divided by for a length, end token not counted."""
    lengths = ops.cast(lengths, "float32")
    if penalty is None:
        return ops.maximum(lengths, 1.0)
    return ((5.0 + lengths) / 6.0) ** penalty


def repeated(array: Any, width: int) -> Any:
    """`[rows, ...]` to `[rows * width, ...]`, the copies of a row side by side."""
    return array if width == 1 else ops.repeat(array, width, axis=0)


def written(token_ids: Any, tokens: Any, count: Any) -> Any:
    """`[..., length]` with `tokens` `[...]` at the index `count`."""
    here = ops.equal(ops.arange(token_ids.shape[-1], dtype="int32"), count)
    return ops.where(here, ops.expand_dims(tokens, -1), token_ids)


def picked(array: Any, index: Any) -> Any:
    """Of `[rows, n, ...]` the entries `[rows, ...]` at `index` `[rows]`."""
    return gathered(array, ops.expand_dims(index, 1))[:, 0]


def gathered(array: Any, index: Any) -> Any:
    """Of `[rows, n, ...]` the entries `[rows, k, ...]` at `index` `[rows, k]`."""
    shape = (*index.shape, *(1,) * (len(array.shape) - 2))
    return ops.take_along_axis(array, ops.reshape(index, shape), axis=1)


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise InputError(f"{name}={value}. Pass a positive int.")
