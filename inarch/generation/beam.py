"""Beam search as transformers does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from inarch.errors import InputError
from inarch.generation.rules import Trace, applied
from inarch.generation.strategy import State, Task, gathered, written

ops: Any = keras.ops  # Typed, every result may be None.

# What is added to the score of a sequence that is out, as in the original.
OUT = -1e9


@dataclass(frozen=True)
class BeamSearch:
    """The likeliest sequences by a search over several beams at once.

    Scores are sums of log-probabilities over `length ** length_penalty`, with the end token
    counted. Rules apply to log-probabilities, which aren't normalised again.

    Source: huggingface/transformers, generation/utils.py, `_beam_search`, of which it gives the
    sequences.

    Args:
        beams: sequences that are kept for each row.
        length_penalty: above 0 long sequences gain, below 0 short ones.
        early_stopping: True ends a row when it has `beams` finished sequences. False ends it when
            the best running one couldn't win if it ended now, which is a guess. `"never"` ends it
            when none can win.
    """

    beams: int = 5
    length_penalty: float = 1.0
    early_stopping: bool | str = False

    def __post_init__(self) -> None:
        if self.beams < 1:
            raise InputError(f"beams={self.beams}. Pass a positive int.")
        if self.early_stopping not in (True, False, "never"):
            raise InputError(
                f"early_stopping={self.early_stopping!r}. Pass True, False or 'never'."
            )

    @property
    def width(self) -> int:
        return self.beams

    def arrays(self, rows: int) -> State:
        return {}

    def begin(self, task: Task, rows: int, arrays: State) -> State:
        shape = (rows, self.beams)
        empty = ops.full((*shape, task.length), task.end_id, dtype="int32")
        return {
            "token_ids": ops.reshape(empty, (-1, task.length)),
            "scores": first_beam_alone(rows, self.beams, OUT),
            "found": empty,
            "found_scores": ops.full(shape, OUT, dtype="float32"),
            "found_sums": ops.zeros(shape, "float32"),
            "found_lengths": ops.zeros(shape, "int32"),
            "finished": ops.zeros(shape, "bool"),
            "open": ops.ones((rows, 1), "bool"),
        }

    def choose(
        self, task: Task, state: State, logits: Any, count: Any
    ) -> tuple[State, Any, Any | None]:
        log_probs = logits - ops.logsumexp(logits, axis=-1, keepdims=True)
        log_probs = applied(task.rules, log_probs, Trace(state["token_ids"], count))
        sums, tokens, beams = best_continuations(log_probs, state["scores"])
        sequences = continued(state["token_ids"], tokens, beams, count)
        stops = ops.logical_or(ops.equal(tokens, task.end_id), self._full(task, count))

        running = sums + ops.cast(stops, "float32") * OUT
        scores, order = ops.top_k(running, self.beams)
        kept, tokens, beams = (gathered(x, order) for x in (sequences, tokens, beams))
        state = self._with_finished(task, state, sequences, sums, stops, count)
        state |= {"token_ids": ops.reshape(kept, (-1, task.length)), "scores": scores}
        state |= {"open": self._open(task, state, count + 1)}
        return state, ops.reshape(tokens, (-1,)), sources(beams)

    def done(self, task: Task, state: State, count: Any) -> Any:
        ended = ops.logical_not(state["open"])
        if self.early_stopping is True:
            ended = ops.logical_or(ended, ops.all(state["finished"], axis=1, keepdims=True))
        return ops.all(ops.logical_or(ended, self._full(task, count - 1)))

    def finish(self, task: Task, state: State, count: Any) -> State:
        return {
            "token_ids": state["found"][:, 0],
            "lengths": state["found_lengths"][:, 0],
            "log_probs": state["found_sums"][:, 0],
        }

    def _full(self, task: Task, count: Any) -> Any:
        """bool `[rows, 1]`: whether the token after `count` others is a row's last."""
        return ops.expand_dims(ops.greater_equal(count + 1, task.limits), 1)

    def _with_finished(
        self, task: Task, state: State, sequences: Any, sums: Any, stops: Any, count: Any
    ) -> State:
        """The state with the best of the sequences that had ended and of those that end now."""
        first = ops.arange(2 * self.beams, dtype="int32")[None] < self.beams
        ends = ops.logical_and(stops, first)
        scores = sums / ops.cast(count + 1, "float32") ** self.length_penalty
        barred = ops.cast(ops.logical_not(state["open"]), "float32")
        if self.early_stopping is True:
            barred += ops.cast(ops.all(state["finished"], axis=1, keepdims=True), "float32")
        scores = scores + barred * OUT + ops.cast(ops.logical_not(ends), "float32") * OUT

        here = sequences[:, :, 0] * 0 + count + 1
        last = ops.max(ops.where(ops.arange(task.length) == count, sequences, 0), axis=-1)
        lengths = ops.cast(here - ops.cast(ops.equal(last, task.end_id), "int32"), "int32")
        merged = {
            "found_scores": (state["found_scores"], scores),
            "found": (state["found"], sequences),
            "found_sums": (state["found_sums"], sums),
            "found_lengths": (state["found_lengths"], lengths),
            "finished": (state["finished"], ends),
        }
        joined = {name: ops.concatenate(pair, axis=1) for name, pair in merged.items()}
        _, order = ops.top_k(joined["found_scores"], self.beams)
        return state | {name: gathered(array, order) for name, array in joined.items()}

    def _open(self, task: Task, state: State, count: Any) -> Any:
        """bool `[rows, 1]`: whether a running beam may still come to be the best."""
        length = ops.cast(count, "float32")
        if self.early_stopping == "never" and self.length_penalty > 0:
            length = ops.cast(ops.expand_dims(task.limits, 1), "float32")
        best = state["scores"][:, :1] / length**self.length_penalty
        worst = ops.min(state["found_scores"], axis=1, keepdims=True)
        worst = ops.where(state["finished"], worst, OUT)
        return ops.logical_and(state["open"], ops.any(best > worst, axis=-1, keepdims=True))


