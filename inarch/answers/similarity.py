"""Similarities between two sets of vectors (sentence-transformers, util/similarity.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from inarch.errors import InputError, InputTypeError
from inarch.training.datasets import array_of
from inarch.validation import shown

# Numbers that a block of differences may hold at a time.
_BLOCK = 1 << 22


def unit_vectors(x: np.ndarray) -> np.ndarray:
    """Return vectors of length one; one of zeros stays."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True).clip(1e-12)


def _distances(
    one: np.ndarray, two: np.ndarray, length: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    # By differences: the shorter way by products loses the digits of vectors that are alike.
    rows = max(1, _BLOCK // max(1, two.size))
    blocks = [length(one[i : i + rows, None] - two) for i in range(0, len(one), rows)]
    return np.concatenate(blocks) if blocks else np.zeros((0, len(two)), one.dtype)


_FUNCTIONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "cosine": lambda one, two: unit_vectors(one) @ unit_vectors(two).T,
    "dot": lambda one, two: one @ two.T,
    "euclidean": lambda one, two: (
        -_distances(one, two, lambda x: np.sqrt(np.square(x).sum(axis=-1)))
    ),
    "manhattan": lambda one, two: -_distances(one, two, lambda x: np.abs(x).sum(axis=-1)),
}


def checked_similarity(task: Any, name: Any) -> str:
    """Return the argument `similarity_fn_name` of a task, checked."""
    if not isinstance(name, str) or name not in _FUNCTIONS:
        raise InputError(f"similarity_fn_name is {shown(name)}; known: {', '.join(_FUNCTIONS)}")
    return name


def similarity(name: str, one: Any, two: Any) -> np.ndarray:
    """Return similarities `[len(one), len(two)]`; distances are negated, so more is closer.

    Args:
        name: "cosine", "dot", "euclidean" or "manhattan".
        one, two: vectors `[count, dim]`, or one vector `[dim]`, whose axis the result lacks.

    Raises:
        InputTypeError: they aren't arrays of numbers.
        InputError: their vectors are of different widths.
    """
    one, two = _comparable(one, two)
    shape = (*one.shape[:-1], *two.shape[:-1])
    return _FUNCTIONS[name](np.atleast_2d(one), np.atleast_2d(two)).reshape(shape)


_PAIRWISE: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "cosine": lambda one, two: (unit_vectors(one) * unit_vectors(two)).sum(-1),
    "dot": lambda one, two: (one * two).sum(-1),
    "euclidean": lambda one, two: -np.linalg.norm(one - two, axis=-1),
    "manhattan": lambda one, two: -np.abs(one - two).sum(-1),
}


def pairwise_similarity(name: str, one: Any, two: Any) -> np.ndarray:
    """Return similarities `[count]` of the vectors `[count, dim]` in the same places.

    Raises:
        InputTypeError, InputError: as `similarity`; or their numbers differ.
    """
    one, two = _comparable(one, two)
    if one.shape != two.shape:
        raise InputError(
            f"vectors of shapes {one.shape} and {two.shape} aren't pairs; give as many of each"
        )
    return _PAIRWISE[name](one, two)


def _comparable(one: Any, two: Any) -> tuple[np.ndarray, np.ndarray]:
    one, two = _vectors("one", one), _vectors("two", two)
    if one.shape[-1:] != two.shape[-1:]:
        raise InputError(
            f"vectors of shapes {one.shape} and {two.shape} can't be compared: their last "
            "dimensions differ; take both from one model"
        )
    return one, two


def _vectors(name: str, given: Any) -> np.ndarray:
    """Return `given` as an array of numbers, float32 or float64.

    Narrower ones, such as int8 of `quantize_embeddings`, wrap around or overflow in a product.
    """
    way_out = "vectors, such as embed(texts) makes of texts"
    array = array_of(name, given, way_out)
    if array.dtype.kind in "USOMm":
        raise InputTypeError(f"{name} is {shown(given)}; give {way_out}")
    return array.astype(np.result_type(array.dtype, np.float32), copy=False)
