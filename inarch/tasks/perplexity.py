"""Perplexity of texts of any length."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np

from inarch.data import PlannedBatch, by_length
from inarch.runtime.forward import compiles_per_shape
from inarch.tasks.windows import Window, windows
from inarch.text import Encoding

# From windows, and the shape of the batch that they are padded to, to log-probabilities of that
# shape of the token after each.
LogProbs = Callable[[Sequence[Window], PlannedBatch], np.ndarray]


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
