"""Vectors in fewer bits, bit for bit as sentence-transformers makes them.

Source: sentence-transformers, util/quantization.py (`quantize_embeddings`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from inarch.errors import InputError, InputTypeError
from inarch.user_warnings import warn
from inarch.validation import shown

PRECISIONS = ("float32", "float16", "int8", "uint8", "binary", "ubinary")
# With fewer vectors to take ranges from, sentence-transformers warns too.
_FEW = 100


def check_precision(precision: Any) -> None:
    """Raise InputError unless `precision` is one of the known ones."""
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise InputError(f"precision is {shown(precision)}; known: {', '.join(PRECISIONS)}")


def quantize_embeddings(
    embeddings: Any,
    precision: str,
    ranges: Any = None,
    calibration_embeddings: Any = None,
) -> np.ndarray:
    """Return vectors in another precision, with the values that sentence-transformers gives.

    Args:
        embeddings: float `[count, dim]`, or one vector `[dim]`.
        precision: `"float32"` or `"float16"`: the nearest numbers. `"int8"` or `"uint8"`: for each
            dimension the number of the step, of 256 equal ones over its range. `"binary"` or
            `"ubinary"`: a bit for each dimension, 1 where it is above 0, eight to a byte (int8 or
            uint8).
        ranges: lowest and highest value of each dimension `[2, dim]`, for int8 and uint8; those of
            the calibration vectors where not given. Vectors to be compared need the same ranges.
        calibration_embeddings: vectors `[count, dim]` to take the ranges from; the embeddings
            themselves where not given.

    Returns:
        `[count, dim]`, or `[count, ceil(dim / 8)]` for binary and ubinary; of one vector `[dim]`
        without the first axis.

    Raises:
        InputTypeError: the vectors aren't floating point.
        InputError: an unknown precision, ranges of another shape, NaN or infinity, or one single
            vector to take ranges from.
    """
    check_precision(precision)
    vectors = _vectors("embeddings", embeddings)
    if precision in ("float32", "float16"):
        return vectors.astype(precision)
    if precision == "ubinary":
        return np.packbits(vectors > 0, axis=-1)
    if precision == "binary":
        return (np.packbits(vectors > 0, axis=-1) - 128).astype(np.int8)
    if not vectors.shape[0]:
        return vectors.astype(precision)
    lowest, highest = _ranges(vectors, precision, ranges, calibration_embeddings)
    steps = (highest - lowest) / 255
    steps = np.where(steps == 0, np.float32(1), steps)
    numbers = np.clip(np.floor((vectors - lowest) / steps), 0, 255)
    return numbers.astype(np.uint8) if precision == "uint8" else (numbers - 128).astype(np.int8)


def _vectors(name: str, given: Any) -> np.ndarray:
    array = np.asarray(given)
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        raise InputTypeError(
            f"{name} has dtype {array.dtype}; give vectors in floating point, such as "
            "embed(texts) makes of texts"
        )
    if array.ndim not in (1, 2):
        raise InputError(f"{name} has the shape {array.shape}; give [count, dim], or [dim]")
    # NumPy's own operations don't take bfloat16.
    array = array.astype(np.float32) if array.dtype.name == "bfloat16" else array
    if not np.isfinite(array).all():
        raise InputError(f"{name} holds NaN or infinity, which has no place in a range")
    return array


def _ranges(
    vectors: np.ndarray, precision: str, ranges: Any, calibration_embeddings: Any
) -> np.ndarray:
    if ranges is None:
        of_themselves = calibration_embeddings is None
        sample = (
            vectors if of_themselves else _vectors("calibration_embeddings", calibration_embeddings)
        )
        if of_themselves and (sample.ndim == 1 or len(sample) == 1):
            raise InputError(
                f"precision is {precision!r}, and one vector has no ranges; give "
                "quantize_embeddings ranges= or calibration_embeddings= of many texts"
            )
        if sample.ndim != 2 or not len(sample):
            raise InputError(
                f"calibration_embeddings has the shape {sample.shape}; give [count, dim]"
            )
        if of_themselves and len(sample) < _FEW:
            warn(
                f"the ranges of {precision} are taken from {len(sample)} vectors alone; give "
                "quantize_embeddings ranges= or calibration_embeddings= of many texts"
            )
        ranges = np.vstack((sample.min(axis=0), sample.max(axis=0)))
    found = _vectors("ranges", ranges).astype(np.float32)
    if found.shape != (2, vectors.shape[-1]):
        raise InputError(
            f"ranges has the shape {found.shape}; vectors of {vectors.shape[-1]} dimensions need "
            f"(2, {vectors.shape[-1]}), lowest and highest values"
        )
    return found
