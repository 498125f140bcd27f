"""Reading and writing tensors: safetensors both ways, and other formats in a folder.

Readers get every name, dtype and shape from the header alone and hand out one tensor at a time,
so a checkpoint is never in memory twice. Format: huggingface/safetensors, "Format" section.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import inarch.json_fields as json_fields
from inarch.checkpoints.formats.tf_h5_file import TensorFlowH5File
from inarch.checkpoints.formats.torch_file import TorchFile
from inarch.checkpoints.formats.weights import DTYPES, Shard, TensorInfo, Weights
from inarch.checkpoints.io.mapped_file import MappedFile
from inarch.checkpoints.io.other_formats import others_in
from inarch.errors import CheckpointFileError
from inarch.file_names import WEIGHT_FILES
from inarch.json_fields import SHAPE, TEXT_OBJECT, is_size, is_text, read_field
from inarch.paths import resolve_inside
from inarch.validation import Validator, listed, shown

# The limit that the safetensors format sets for its own header.
HEADER_LIMIT = 100_000_000
DTYPE = Validator(f"one of {', '.join(DTYPES)}", lambda v: isinstance(v, str) and v in DTYPES)
OFFSETS = Validator(
    "two places in the file",
    lambda v: isinstance(v, list) and len(v) == 2 and all(map(is_size, v)),
)


class SafetensorsFile:
    """A safetensors file, checked against its own size on opening and mapped for reading."""

    def __init__(self, path: Path):
        self.path = path
        self._file = MappedFile(path)
        self._places: dict[str, tuple[int, int]] = {}
        self.shard = self._parse()

    def _parse(self) -> Shard:
        data = self._file.bytes
        size = len(data)
        if size < 8:
            raise CheckpointFileError(f"{self.path} has {size} bytes, too few for safetensors")
        (length,) = struct.unpack("<Q", data[:8])
        if length > HEADER_LIMIT:
            raise CheckpointFileError(
                f"{self.path} announces a header of {length:,} bytes; "
                f"the format allows {HEADER_LIMIT:,}. This is not a safetensors file"
            )
        if 8 + length > size:
            raise CheckpointFileError(
                f"{self.path} announces a header of {length:,} bytes, the file has {size:,}; "
                "it is truncated or not safetensors: fetch it again"
            )
        where = f"the header of {self.path}"
        header = json_fields.parse(data[8 : 8 + length], where, pairs=_unique)
        if not isinstance(header, dict):
            raise CheckpointFileError(f"{where} is {shown(header)}; it must be an object, {{...}}")
        metadata = read_field(header, "__metadata__", TEXT_OBJECT, None, **_at(where))
        header.pop("__metadata__", None)
        tensors = {name: self._entry(name, entry) for name, entry in header.items()}
        self._check_places(tensors, 8 + length, size)
        order = sorted(tensors, key=lambda name: self._places[name])
        return Shard(self.path.name, {name: tensors[name] for name in order}, metadata)

    def _entry(self, name: str, entry: Any) -> TensorInfo:
        where = f"{self.path}: tensor {shown(name)}"
        if not is_text(name) or not isinstance(entry, dict):
            raise CheckpointFileError(f"{where} is {shown(entry)}; it must be an object, {{...}}")
        dtype = read_field(entry, "dtype", DTYPE, **_at(where))
        shape = read_field(entry, "shape", SHAPE, **_at(where))
        begin, end = read_field(entry, "data_offsets", OFFSETS, **_at(where))
        self._places[name] = (begin, end)
        return TensorInfo(dtype, tuple(shape))

    def _check_places(self, tensors: Mapping[str, TensorInfo], start: int, size: int) -> None:
        at = 0
        for name, (begin, end) in sorted(self._places.items(), key=lambda item: item[1]):
            if begin != at or end - begin != tensors[name].nbytes:
                raise CheckpointFileError(
                    f"{self.path}: tensor {name!r} ({tensors[name].dtype} "
                    f"{list(tensors[name].shape)}) can't be at bytes {begin:,} to {end:,}"
                )
            at = end
        if start + at != size:
            raise CheckpointFileError(
                f"{self.path} should have {start + at:,} bytes by its header and has {size:,}; "
                "it is truncated or damaged: fetch it again"
            )
        self._places = {name: (start + b, start + e) for name, (b, e) in self._places.items()}

    def read(self, name: str) -> np.ndarray:
        info = self.shard.tensors[name]
        return self._file.array(DTYPES[info.dtype], info.shape, self._places[name][0])

    def release(self, name: str) -> None:
        """Drop the mapped pages of a tensor that has been copied out."""
        self._file.release(*self._places[name])

    def close(self) -> None:
        self._file.close()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name occurs twice")
    return result


def _at(where: str) -> dict[str, Any]:
    return {"where": where, "error": CheckpointFileError}


_FORMATS = {".safetensors": "safetensors", ".bin": "torch", ".h5": "tensorflow"}


_READERS: dict[str, Callable[[Path], Any]] = {
    "safetensors": SafetensorsFile,
    "torch": TorchFile,
    "tensorflow": TensorFlowH5File,
}


def open_weights(folder: Path) -> Weights:
    """Open the weights of a checkpoint folder.

    Raises:
        CheckpointFileError: no weight file, one that is truncated or malformed or has more than
            tensors, or an index that has other names than its shards.
        MissingExtraError: only pickled torch files are there and torch is not installed.
    """
    for filename in WEIGHT_FILES:
        path = resolve_inside(folder, filename)
        if path.is_file():
            break
    else:
        found = others_in(folder)
        raise CheckpointFileError(
            f"{folder} holds no weights that are read here; looked for {', '.join(WEIGHT_FILES)}"
            + (f"; found {'; '.join(found)}" if found else "")
        )
    shard_of = _weight_map(path) if path.suffix == ".json" else {}
    names = list(dict.fromkeys(shard_of.values())) or [path.name]
    form = next(form for suffix, form in _FORMATS.items() if suffix in path.name)
    with contextlib.ExitStack() as opened:
        readers = []
        for name in names:
            readers.append(opened.enter_context(contextlib.closing(_READERS[form](folder / name))))
        for reader in readers:
            if isinstance(reader, TorchFile):
                reader.refuse_others()
        weights = Weights([reader.shard for reader in readers], readers)
        _check_listed(path, shard_of, weights.shards)
        opened.pop_all()
    weights.format = form
    return weights


def _weight_map(index: Path) -> dict[str, str]:
    """Return the file name of each tensor's shard, from an index; every shard exists."""
    spelled = json_fields.read_object(index).get("weight_map")
    if not isinstance(spelled, dict) or not spelled:
        raise CheckpointFileError(f"{index} has no 'weight_map'")
    names: dict[str, str] = {}
    for spelling in spelled.values():
        if isinstance(spelling, str) and spelling in names:
            continue
        where = f"{index}: a shard in 'weight_map'"
        path = resolve_inside(index.parent, spelling, where, plain=True)
        if not path.is_file():
            raise CheckpointFileError(f"{index} names the shard {spelling}, which is not there")
        names[spelling] = path.name  # one name, also of "./a.safetensors"
    return {tensor: names[spelling] for tensor, spelling in spelled.items()}


