"""Buckets of distances: the row of a table of relative positions for two tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from inarch.errors import InputError

ops: Any = keras.ops  # Typed, every result may be None.

# Distances are looked up in an array, which is never longer than this in one direction.
FARTHEST = 2**18


def log_buckets(
    distances: np.ndarray,
    bucket_size: int,
    max_relative_positions: int,
    *,
    exact: int = 0,
    round_to_int: Callable[[np.ndarray], np.ndarray] = np.ceil,
    log_factor: float = 1.0,
) -> np.ndarray:
    """Buckets of distances: exact up to half of `bucket_size`, then logarithmic.

    Computed in float32 and rounded up, as the reference does; ours doesn't depend on the length.

    Source: He et al., 2021, arXiv:2006.03654; microsoft/DeBERTa, DeBERTa/deberta/da_utils.py,
    make_log_bucket_dict; transformers, modeling_deberta_v2.py, make_log_bucket_position.

    Args:
        distances: int, any shape; the position of a query minus that of a key.
        exact, round_to_int, log_factor: of wrong implementations; see `wrong_bucket_rows`.

    Returns:
        int64 of the same shape, and of the same signs.
    """
    half = bucket_size // 2 + exact
    far = np.maximum(np.abs(distances), max(half, 1)).astype("float32") / np.float32(half)
    widest = float32_log(np.float32((max_relative_positions - 1) / half))
    logarithmic = (
        round_to_int(float32_log(far) / widest * np.float32(log_factor * (half - 1))) + half
    )
    return np.where(
        np.abs(distances) <= half, distances, logarithmic.astype("int64") * np.sign(distances)
    )


def distance_rows(bucket_size: int, max_relative_positions: int) -> np.ndarray:
    """Return the table row for each distance from `-n` to `n`; beyond, rows repeat.

    Args:
        bucket_size: buckets of each sign; below 1, a distance is its own bucket.
        max_relative_positions: the distance that the last bucket ends at.

    Returns:
        int32 `[2 * n + 1]`, of rows of a table that has two rows for every bucket, or for every
        relative position where there are no buckets.

    Raises:
        InputError: the two make no buckets.
    """
    span = table_span(bucket_size, max_relative_positions)
    if bucket_size < 1:
        return np.clip(np.arange(-span, span + 1) + span, 0, 2 * span - 1).astype("int32")
    half = bucket_size // 2
    if bucket_size < 4:
        raise InputError(
            f"bucket_size={bucket_size} is too small: half of the buckets are of one distance "
            "each, and the rest need two. Pass 4 or more, or 0 for a row of each distance."
        )
    if max_relative_positions - 1 == half or max_relative_positions < 2:
        raise InputError(
            f"max_relative_positions={max_relative_positions} leaves no distance to the far half "
            f"of bucket_size={bucket_size}: the first {half} buckets are of one distance each. "
            f"Pass more than {half + 1}, or bucket_size=0 for a row of each distance."
        )
    farthest = span
    while abs(_bucket(farthest, bucket_size, max_relative_positions)) < span:
        farthest *= 2
        if farthest > FARTHEST:
            raise InputError(
                f"bucket_size={bucket_size} is too large for "
                f"max_relative_positions={max_relative_positions}: the last bucket would begin "
                f"beyond {FARTHEST:,} tokens. Pass a smaller bucket_size, or more positions."
            )
    distances = np.arange(-farthest, farthest + 1)
    buckets = log_buckets(distances, bucket_size, max_relative_positions)
    return np.clip(buckets + span, 0, 2 * span - 1).astype("int32")


def wrong_bucket_rows(
    bucket_size: int, max_relative_positions: int, farthest: int
) -> dict[str, np.ndarray]:
    """Return the rows of distances up to `farthest` by wrong formulas (see `alternatives`)."""
    distances, end = np.arange(-farthest, farthest + 1), max_relative_positions
    found = {
        "buckets rounded down": log_buckets(distances, bucket_size, end, round_to_int=np.floor),
        "buckets rounded to the nearest": log_buckets(
            distances, bucket_size, end, round_to_int=np.round
        ),
        "buckets by logarithms to base 2": log_buckets(
            distances, bucket_size, end, log_factor=1 / np.log(2)
        ),
        **{
            f"buckets of {bucket_size // 2 + more} exact distances": log_buckets(
                distances, bucket_size, end, exact=more
            )
            for more in (1, -1)
        },
        **{
            f"a longest distance of {end + more}": log_buckets(distances, bucket_size, end + more)
            for more in (-3, -2, -1, 1, 2, 3)
            if end + more > bucket_size // 2 + 1
        },
    }
    return {
        name: np.clip(buckets + bucket_size, 0, 2 * bucket_size - 1)
        for name, buckets in found.items()
    }


def table_span(bucket_size: int, max_relative_positions: int) -> int:
    """Return the number of rows for distances from 0 on: half of the table."""
    return bucket_size if bucket_size > 0 else max_relative_positions


def float32_log(values: np.ndarray | np.float32) -> np.ndarray:
    """Return the float32 nearest to the logarithm; NumPy's float32 one isn't everywhere."""
    return np.log(values.astype("float64")).astype("float32")


def _bucket(distance: int, bucket_size: int, max_relative_positions: int) -> int:
    return int(log_buckets(np.array(distance), bucket_size, max_relative_positions))


def wrong_rows(rows: np.ndarray, bucket_size: int, max_relative_positions: int) -> dict[str, Any]:
    """Return ways to look up the wrong row of each distance (`distance_rows`), by their names."""
    count = 2 * table_span(bucket_size, max_relative_positions)
    middle = len(rows) // 2
    return {
        "distances without a sign": rows[np.abs(np.arange(len(rows)) - middle) + middle],
        "distances one too large": np.append(rows[1:], rows[-1]),
        "distances one too small": np.append(rows[0], rows[:-1]),
        "rows one too late": (rows + 1) % count,
        "rows one too early": (rows - 1) % count,
        "one row for every distance": np.full_like(rows, rows[middle]),
        "no logarithmic buckets (distances are clipped)": np.clip(
            np.arange(len(rows)) - middle + count // 2, 0, count - 1
        ),
        **(
            wrong_bucket_rows(bucket_size, max_relative_positions, middle)
            if bucket_size > 0
            else {}
        ),
    }


def take(x: Any, indices: Any, axis: int) -> Any:
    """Call `ops.take`; on torch without the squeeze Keras adds, which ONNX runtimes refuse."""
    if keras.backend.backend() != "torch":
        return ops.take(x, indices, axis=axis)
    import torch

    taken = torch.index_select(x, axis, indices.reshape(-1))
    return taken.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
