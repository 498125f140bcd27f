"""Changes of answers by another precision, from a task's outputs before and after."""

from __future__ import annotations

import numpy as np

from inarch.runtime.forward import softmax


def vector_changes(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Return the largest and the mean cosine error: 1 less the cosine, over vectors `[..., dim]`.

    Vectors of zeros, which stand for no token, don't count.
    """
    rows = before.reshape(-1, before.shape[-1])
    is_real = rows.any(-1)
    one = rows[is_real].astype(np.float64)
    two = after.reshape(rows.shape)[is_real].astype(np.float64)
    norms = np.linalg.norm(one, axis=-1) * np.linalg.norm(two, axis=-1)
    # A vector that became zero has no direction: its error is 1.
    errors = 1 - np.sum(one * two, axis=-1) / np.where(norms == 0, 1, norms)
    return {"largest cosine error": _largest(errors), "mean cosine error": _mean(errors)}


def class_changes(
    before: np.ndarray, after: np.ndarray, independent: bool = False
) -> dict[str, float]:
    """Return the share of changed labels and the largest change of a probability.

    Of a single class, such as a reranker's, it is the largest change of the logit.

    Args:
        before, after: logits `[..., classes]`; rows of zeros, beyond a text's end, don't count.
        independent: whether each class is a label for itself, rather than one of all.
    """
    classes = before.shape[-1]
    one, two = before.reshape(-1, classes), after.reshape(-1, classes)
    if classes == 1:
        return {"largest change of a score": _largest(np.abs(two - one))}
    is_real = one.any(-1)
    one, two = one[is_real], two[is_real]
    if independent:  # of one class and none, whose logit is 0
        one, two = (np.stack([x.ravel(), 0 * x.ravel()], -1) for x in (one, two))
    return {
        "share of changed labels": _mean(one.argmax(-1) != two.argmax(-1)),
        "largest change of a probability": _largest(np.abs(softmax(two) - softmax(one))),
    }


def _largest(values: np.ndarray) -> float:
    return float(values.max(initial=0.0))


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0
