"""Similarities between two sets of vectors (sentence-transformers, util/similarity.py)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Numbers that a block of differences may hold at a time.
_BLOCK = 1 << 22


def _cosine(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    one, two = (x / np.linalg.norm(x, axis=-1, keepdims=True).clip(1e-12) for x in (one, two))
    return one @ two.T


def _dot(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    return one @ two.T


def _euclidean(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    return -_distances(one, two, lambda x: np.sqrt(np.square(x).sum(axis=-1)))


def _manhattan(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    return -_distances(one, two, lambda x: np.abs(x).sum(axis=-1))


def _distances(
    one: np.ndarray, two: np.ndarray, length: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    # By differences: the shorter way by products loses the digits of vectors that are alike.
    rows = max(1, _BLOCK // max(1, two.size))
    blocks = [length(one[i : i + rows, None] - two) for i in range(0, len(one), rows)]
    return np.concatenate(blocks) if blocks else np.zeros((0, len(two)), one.dtype)


_FUNCTIONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "cosine": _cosine,
    "dot": _dot,
    "euclidean": _euclidean,
    "manhattan": _manhattan,
}


def similarity(name: str, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Return similarities `[len(one), len(two)]`; distances are negated, so more is closer.

    Args:
        name: "cosine", "dot", "euclidean" or "manhattan".
        one, two: vectors `[count, dim]`, or one vector `[dim]`, whose axis the result lacks.
    """
    shape = (*one.shape[:-1], *two.shape[:-1])
    return _FUNCTIONS[name](np.atleast_2d(one), np.atleast_2d(two)).reshape(shape)
