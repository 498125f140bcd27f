"""Beam search as OpenAI's Whisper does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from inarch.errors import InputError
from inarch.generation.beam import best_continuations, continued, first_beam_alone, sources
from inarch.generation.rules import FORBIDDEN, Trace, applied
from inarch.generation.strategy import State, Task, gathered, length_norm, picked

ops: Any = keras.ops  # Typed, every result may be None.


@dataclass(frozen=True)
class PatientBeamSearch:
    """The likeliest sequences by a search that ends when it has seen enough of them end.

    A row is done when `beams * patience` sequences have ended, the first that do
    (Kasai et al., 2022, arXiv:2204.05424). At its limit the running ones fill up to `beams`. The
    best has the highest sum of log-probabilities over its length, end token not counted. Rules
    apply to logits, and probabilities are normalised after them.

    Source: openai/whisper, whisper/decoding.py, BeamSearchDecoder and MaximumLikelihoodRanker.

    Args:
        beams: sequences that are kept for each row.
        patience: how many sequences have to end, as a multiple of `beams`.
        length_penalty: as in `Sample`.
    """

    beams: int = 5
    patience: float = 1.0
    length_penalty: float | None = None

    def __post_init__(self) -> None:
        for name, value in {"beams": self.beams, "beams * patience": self._wanted}.items():
            if value < 1:
                raise InputError(f"{name} is {value}. Pass values that give 1 or more.")

    @property
    def width(self) -> int:
        return self.beams

    @property
    def _wanted(self) -> int:
        return round(self.beams * self.patience)

    def arrays(self, rows: int) -> State:
        return {}

    def begin(self, task: Task, rows: int, arrays: State) -> State:
        # Room for those that end, and for the running ones that fill up.
        shape = (rows, self._wanted + self.beams)
        return {
            "token_ids": ops.full((rows * self.beams, task.length), task.end_id, dtype="int32"),
            "sums": first_beam_alone(rows, self.beams, FORBIDDEN),
            "found": ops.full((*shape, task.length), task.end_id, dtype="int32"),
            "found_sums": ops.full(shape, FORBIDDEN, dtype="float32"),
            "found_lengths": ops.zeros(shape, "int32"),
            "found_count": ops.zeros((rows, 1), "int32"),
            "done": ops.zeros((rows, 1), "bool"),
        }

    def choose(
        self, task: Task, state: State, logits: Any, count: Any
    ) -> tuple[State, Any, Any | None]:
        logits = applied(task.rules, logits, Trace(state["token_ids"], count))
        log_probs = logits - ops.logsumexp(logits, axis=-1, keepdims=True)
        sums, tokens, beams = best_continuations(log_probs, state["sums"])
        goes_on = ops.not_equal(tokens, task.end_id)
        going = ops.cast(goes_on, "int32")
        place = ops.cast(ops.cumsum(going, axis=1), "int32") - going
        sequences = continued(state["token_ids"], tokens, beams, count)
        running = ops.logical_not(state["done"])

        # One that ends counts if it is better than the last of those that go on.
        ends = ops.logical_and(ops.logical_not(goes_on), place < self.beams)
        ends = ops.logical_and(running, ops.logical_and(ends, sums > FORBIDDEN))
        state = _with_found(state, sequences, sums, count, ends, self._wanted)

        order = ops.argsort(ops.where(goes_on, place, 2 * self.beams), axis=1)[:, : self.beams]
        sequences, sums, tokens, beams = (
            gathered(x, order) for x in (sequences, sums, tokens, beams)
        )
        full = ops.expand_dims(ops.greater_equal(count + 1, task.limits), 1)
        ending = ops.logical_or(full, state["found_count"] >= self._wanted)
        unfinished = ops.logical_and(ops.logical_and(running, ending), sums > FORBIDDEN)
        state = _with_found(state, sequences, sums, count + 1, unfinished, self.beams)
        state |= {
            "token_ids": ops.reshape(sequences, (-1, task.length)),
            "sums": sums,
            "done": ops.logical_or(state["done"], ending),
        }
        return state, ops.reshape(tokens, (-1,)), sources(beams)

    def done(self, task: Task, state: State, count: Any) -> Any:
        return ops.all(state["done"])

    def finish(self, task: Task, state: State, count: Any) -> State:
        rank = state["found_sums"] / length_norm(state["found_lengths"], self.length_penalty)
        best = ops.argmax(rank, axis=1)
        return {
            "token_ids": picked(state["found"], best),
            "lengths": picked(state["found_lengths"], best),
            "log_probs": picked(state["found_sums"], best),
        }


def _with_found(
    state: State, sequences: Any, sums: Any, lengths: Any, wanted: Any, room: int
) -> State:
    """The state with those sequences that are wanted put behind the ones found, in their order.

    Args:
        sequences: int32 `[rows, n, length]`.
        sums: float32 `[rows, n]`.
        lengths: int32, of all of them.
        wanted: bool `[rows, n]`.
        room: the most that may stand there after.
    """
    added = ops.cast(wanted, "int32")
    places = state["found_count"] + ops.cast(ops.cumsum(added, axis=1), "int32") - added
    wanted = ops.logical_and(wanted, places < room)
    slots = ops.arange(state["found"].shape[1], dtype="int32")
    slots = ops.reshape(slots, (1, -1, 1))
    goes_here = ops.logical_and(
        ops.equal(slots, ops.expand_dims(places, 1)), ops.expand_dims(wanted, 1)
    )
    taken = ops.any(goes_here, axis=2)
    source = ops.cast(ops.argmax(ops.cast(goes_here, "int32"), axis=2), "int32")
    return state | {
        "found": ops.where(ops.expand_dims(taken, 2), gathered(sequences, source), state["found"]),
        "found_sums": ops.where(taken, gathered(sums, source), state["found_sums"]),
        "found_lengths": ops.where(taken, lengths, state["found_lengths"]),
        "found_count": state["found_count"]
        + ops.sum(ops.cast(wanted, "int32"), axis=1, keepdims=True),
    }
