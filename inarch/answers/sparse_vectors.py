"""Sparse vectors: the numbers of a vector that aren't 0, with their places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict, TypeGuard

import numpy as np

from inarch.answers.similarity import similarity
from inarch.errors import InputError, InputTypeError
from inarch.validation import shown

# Numbers that a dense block of vectors may hold at a time.
_BLOCK = 1 << 24


class SparseVector(TypedDict):
    """A vector's numbers other than 0.

    Keys:
        indices: their places in rising order, int32 `[count]`.
        values: the numbers, float32 `[count]`.
    """

    indices: np.ndarray
    values: np.ndarray


def is_sparse_vector(x: Any) -> TypeGuard[SparseVector]:
    """Return whether `x` is one sparse vector, rather than several."""
    return isinstance(x, Mapping) and x.keys() >= {"indices", "values"}


def from_dense(row: np.ndarray, max_active_dims: int | None = None) -> SparseVector:
    """Return a vector `[dim]` as a sparse one, of its `max_active_dims` largest numbers at most."""
    indices = np.flatnonzero(row)
    if max_active_dims is not None and len(indices) > max_active_dims:
        best = np.argsort(-np.abs(row[indices]), kind="stable")[:max_active_dims]
        indices = np.sort(indices[best])
    return {"indices": indices.astype(np.int32), "values": row[indices].astype(np.float32)}


def to_dense(vectors: Sequence[SparseVector], width: int) -> np.ndarray:
    """Return sparse vectors as one array, float32 `[len(vectors), width]`."""
    dense = np.zeros((len(vectors), width), np.float32)
    for row, vector in zip(dense, vectors, strict=True):
        row[vector["indices"]] = vector["values"]
    return dense


def checked_vectors(name: str, vectors: Any, width: int) -> list[SparseVector]:
    """Return the argument `name` as a list of sparse vectors with places below `width`.

    Raises:
        InputTypeError: it is neither a sparse vector nor several.
        InputError: a vector's indices and values don't fit each other, or `width`.
    """
    given = [vectors] if is_sparse_vector(vectors) else vectors
    if isinstance(given, Mapping | str) or not hasattr(given, "__iter__"):
        raise InputTypeError(f"{name} is {shown(vectors)}; give vectors that embed(texts) makes")
    return [_checked(f"vector {i} of {name}", vector, width) for i, vector in enumerate(given)]


def _checked(name: str, vector: Any, width: int) -> SparseVector:
    if not is_sparse_vector(vector):
        raise InputTypeError(
            f"{name} is {shown(vector)}; give a dictionary of 'indices' and 'values', such as "
            "embed(texts) makes"
        )
    indices, values = np.asarray(vector["indices"]), np.asarray(vector["values"], np.float32)
    if indices.shape != values.shape or indices.ndim != 1:
        raise InputError(
            f"{name} has indices of shape {indices.shape} and values of shape {values.shape}; "
            "give two lists of one length"
        )
    if not indices.size:
        return {"indices": np.zeros(0, np.int32), "values": values}
    if indices.dtype.kind not in "iu" or indices.min() < 0 or indices.max() >= width:
        raise InputError(
            f"{name} has indices from {indices.min()} to {indices.max()}, and the vocabulary "
            f"{width} tokens; take vectors of one model"
        )
    return {"indices": indices, "values": values}


def sparse_similarity(
    name: str, one: Sequence[SparseVector], two: Sequence[SparseVector], width: int
) -> np.ndarray:
    """Return similarities `[len(one), len(two)]`, as `similarity` of the dense vectors.

    A block of the vectors is dense at a time, at the places that any of them uses.
    """
    result = np.zeros((len(one), len(two)), np.float32)
    used = [vector["indices"] for vector in (*one, *two)]
    places = np.unique(np.concatenate(used)) if used else np.zeros(0, np.int64)
    column = np.zeros(width, np.int64)
    column[places] = np.arange(len(places))
    for left in _blocks(len(one), len(places)):
        rows = to_dense(_moved(one[left], column), len(places))
        for right in _blocks(len(two), len(places)):
            others = to_dense(_moved(two[right], column), len(places))
            result[left, right] = similarity(name, rows, others)
    return result


def _moved(vectors: Sequence[SparseVector], column: np.ndarray) -> list[SparseVector]:
    return [{"indices": column[v["indices"]], "values": v["values"]} for v in vectors]


def _blocks(count: int, width: int) -> Iterator[slice]:
    size = max(1, _BLOCK // max(1, width))
    return (slice(start, start + size) for start in range(0, count, size))