def first_beam_alone(rows: int, beams: int, out: float) -> Any:
    """Scores `[rows, beams]` to begin with: all beams are alike, so only the first may go on."""
    first = ops.arange(beams, dtype="int32")[None] == 0
    return ops.where(first, 0.0, out) + ops.zeros((rows, 1), "float32")


def best_continuations(log_probs: Any, scores: Any) -> tuple[Any, Any, Any]:
    """The best two for each beam, of all beams of a row together, best first.

    As many as there are beams can end, so as many that go on are among them.

    Args:
        log_probs: float `[rows * beams, vocabulary]`.
        scores: float `[rows, beams]`, the sums so far.

    Returns:
        Sums, tokens and beams, `[rows, 2 * beams]` each.
    """
    rows, beams = scores.shape
    size = log_probs.shape[-1]
    sums = ops.reshape(log_probs, (rows, beams, size)) + ops.expand_dims(scores, 2)
    best, places = ops.top_k(ops.reshape(sums, (rows, beams * size)), 2 * beams)
    places = ops.cast(places, "int32")
    return best, places % size, places // size


def continued(token_ids: Any, tokens: Any, beams: Any, count: Any) -> Any:
    """The sequences `[rows, k, length]` of `beams` `[rows, k]`, each with its next token."""
    length = token_ids.shape[-1]
    before = ops.reshape(token_ids, (beams.shape[0], -1, length))
    return written(gathered(before, beams), tokens, count)


def sources(beams: Any) -> Any:
    """Of beams `[rows, width]` their places among all, `[rows * width]`."""
    rows, width = beams.shape
    starts = ops.expand_dims(ops.arange(rows, dtype="int32") * width, 1)
    return ops.reshape(ops.cast(beams, "int32") + starts, (-1,))