def _check_listed(index: Path, shard_of: Mapping[str, str], shards: Sequence[Shard]) -> None:
    there = {shard.filename: shard.tensors for shard in shards}
    lacking = [f"{name!r} in {file}" for name, file in shard_of.items() if name not in there[file]]
    if lacking:
        raise CheckpointFileError(
            f"{index} names tensors that its shards don't have: {listed(lacking)}; the index and "
            "the shards are of different checkpoints, or a shard is damaged: fetch them again"
        )


# --- writing -----------------------------------------------------------------------------------


def write_safetensors(path: Path, shard: Shard, values: Callable[[str], np.ndarray]) -> None:
    """Write a shard tensor by tensor, then read the file back and compare every byte's digest.

    `values(name)` is called once for each tensor, in order; its result may be a view.

    Raises:
        CheckpointFileError: the file can't be written, or differs from what was written.
    """
    header: dict[str, Any] = {}
    if shard.metadata is not None:
        header["__metadata__"] = shard.metadata
    at = 0
    for name, info in shard.tensors.items():
        offsets = [at, at + info.nbytes]
        header[name] = {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": offsets}
        at = offsets[1]
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    digests: dict[str, bytes] = {}
    try:
        with path.open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for name, info in shard.tensors.items():
                data = _bytes(name, values(name), info)
                digests[name] = hashlib.blake2b(data).digest()
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except CheckpointFileError:
        raise  # of what is read, not of what is written
    except OSError as e:
        raise CheckpointFileError(f"{path} can't be written: {e.strerror or e}") from e
    written = SafetensorsFile(path)
    for name in shard.tensors:
        if hashlib.blake2b(_bytes(name, written.read(name), None)).digest() != digests[name]:
            raise CheckpointFileError(f"{path}: tensor {name!r} was not written as it was given")
        written.release(name)
    written.close()


def _bytes(name: str, array: np.ndarray, info: TensorInfo | None) -> memoryview:
    """Return the little-endian row-major bytes of an array, checked against the header."""
    if info is not None and (array.shape != info.shape or array.dtype != DTYPES[info.dtype]):
        raise CheckpointFileError(
            f"tensor {name!r} is {array.dtype} {array.shape}, announced as {info}"
        )
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def sharded(tensors: Mapping[str, TensorInfo], limit: int, metadata: dict | None) -> list[Shard]:
    """Divide tensors among files of at most `limit` bytes (a larger tensor has its own)."""
    groups: list[dict[str, TensorInfo]] = [{}]
    size = 0
    for name, info in tensors.items():
        if groups[-1] and size + info.nbytes > limit:
            groups.append({})
            size = 0
        groups[-1][name] = info
        size += info.nbytes
    if len(groups) == 1:
        return [Shard("model.safetensors", groups[0], metadata)]
    names = (f"model-{i + 1:05}-of-{len(groups):05}.safetensors" for i in range(len(groups)))
    return [Shard(name, group, metadata) for name, group in zip(names, groups, strict=True)]


def index_of(shards: Iterable[Shard]) -> dict[str, Any]:
    """Return the content of `model.safetensors.index.json` for several shards."""
    pairs = [(name, shard, info) for shard in shards for name, info in shard.tensors.items()]
    total = sum(info.nbytes for _, _, info in pairs)
    weight_map = {name: shard.filename for name, shard, _ in pairs}
    return {"metadata": {"total_size": total}, "weight_map": weight_map}
