"""Answers of a classifier to people: names of classes with their scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from inarch.validation import check_count

Answers = list[dict[str, Any]]
TopK = int | None | Literal["auto"]


def check_top_k(top_k: Any) -> None:
    """Raise InputError unless `top_k` is "auto", None, or a whole number from 1 up."""
    if top_k is not None and top_k != "auto":
        check_count("top_k", top_k)


def class_answers(
    scores: np.ndarray,
    labels: Sequence[str],
    top_k: TopK,
    thresholds: Sequence[float] | None = None,
) -> list[Answers]:
    """Return the classes of each row of `scores`, best first, as `{"label", "score"}`.

    Args:
        scores: `[rows, classes]`.
        labels: names of the classes.
        top_k: how many of each row, or None for all; `"auto"` is those whose score reaches their
            threshold, or the best one where there are no `thresholds`.
        thresholds: one for each class.
    """
    least = thresholds if top_k == "auto" else None
    if top_k == "auto":
        top_k = 1 if thresholds is None else None
    orders = (-scores).argsort(axis=-1, kind="stable")[:, :top_k].tolist()
    return [
        [{"label": labels[i], "score": float(row[i])} for i in order
         if least is None or row[i] >= least[i]]
        for row, order in zip(scores, orders, strict=True)
    ]  # fmt: skip
