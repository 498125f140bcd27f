"""Beam search as transformers does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from inarch.errors import InputError
from inarch.generation.strategy import State, StrategyContext, gather_per_row, write_token
from inarch.generation.vocabulary import best_continuations, log_probabilities

ops: Any = keras.ops  # Typed, every result may be None.

# Added to the scores of finished sequences, as in transformers.
LOWEST_SCORE = -1e9


@dataclass(frozen=True)
class BeamSearch:
    """Beam search with the sequences of transformers.

    Scores are sums of log-probabilities over `length ** length_penalty`, where the length counts
    the end token. Processors apply to log-probabilities, which aren't normalised again.

    Source: huggingface/transformers, generation/utils.py, `_beam_search`.

    Args:
        beams: number of beams of each row.
        length_penalty: positive values favour long sequences, negative ones short sequences.
        early_stopping: True ends a row when it has `beams` finished sequences. False ends it when
            the best running sequence wouldn't win if it ended now, a heuristic. `"never"` ends it
            when no running sequence can win.
        num_return_sequences: number of sequences that are returned of each row, the best first.
    """

    beams: int = 5
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    num_return_sequences: int = 1

    def __post_init__(self) -> None:
        if self.beams < 1:
            raise InputError(f"beams={self.beams}. Pass a positive int.")
        if self.early_stopping not in (True, False, "never"):
            raise InputError(
                f"early_stopping={self.early_stopping!r}. Pass True, False or 'never'."
            )
        if not 1 <= self.num_return_sequences <= self.beams:
            raise InputError(
                f"num_return_sequences={self.num_return_sequences} and beams={self.beams}. Pass "
                "from 1 to as many as there are beams."
            )

    @property
    def width(self) -> int:
        return self.beams

    def arrays(self, rows: int) -> State:
        return {}

    def begin(self, context: StrategyContext, rows: int, arrays: State) -> State:
        shape = (rows, self.beams)
        empty = ops.full((*shape, context.length), context.end_id, dtype="int32")
        return {
            "token_ids": ops.reshape(empty, (-1, context.length)),
            "scores": initial_scores(rows, self.beams, LOWEST_SCORE),
            "finished_ids": empty,
            "finished_scores": ops.full(shape, LOWEST_SCORE, dtype="float32"),
            "finished_sums": ops.zeros(shape, "float32"),
            "finished_lengths": ops.zeros(shape, "int32"),
            "finished": ops.zeros(shape, "bool"),
            "open": ops.ones((rows, 1), "bool"),
        }

    def choose(
        self, context: StrategyContext, state: State, logits: Any, count: Any
    ) -> tuple[State, Any, Any | None]:
        log_probs = log_probabilities(logits)
        log_probs = context.process(log_probs, state["token_ids"], count, self.width)
        sums, tokens, beams = best_continuations(log_probs, state["scores"])
        sequences = extend_sequences(state["token_ids"], tokens, beams, count)
        stops = ops.logical_or(context.is_end(tokens), self._full(context, count))

        running = sums + ops.cast(stops, "float32") * LOWEST_SCORE
        scores, order = ops.top_k(running, self.beams)
        kept, tokens, beams = (gather_per_row(x, order) for x in (sequences, tokens, beams))
        state = self._with_finished(context, state, sequences, sums, stops, count)
        state |= {"token_ids": ops.reshape(kept, (-1, context.length)), "scores": scores}
        state |= {"open": self._open(context, state, count + 1)}
        return state, ops.reshape(tokens, (-1,)), parent_beams(beams)

    def done(self, context: StrategyContext, state: State, count: Any) -> Any:
        ended = ops.logical_not(state["open"])
        if self.early_stopping is True:
            ended = ops.logical_or(ended, ops.all(state["finished"], axis=1, keepdims=True))
        return ops.all(ops.logical_or(ended, self._full(context, count - 1)))

    def finish(self, context: StrategyContext, state: State, count: Any) -> State:
        found = {
            "token_ids": state["finished_ids"],
            "lengths": state["finished_lengths"],
            "log_probs": state["finished_sums"],
        }
        best = {name: array[:, : self.num_return_sequences] for name, array in found.items()}
        return {n: ops.reshape(array, (-1, *array.shape[2:])) for n, array in best.items()}

    def _full(self, context: StrategyContext, count: Any) -> Any:
        """Return bool `[rows, 1]`, whether the token after `count` others is the last of a row."""
        return ops.expand_dims(ops.greater_equal(count + 1, context.limits), 1)

    def _with_finished(
        self,
        context: StrategyContext,
        state: State,
        sequences: Any,
        sums: Any,
        stops: Any,
        count: Any,
    ) -> State:
        """Return the state with the best finished sequences, those that end now included."""
        first = ops.arange(2 * self.beams, dtype="int32")[None] < self.beams
        ends = ops.logical_and(stops, first)
        scores = sums / ops.cast(count + 1, "float32") ** self.length_penalty
        excluded = ops.cast(ops.logical_not(state["open"]), "float32")
        if self.early_stopping is True:
            excluded += ops.cast(ops.all(state["finished"], axis=1, keepdims=True), "float32")
        scores = (
            scores
            + excluded * LOWEST_SCORE
            + ops.cast(ops.logical_not(ends), "float32") * LOWEST_SCORE
        )

        here = sequences[:, :, 0] * 0 + count + 1
        last = ops.max(ops.where(ops.arange(context.length) == count, sequences, 0), axis=-1)
        lengths = ops.cast(here - ops.cast(context.is_end(last), "int32"), "int32")
        merged = {
            "finished_scores": (state["finished_scores"], scores),
            "finished_ids": (state["finished_ids"], sequences),
            "finished_sums": (state["finished_sums"], sums),
            "finished_lengths": (state["finished_lengths"], lengths),
            "finished": (state["finished"], ends),
        }
        joined = {name: ops.concatenate(pair, axis=1) for name, pair in merged.items()}
        _, order = ops.top_k(joined["finished_scores"], self.beams)
        return state | {name: gather_per_row(array, order) for name, array in joined.items()}

    def _open(self, context: StrategyContext, state: State, count: Any) -> Any:
        """Return bool `[rows, 1]`, whether a running beam can still become the best."""
        length = ops.cast(count, "float32")
        if self.early_stopping == "never" and self.length_penalty > 0:
            length = ops.cast(ops.expand_dims(context.limits, 1), "float32")
        best = state["scores"][:, :1] / length**self.length_penalty
        worst = ops.min(state["finished_scores"], axis=1, keepdims=True)
        worst = ops.where(state["finished"], worst, LOWEST_SCORE)
        return ops.logical_and(state["open"], ops.any(best > worst, axis=-1, keepdims=True))


def initial_scores(rows: int, beams: int, lowest: float) -> Any:
    """Return initial scores `[rows, beams]`: beams are equal, so only the first may continue."""
    first = ops.arange(beams, dtype="int32")[None] == 0
    return ops.where(first, 0.0, lowest) + ops.zeros((rows, 1), "float32")


def extend_sequences(token_ids: Any, tokens: Any, beams: Any, count: Any) -> Any:
    """Return the sequences `[rows, k, length]` of `beams` `[rows, k]` with their next tokens."""
    length = token_ids.shape[-1]
    before = ops.reshape(token_ids, (beams.shape[0], -1, length))
    return write_token(gather_per_row(before, beams), tokens, count)


def parent_beams(beams: Any) -> Any:
    """Return beams `[rows, width]` as indices of all sequences, `[rows * width]`."""
    rows, width = beams.shape
    starts = ops.expand_dims(ops.arange(rows, dtype="int32") * width, 1)
    return ops.reshape(ops.cast(beams, "int32") + starts, (-1,))
