"""Perplexity of texts of any length."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from inarch.data import PlannedBatch, by_length, pad
from inarch.errors import InputError
from inarch.preprocessors.raw_texts import as_texts
from inarch.preprocessors.windows import Window, windows
from inarch.runtime.forward import as_float32, compiled, compiles_per_shape
from inarch.tasks.task_mixin import TaskMixin
from inarch.text import Encoding
from inarch.validation import shown

# From windows, and the shape of the batch that they are padded to, to log-probabilities of that
# shape of the token after each.
LogProbs = Callable[[Sequence[Window], PlannedBatch], np.ndarray]


class Likelihood(TaskMixin):
    """The part of a causal language model that computes how likely texts are."""

    _scorer: Callable[[Mapping[str, np.ndarray]], Any] | None

    def perplexity(self, texts: str | Sequence[str], batch_size: int = 8) -> Any:
        """Return the perplexity of each text: e to the mean surprisal of its tokens in nats.

        The first token has none before it and doesn't count. A text longer than
        `preprocessor.sequence_length` is read in windows that overlap by half.

        Args:
            texts: one text, or a list of them.
            batch_size: windows of a batch.

        Returns:
            A float for one text, a list of them for a list.

        Raises:
            InputError: a text has fewer than two tokens.
        """
        given, is_one = as_texts("texts", texts)
        encodings, limit = self._whole(given), self._text().sequence_length
        for i, encoding in enumerate(encodings):
            if min(len(encoding.ids), limit) < 2:
                raise InputError(
                    f"text {i} has {len(encoding.ids)} tokens, and preprocessor.sequence_length is "
                    f"{limit}; a perplexity needs two tokens: {shown(given[i])}"
                )
        if self._scorer is None:
            self._scorer = compiled(scorer(self))
        found = perplexities(encodings, limit, batch_size, self._log_probs)
        return found[0] if is_one else found

    def _log_probs(self, rows: Sequence[Window], batch: PlannedBatch) -> np.ndarray:
        assert self._scorer is not None
        inputs = self.inputs_of(rows, PlannedBatch(np.arange(len(rows)), batch.rows, batch.length))
        targets = pad([row.ids[1:] for row in rows], batch.rows, batch.length)
        return as_float32(self._scorer({**inputs, "targets": targets}))


def scorer(model: keras.Model) -> keras.Model:
    """Return the model of log-probabilities `[batch, length]` of the input `targets`.

    Args:
        model: of logits `[batch, length, vocabulary]`, which never leave the device.
    """
    targets = keras.Input((None,), dtype="int32", name="targets")
    logits = keras.ops.cast(model.output, "float32")
    chosen = keras.ops.take_along_axis(logits, keras.ops.expand_dims(targets, -1), -1)
    log_probs = keras.ops.squeeze(chosen, -1) - keras.ops.logsumexp(logits, axis=-1)
    return keras.Model({**model.input, "targets": targets}, log_probs)


def perplexities(
    encodings: Sequence[Encoding], limit: int, batch_size: int, log_probs: LogProbs
) -> list[float]:
    """Return the perplexity of each text, of its tokens after the first.

    Args:
        encodings: of the texts, at least two tokens each.
        limit: most tokens of a window, at least two; a longer text is read in windows that overlap
            by half, and a token counts in the first that has it.
        batch_size: windows of a batch.
        log_probs: log-probabilities of the token after each.
    """
    rows = windows(encodings, limit, limit // 2)
    new: list[list[int]] = []  # of each window, the indices of the tokens that count
    known = [0] * len(encodings)
    for window in rows:
        last = known[window.index]
        new.append([i for i in range(1, len(window)) if window.positions[i] > last])
        known[window.index] = window.positions[-1]
    sums, exact = np.zeros(len(encodings)), not compiles_per_shape()
    for batch in by_length(list(map(len, rows)), batch_size, limit, exact):
        chosen = [rows[k] for k in batch.indices]
        for k, window, row in zip(batch.indices, chosen, log_probs(chosen, batch), strict=False):
            sums[window.index] -= row[[i - 1 for i in new[k]]].sum(dtype=np.float64)
    return [float(np.exp(s / (len(e.ids) - 1))) for s, e in zip(sums, encodings, strict=True)]
