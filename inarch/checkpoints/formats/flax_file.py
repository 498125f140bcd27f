"""Flax's checkpoints (flax.serialization, `msgpack_serialize`), read without Flax.

A tree of dictionaries whose leaves are arrays. A tensor's name is its path through the tree, with
slashes between. Leaves of another kind are tensors too, so that a weight map has to account for
them: a number is one of no axes, text and all else are rows of bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inarch.checkpoints.formats.message_pack import Raw, unpack
from inarch.checkpoints.formats.weights import CODES, DTYPES, Shard, TensorInfo, Weights
from inarch.checkpoints.io.mapped_file import MappedFile
from inarch.errors import CheckpointError, CheckpointFileError
from inarch.json_fields import is_shape
from inarch.validation import shown

# Flax's extensions of MessagePack, and the key by which an array is known that was cut in pieces
# because MessagePack's strings end at 4 GB.
ARRAY, SCALAR = 1, 3
CHUNKED = "__msgpack_chunked_array__"
NAMES = {dtype.name: code for dtype, code in CODES.items()}


@dataclass(frozen=True)
class StoredArray:
    """Array as stored in the file."""

    info: TensorInfo
    begin: int


class FlaxFile:
    """The arrays of a Flax checkpoint, mapped for reading."""

    def __init__(self, path: Path):
        self._file = MappedFile(path)
        self._pieces: dict[str, list[StoredArray]] = {}
        self._plain: dict[str, np.ndarray] = {}
        tensors: dict[str, TensorInfo] = {}
        try:
            tree = unpack(self._file.bytes, str(path))
            if not isinstance(tree, dict):
                raise CheckpointError(f"{path} holds a {type(tree).__name__}, not a tree of arrays")
            for name, leaf in self._leaves(tree, ""):
                if name in tensors:
                    raise CheckpointError(f"{path} has two arrays of the name {name!r}")
                if isinstance(leaf, Raw | dict):
                    tensors[name], self._pieces[name] = self._array(leaf, f"{name!r} in {path}")
                else:
                    value = self._plain[name] = _plain(leaf)
                    tensors[name], self._pieces[name] = _info(value), []
        except CheckpointError as e:
            raise CheckpointFileError(str(e)) from e
        order = sorted(tensors, key=lambda name: [piece.begin for piece in self._pieces[name]])
        self.shard = Shard(path.name, {name: tensors[name] for name in order})

    def _leaves(self, tree: Mapping[Any, Any], above: str) -> Iterator[tuple[str, Any]]:
        """Yield every leaf of the tree with its name."""
        for key, value in tree.items():
            name = f"{above}{key}"
            if isinstance(value, list):
                value = dict(enumerate(value))
            if isinstance(value, dict) and CHUNKED not in value:
                yield from self._leaves(value, f"{name}/")
            else:
                yield name, value

    def _array(self, leaf: Any, what: str) -> tuple[TensorInfo, list[StoredArray]]:
        if isinstance(leaf, Raw):
            bare = TensorInfo("U8", (leaf.end - leaf.begin,))
            whole = leaf.kind in (ARRAY, SCALAR)
            piece = self._piece(leaf, what) if whole else StoredArray(bare, leaf.begin)
            return piece.info, [piece]
        try:
            sizes, chunks = leaf["shape"], leaf["chunks"]
            shape = tuple(sizes[str(i)] for i in range(len(sizes)))
            pieces = [self._piece(chunks[str(i)], what) for i in range(len(chunks))]
            _check_shape(shape, what)
        except (KeyError, TypeError) as e:
            raise CheckpointError(f"{what} is cut in pieces that don't join; fetch it again") from e
        codes = {piece.info.dtype for piece in pieces}
        if len(codes) != 1 or sum(math.prod(p.info.shape) for p in pieces) != math.prod(shape):
            raise CheckpointError(f"{what} is cut in pieces that don't join; fetch it again")
        return TensorInfo(codes.pop(), shape), pieces

    def _piece(self, raw: Any, what: str) -> StoredArray:
        if not isinstance(raw, Raw):
            raise CheckpointError(f"{what} isn't an array; fetch the file again")
        value = unpack(self._file.bytes, what, raw.begin, raw.end)
        if not isinstance(value, list) or len(value) != 3 or not isinstance(value[2], Raw):
            raise CheckpointError(f"{what} isn't a shape, a dtype and bytes; fetch the file again")
        shape, dtype, data = value
        _check_shape(shape, what)
        if not isinstance(dtype, str) or dtype not in NAMES:
            raise CheckpointError(f"{what} has dtype {shown(dtype)}, not supported")
        info = TensorInfo(NAMES[dtype], tuple(shape))
        if info.nbytes != data.end - data.begin:
            raise CheckpointError(
                f"{what} ({dtype} {shape}) has {data.end - data.begin:,} bytes; fetch it again"
            )
        return StoredArray(info, data.begin)

    def read(self, name: str) -> np.ndarray:
        if name in self._plain:
            return self._plain[name]
        pieces = [
            self._file.array(DTYPES[piece.info.dtype], piece.info.shape, piece.begin)
            for piece in self._pieces[name]
        ]
        if len(pieces) == 1:
            return pieces[0].reshape(self.shard.tensors[name].shape)
        flat = np.concatenate([piece.reshape(-1) for piece in pieces])
        return flat.reshape(self.shard.tensors[name].shape)

    def release(self, name: str) -> None:
        """Drop the mapped pages of a tensor that has been copied out."""
        for piece in self._pieces[name]:
            self._file.release(piece.begin, piece.begin + piece.info.nbytes)

    def close(self) -> None:
        self._file.close()


def _plain(value: Any) -> np.ndarray:
    """Return an array of a value that isn't one."""
    if isinstance(value, bool | int | float):
        return np.array(value)
    return np.frombuffer((value or "").encode(), np.uint8)


def _info(array: np.ndarray) -> TensorInfo:
    return TensorInfo(CODES[array.dtype], array.shape)


def _check_shape(shape: Any, what: str) -> None:
    if not is_shape(shape):
        raise CheckpointError(f"{what} has the shape {shown(shape)}; fetch the file again")


def open_flax(path: Path) -> Weights:
    """Open a Flax checkpoint; return its arrays.

    Raises:
        CheckpointFileError: the file is absent, truncated or damaged, or holds arrays of a kind
            that isn't read.
    """
    reader = FlaxFile(path)
    weights = Weights([reader.shard], [reader])
    weights.format = "Flax checkpoint"
    return weights
