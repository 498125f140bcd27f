"""Beam search as OpenAI's Whisper does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from inarch.errors import InputError
from inarch.generation.beam import extend_sequences, initial_scores, parent_beams
from inarch.generation.logits_processors import NEG_INF
from inarch.generation.strategy import (
    State,
    StrategyContext,
    gather_per_row,
    length_norm,
    pick_per_row,
)
from inarch.generation.vocabulary import best_continuations, log_probabilities

ops: Any = keras.ops  # Typed, every result may be None.


@dataclass(frozen=True)
class WhisperBeamSearch:
    """Beam search with patience, with the sequences of openai-whisper.

    A row ends with the first `beams * patience` finished sequences (Kasai et al., 2022,
    arXiv:2204.05424). At the limit of its length running sequences count as finished, up to
    `beams`. The best has the highest sum of log-probabilities over its length without the end
    token. Processors apply to logits, and probabilities are normalised after them.

    Source: openai/whisper, whisper/decoding.py, BeamSearchDecoder and MaximumLikelihoodRanker.

    Args:
        beams: number of beams of each row.
        patience: number of finished sequences that end a row, as a multiple of `beams`.
        length_penalty: as in `Sample`.
    """

    beams: int = 5
    patience: float = 1.0
    length_penalty: float | None = None

    def __post_init__(self) -> None:
        for name, value in {"beams": self.beams, "beams * patience": self._finished_limit}.items():
            if value < 1:
                raise InputError(f"{name} is {value}. Pass values that give 1 or more.")

    @property
    def width(self) -> int:
        return self.beams

    @property
    def _finished_limit(self) -> int:
        return round(self.beams * self.patience)

    def arrays(self, rows: int) -> State:
        return {}

    def begin(self, context: StrategyContext, rows: int, arrays: State) -> State:
        # Room for those that end, and for the running ones at the limit.
        length = context.length
        shape = (rows, self._finished_limit + self.beams)
        return {
            "token_ids": ops.full((rows * self.beams, length), context.end_id, dtype="int32"),
            "sums": initial_scores(rows, self.beams, NEG_INF),
            "finished_ids": ops.full((*shape, length), context.end_id, dtype="int32"),
            "finished_sums": ops.full(shape, NEG_INF, dtype="float32"),
            "finished_lengths": ops.zeros(shape, "int32"),
            "finished_count": ops.zeros((rows, 1), "int32"),
            "done": ops.zeros((rows, 1), "bool"),
        }

    def choose(
        self, context: StrategyContext, state: State, logits: Any, count: Any
    ) -> tuple[State, Any, Any | None]:
        logits = context.process(logits, state["token_ids"], count, self.width)
        log_probs = log_probabilities(logits)
        sums, tokens, beams = best_continuations(log_probs, state["sums"])
        continues = ops.logical_not(context.is_end(tokens))
        running_count = ops.cast(continues, "int32")
        place = ops.cast(ops.cumsum(running_count, axis=1), "int32") - running_count
        sequences = extend_sequences(state["token_ids"], tokens, beams, count)
        running = ops.logical_not(state["done"])

        # An ended one counts if it is better than the last of those that continue.
        ends = ops.logical_and(ops.logical_not(continues), place < self.beams)
        ends = ops.logical_and(running, ops.logical_and(ends, sums > NEG_INF))
        state = _append_finished(state, sequences, sums, count, ends, self._finished_limit)

        order = ops.argsort(ops.where(continues, place, 2 * self.beams), axis=1)[:, : self.beams]
        sequences, sums, tokens, beams = (
            gather_per_row(x, order) for x in (sequences, sums, tokens, beams)
        )
        full = ops.expand_dims(ops.greater_equal(count + 1, context.limits), 1)
        ending = ops.logical_or(full, state["finished_count"] >= self._finished_limit)
        unfinished = ops.logical_and(ops.logical_and(running, ending), sums > NEG_INF)
        state = _append_finished(state, sequences, sums, count + 1, unfinished, self.beams)
        state |= {
            "token_ids": ops.reshape(sequences, (-1, context.length)),
            "sums": sums,
            "done": ops.logical_or(state["done"], ending),
        }
        return state, ops.reshape(tokens, (-1,)), parent_beams(beams)

    def done(self, context: StrategyContext, state: State, count: Any) -> Any:
        return ops.all(state["done"])

    def finish(self, context: StrategyContext, state: State, count: Any) -> State:
        rank = state["finished_sums"] / length_norm(state["finished_lengths"], self.length_penalty)
        best = ops.argmax(rank, axis=1)
        return {
            "token_ids": pick_per_row(state["finished_ids"], best),
            "lengths": pick_per_row(state["finished_lengths"], best),
            "log_probs": pick_per_row(state["finished_sums"], best),
        }


def _append_finished(
    state: State, sequences: Any, sums: Any, lengths: Any, wanted: Any, room: int
) -> State:
    """Return the state with sequences appended to the finished ones, in their order.

    Args:
        sequences: int32 `[rows, n, length]`.
        sums: float32 `[rows, n]`.
        lengths: int32, of all of them.
        wanted: bool `[rows, n]`, the sequences to append.
        room: maximal number of finished sequences afterwards.
    """
    added = ops.cast(wanted, "int32")
    places = state["finished_count"] + ops.cast(ops.cumsum(added, axis=1), "int32") - added
    wanted = ops.logical_and(wanted, places < room)
    slots = ops.arange(state["finished_ids"].shape[1], dtype="int32")
    slots = ops.reshape(slots, (1, -1, 1))
    goes_here = ops.logical_and(
        ops.equal(slots, ops.expand_dims(places, 1)), ops.expand_dims(wanted, 1)
    )
    taken = ops.any(goes_here, axis=2)
    source = ops.cast(ops.argmax(ops.cast(goes_here, "int32"), axis=2), "int32")
    return state | {
        "finished_ids": ops.where(
            ops.expand_dims(taken, 2), gather_per_row(sequences, source), state["finished_ids"]
        ),
        "finished_sums": ops.where(taken, gather_per_row(sums, source), state["finished_sums"]),
        "finished_lengths": ops.where(taken, lengths, state["finished_lengths"]),
        "finished_count": state["finished_count"]
        + ops.sum(ops.cast(wanted, "int32"), axis=1, keepdims=True),
    }
