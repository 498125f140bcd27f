"""Logits processor of Whisper's timestamp tokens."""

from dataclasses import dataclass
from typing import Any

import keras

from inarch.generation.logits_processors import NEG_INF, GeneratedTokens, token_mask

ops: Any = keras.ops  # Typed, every result may be None.


@dataclass(frozen=True)
class WhisperTimestamps:
    """Force timestamps in pairs, in order, and where they are likelier than text.

    Every token from `first_id` on is a timestamp, in order of time.

    - The first token is a timestamp of at most `max_initial` steps.
    - A pair of timestamps ends one segment and begins the next: two timestamps are followed by
      text, and text with one timestamp by another timestamp or the end.
    - No timestamp is before the last one, and no segment is empty.
    - Where all timestamps together are likelier than the likeliest other token, text is forbidden.

    Source: openai/whisper, whisper/decoding.py, ApplyTimestampRules.

    Args:
        first_id: id of the timestamp of time 0.
        end_id: id of the end token; ids below it are text.
        no_timestamps_id: id of the token for no timestamps, which is forbidden; None if the
            vocabulary has none.
        max_initial: latest first timestamp, as its distance from `first_id`; None for no limit.
    """

    first_id: int
    end_id: int
    no_timestamps_id: int | None = None
    max_initial: int | None = 50

    def __call__(self, logits: Any, generated: GeneratedTokens) -> Any:
        ids = ops.arange(logits.shape[-1], dtype="int32")[None]
        is_time = ids >= self.first_id
        forbidden = self._out_of_order(ids, is_time, generated)
        if self.no_timestamps_id is not None:
            forbidden = ops.logical_or(forbidden, token_mask((self.no_timestamps_id,), logits))

        first = ops.logical_not(is_time)
        if self.max_initial is not None:
            first = ops.logical_or(first, ids > self.first_id + self.max_initial)
        forbidden = ops.logical_or(forbidden, ops.logical_and(first, ops.equal(generated.count, 0)))
        logits = ops.where(forbidden, NEG_INF, logits)

        # Only differences of log-probabilities count here, which logits have, too.
        time = ops.logsumexp(ops.where(is_time, logits, NEG_INF), axis=-1, keepdims=True)
        other = ops.max(ops.where(is_time, NEG_INF, logits), axis=-1, keepdims=True)
        return ops.where(ops.logical_and(time > other, ops.logical_not(is_time)), NEG_INF, logits)

    def _out_of_order(self, ids: Any, is_time: Any, generated: GeneratedTokens) -> Any:
        """Return bool `[rows, vocabulary]`, tokens that break a pair or the order of time."""
        steps = ops.arange(generated.token_ids.shape[1], dtype="int32")[None]
        times = ops.logical_and(generated.token_ids >= self.first_id, steps < generated.count)
        last, before = (self._at(times, steps, generated.count - back) for back in (1, 2))
        # With fewer than two tokens, the one before the last counts as a timestamp.
        before = ops.logical_or(before, ops.less(generated.count, 2))
        opened = ops.logical_and(last, before)
        closed = ops.logical_and(last, ops.logical_not(before))

        found = ops.any(times, axis=1, keepdims=True)
        place = ops.max(ops.where(times, steps, 0), axis=1, keepdims=True)
        latest = ops.max(ops.where(steps == place, generated.token_ids, 0), axis=1, keepdims=True)
        earliest = ops.where(closed, latest, latest + 1)
        past = ops.logical_and(found, ops.logical_and(is_time, ids < earliest))
        forbidden = ops.logical_or(past, ops.logical_and(opened, is_time))
        return ops.logical_or(forbidden, ops.logical_and(closed, ids < self.end_id))

    def _at(self, times: Any, steps: Any, index: Any) -> Any:
        """Return bool `[rows, 1]`, whether there is a timestamp at an index; False outside."""
        return ops.any(ops.logical_and(times, steps == index), axis=1, keepdims=True)
