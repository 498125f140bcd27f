"""Tensors of a checkpoint: their dtypes and shapes, and their values one at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from inarch.errors import CheckpointFileError

DTYPES: dict[str, np.dtype] = {
    code: np.dtype(kind)
    for code, kind in {
        "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": ml_dtypes.bfloat16,
        "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2,
        "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
        "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?", "C64": "<c8",
    }.items()
}  # fmt: skip
# How many times over tensors may share the numbers of a file, and the bytes that always may be.
# Layers that are one are stored once; none of the published models has so many.
MAX_SHARING, ALWAYS_SHARED = 64, 64_000_000
CODES = {dtype: code for code, dtype in DTYPES.items()}


@dataclass(frozen=True)
class TensorInfo:
    """Dtype and shape of one tensor. `dtype` is the format's code, such as `"F32"`."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


@dataclass(frozen=True)
class Shard:
    """One weight file: its name, its metadata, and its tensors in the order of their bytes."""

    filename: str
    tensors: dict[str, TensorInfo]
    metadata: dict[str, str] | None = None


def check_sharing(path: Path, tensors: Iterable[TensorInfo], stored: int) -> None:
    """Refuse a file of few bytes whose tensors, which share them, would have very many.

    Args:
        path: the file.
        tensors: all of its tensors.
        stored: the bytes that they are in.

    Raises:
        CheckpointFileError: they add up to more than `MAX_SHARING` times as many.
    """
    total = sum(info.nbytes for info in tensors)
    if total > MAX_SHARING * stored + ALWAYS_SHARED:
        raise CheckpointFileError(
            f"{path} has {stored:,} bytes of numbers, and its tensors would have {total:,}: they "
            "are views of each other, or damaged. Save them whole, such as after `.contiguous()`"
        )


class Weights:
    """The tensors of a checkpoint, in one file or several.

    `header` maps every name to its `TensorInfo`; `read(name)` gives the values, valid until
    the next call at least. Use as a context manager.
    """

    format = "safetensors"

    def __init__(self, shards: Sequence[Shard], readers: Sequence[Any]):
        self.shards = tuple(shards)
        self.header: dict[str, TensorInfo] = {}
        self._readers: dict[str, Any] = {}
        self._open = {*readers}
        for shard, reader in zip(shards, readers, strict=True):
            for name, info in shard.tensors.items():
                if name in self.header:
                    raise CheckpointFileError(f"tensor {name!r} is in two weight files")
                self.header[name] = info
                self._readers[name] = reader

    def substitute(self, tensors: Mapping[str, TensorInfo], reader: Any) -> None:
        """Put a reader's tensors in place of those of the same names; it is closed with these."""
        self.shards = tuple(
            replace(shard, tensors={n: tensors.get(n, info) for n, info in shard.tensors.items()})
            for shard in self.shards
        )
        self.header |= tensors
        self._readers |= dict.fromkeys(tensors, reader)
        self._open.add(reader)

    def read(self, name: str) -> np.ndarray:
        """Return the values of a tensor, read-only, shape as in the header."""
        return self._readers[name].read(name)

    def release(self, name: str) -> None:
        """Release the memory of a tensor's values."""
        self._readers[name].release(name)

    def close(self) -> None:
        for reader in self._open:
            reader.close()

    def __enter__(self) -> Weights:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
