"""The rule of tokens that tell time, as Whisper generates them between its text tokens."""

from dataclasses import dataclass
from typing import Any

import keras

from inarch.generation.rules import FORBIDDEN, Trace, listed

ops: Any = keras.ops  # Typed, every result may be None.


@dataclass(frozen=True)
class TimestampRule:
    """Timestamps come in pairs and don't run backwards, and come where time is likeliest.

    Every token from `first_id` on is a timestamp, in order of time.

    - The first token is a timestamp, of at most `max_initial` steps.
    - After the first or the second of a row of timestamps: a pair ends one segment and begins the
      next, so after two timestamps comes text, and after text and one timestamp comes another or
      the end.
    - No timestamp lies before the last one; a segment takes some time.
    - Where all timestamps together are likelier than the likeliest other token, a timestamp comes.

    Source: openai/whisper, whisper/decoding.py, ApplyTimestampRules.

    Args:
        first_id: the first timestamp, of time 0.
        end_id: the end token. Tokens below it are text.
        barred_id: the token that says there are no timestamps, which never comes; None if the
            vocabulary has none.
        max_initial: the latest timestamp to begin with, as its distance from `first_id`; None for
            no limit.
    """

    first_id: int
    end_id: int
    barred_id: int | None = None
    max_initial: int | None = 50

    def __call__(self, logits: Any, trace: Trace) -> Any:
        ids = ops.arange(logits.shape[-1], dtype="int32")[None]
        is_time = ids >= self.first_id
        barred = self._out_of_order(ids, is_time, trace)
        if self.barred_id is not None:
            barred = ops.logical_or(barred, listed((self.barred_id,), logits))

        first = ops.logical_not(is_time)
        if self.max_initial is not None:
            first = ops.logical_or(first, ids > self.first_id + self.max_initial)
        barred = ops.logical_or(barred, ops.logical_and(first, ops.equal(trace.count, 0)))
        logits = ops.where(barred, FORBIDDEN, logits)

        # Of log-probabilities the differences alone count, so logits serve as well.
        time = ops.logsumexp(ops.where(is_time, logits, FORBIDDEN), axis=-1, keepdims=True)
        other = ops.max(ops.where(is_time, FORBIDDEN, logits), axis=-1, keepdims=True)
        return ops.where(ops.logical_and(time > other, ops.logical_not(is_time)), FORBIDDEN, logits)

    def _out_of_order(self, ids: Any, is_time: Any, trace: Trace) -> Any:
        """bool `[rows, vocabulary]`: what would break a pair or run back in time."""
        steps = ops.arange(trace.token_ids.shape[1], dtype="int32")[None]
        times = ops.logical_and(trace.token_ids >= self.first_id, steps < trace.count)
        last, before = (self._at(times, steps, trace.count - back) for back in (1, 2))
        # With fewer than two tokens the one before the last counts as a timestamp.
        before = ops.logical_or(before, ops.less(trace.count, 2))
        opened = ops.logical_and(last, before)
        closed = ops.logical_and(last, ops.logical_not(before))

        found = ops.any(times, axis=1, keepdims=True)
        place = ops.max(ops.where(times, steps, 0), axis=1, keepdims=True)
        latest = ops.max(ops.where(steps == place, trace.token_ids, 0), axis=1, keepdims=True)
        earliest = ops.where(closed, latest, latest + 1)
        past = ops.logical_and(found, ops.logical_and(is_time, ids < earliest))
        barred = ops.logical_or(past, ops.logical_and(opened, is_time))
        return ops.logical_or(barred, ops.logical_and(closed, ids < self.end_id))

    def _at(self, times: Any, steps: Any, index: Any) -> Any:
        """bool `[rows, 1]`: whether a timestamp stands at an index; False outside."""
        return ops.any(ops.logical_and(times, steps == index), axis=1, keepdims=True)
