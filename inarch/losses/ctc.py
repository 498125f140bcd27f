"""The loss of connectionist temporal classification."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from inarch.losses.embedding import RecordedLoss

ops: Any = keras.ops  # Typed, every result may be None.


@keras.saving.register_keras_serializable(package="inarch")
class CTCLoss(RecordedLoss):
    """Negative log-likelihood of a text, over all ways to spread its tokens over the frames, for
    each of its tokens (Graves et al., 2006).

    It reads logits `[rows, frames, vocabulary]` and targets of `ctc_targets`.

    Args:
        blank_id: the token of frames that say nothing new.
    """

    def __init__(self, blank_id: int = 0, name: str = "ctc", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.blank_id = blank_id

    def call(self, y_true: Any, y_pred: Any) -> Any:
        y_true = ops.cast(y_true, "int32")
        frames, counts, labels = y_true[:, 0], y_true[:, 1], y_true[:, 2:]
        logits = ops.cast(y_pred, "float32")
        loss = ops.ctc_loss(labels, logits, counts, frames, mask_index=self.blank_id)
        return loss / ops.cast(ops.maximum(counts, 1), loss.dtype)


def ctc_targets(labels: list[list[int]], frames: list[int], width: int, blank: int) -> np.ndarray:
    """Return targets int32 `[rows, 2 + width]`: frames, tokens, and the tokens padded with blanks.

    Args:
        labels: the tokens of each row.
        frames: of the sound of each row.
        width: the most tokens of a row.
    """
    found = np.full((len(labels), 2 + width), blank, np.int32)
    for row, ids in enumerate(labels):
        found[row, :2] = frames[row], len(ids)
        found[row, 2 : 2 + len(ids)] = ids
    return found
