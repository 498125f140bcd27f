"""Reading and writing tensors: safetensors both ways, torch's `.bin` and `.pt` for reading.

Readers know every name, dtype and shape from the header alone and hand out one tensor at a time,
so a checkpoint is never in memory twice. Format: huggingface/safetensors, "Format" section.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from inarch.checkpoints.mapped import POINTER, MappedFile, refuse_pointer
from inarch.errors import CheckpointFileError, MissingExtraError

DTYPES: dict[str, np.dtype] = {
    code: np.dtype(kind)
    for code, kind in {
        "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": ml_dtypes.bfloat16,
        "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2,
        "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
        "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?", "C64": "<c8",
    }.items()
}  # fmt: skip
CODES = {dtype: code for code, dtype in DTYPES.items()}

# The limit that the safetensors format sets for its own header.
HEADER_LIMIT = 100_000_000


@dataclass(frozen=True)
class TensorInfo:
    """What a header says of one tensor. `dtype` is the format's code, such as `"F32"`."""

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
        for shard, reader in zip(shards, readers, strict=True):
            for name, info in shard.tensors.items():
                if name in self.header:
                    raise CheckpointFileError(f"tensor {name!r} is in two weight files")
                self.header[name] = info
                self._readers[name] = reader

    def read(self, name: str) -> np.ndarray:
        """The values of a tensor, read-only, shape as in the header."""
        return self._readers[name].read(name)

    def release(self, name: str) -> None:
        """Say that the values of a tensor are no longer needed in memory."""
        self._readers[name].release(name)

    def close(self) -> None:
        for reader in set(self._readers.values()):
            reader.close()

    def __enter__(self) -> Weights:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


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
        try:
            header = json.loads(data[8 : 8 + length], object_pairs_hook=_unique)
            metadata = header.pop("__metadata__", None)
            tensors = {name: self._entry(name, entry) for name, entry in header.items()}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
            raise CheckpointFileError(f"{self.path} has a malformed header: {e}") from e
        self._check_places(tensors, 8 + length, size)
        order = sorted(tensors, key=lambda name: self._places[name])
        return Shard(self.path.name, {name: tensors[name] for name in order}, metadata)

    def _entry(self, name: str, entry: dict) -> TensorInfo:
        begin, end = entry["data_offsets"]
        if entry["dtype"] not in DTYPES:
            raise ValueError(f"tensor {name!r} has dtype {entry['dtype']!r}, known: {list(DTYPES)}")
        shape = tuple(entry["shape"])
        if not all(type(n) is int and n >= 0 for n in (begin, end, *shape)):
            raise ValueError(f"tensor {name!r} has sizes that aren't whole numbers")
        self._places[name] = (begin, end)
        return TensorInfo(entry["dtype"], shape)

    def _check_places(self, tensors: Mapping[str, TensorInfo], start: int, size: int) -> None:
        at = 0
        for name, (begin, end) in sorted(self._places.items(), key=lambda item: item[1]):
            if begin != at or end - begin != tensors[name].nbytes:
                raise CheckpointFileError(
                    f"{self.path}: tensor {name!r} ({tensors[name].dtype} "
                    f"{list(tensors[name].shape)}) can't lie at bytes {begin:,} to {end:,}"
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


class TorchFile:
    """A torch checkpoint, read with `weights_only=True`: no code in it is ever run.

    Args:
        inside: the entry that holds the tensors, where the format has more than them.
        allow: plain data classes that may be made beside tensors, numbers and text.

    Attributes:
        beside: what the file holds beside `inside`.
        others: what lies among the tensors and is none, by name.
    """

    def __init__(self, path: Path, inside: str | None = None, allow: Sequence[type] = ()):
        self.path = path
        refuse_pointer(path, _first_bytes(path, len(POINTER)))
        try:
            import torch
        except ImportError as e:
            raise MissingExtraError(
                f"{path} is a pickled torch file and torch is not installed. Install it "
                "(pip install 'inarch[torch]'), or convert the checkpoint to safetensors"
            ) from e
        self._torch = torch
        self._allow: list[Any] = list(allow)
        state = self._load(path)
        self.beside: dict[str, Any] = {}
        if inside and isinstance(state, dict) and isinstance(state.get(inside), dict):
            self.beside = {name: value for name, value in state.items() if name != inside}
            state = state[inside]
        if not isinstance(state, dict):
            raise CheckpointFileError(f"{path} holds a {type(state).__name__}, not named tensors")
        self._state = {str(k): v for k, v in state.items() if isinstance(v, torch.Tensor)}
        self.others = {str(k): v for k, v in state.items() if not isinstance(v, torch.Tensor)}
        tensors = {
            name: TensorInfo(self._code(path, name, t), tuple(t.shape))
            for name, t in self._state.items()
        }
        self.shard = Shard(path.name, tensors)

    def refuse_others(self) -> None:
        """Refuse a file that has more among its tensors: what isn't read would be lost.

        Raises:
            CheckpointFileError: with the names of all that isn't a tensor.
        """
        holding = {name: n for name, v in self.others.items() if (n := self._tensors_in(v))}
        if "state_dict" in holding:
            beside = ", ".join(
                name for name in (*self._state, *self.others) if name != "state_dict"
            )
            raise CheckpointFileError(
                f"{self.path} is a checkpoint of training, such as PyTorch Lightning writes: the "
                f"weights are in its entry 'state_dict'{f', beside {beside}' if beside else ''}. "
                "Save them alone, under the names that the model has for them: "
                "torch.save(torch.load(path)['state_dict'], path)"
            )
        if self.others:
            listed = ", ".join(
                f"{name!r} ({type(value).__name__}"
                f"{f' that holds tensors: {holding[name]}' if name in holding else ''})"
                for name, value in self.others.items()
            )
            raise CheckpointFileError(
                f"{self.path} has entries that are no tensors, and that would be lost: {listed}. "
                "If the model doesn't need them, save the file without them"
            )

    def _tensors_in(self, value: Any) -> int:
        """How many tensors are anywhere in a value."""
        if isinstance(value, self._torch.Tensor):
            return 1
        if isinstance(value, Mapping):
            value = value.values()
        elif not isinstance(value, list | tuple | set):
            return 0
        return sum(map(self._tensors_in, value))

    def _load(self, path: Path) -> Any:
        options: dict[str, Any] = {"map_location": "cpu", "weights_only": True}
        try:
            with self._torch.serialization.safe_globals(self._allow):
                try:
                    return self._torch.load(path, mmap=True, **options)
                except RuntimeError as e:
                    if "mmap" not in str(e):
                        raise
                    return self._torch.load(path, **options)  # files from before torch 1.6
        except Exception as e:
            raise CheckpointFileError(f"{path} {_why_not(path, str(e) or type(e).__name__)}") from e

    def _code(self, path: Path, name: str, tensor: Any) -> str:
        kind = str(tensor.dtype).removeprefix("torch.")
        code = next((code for code, dtype in DTYPES.items() if dtype.name == kind), None)
        if code is None:
            raise CheckpointFileError(f"{path}: tensor {name!r} has dtype {kind}, not supported")
        if tensor.layout != self._torch.strided:
            layout = str(tensor.layout).removeprefix("torch.")
            raise CheckpointFileError(
                f"{path}: tensor {name!r} is stored as {layout}; only plain (strided) tensors are "
                "read. Save it again after `.to_dense()`"
            )
        if tensor.is_meta:
            raise CheckpointFileError(
                f"{path}: tensor {name!r} has a shape and no values, since it was on torch's "
                "device 'meta'. Save the model again after its weights are loaded"
            )
        return code

    def read(self, name: str) -> np.ndarray:
        tensor = self._state[name].detach().resolve_conj().contiguous()
        dtype = DTYPES[self.shard.tensors[name].dtype]
        if dtype.type in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2):
            raw = self._torch.int16 if dtype.itemsize == 2 else self._torch.int8
            return tensor.view(raw).numpy().view(dtype)
        return tensor.numpy()

    def release(self, name: str) -> None:
        """Nothing to do: torch maps the file and the system reclaims its pages."""

    def close(self) -> None:
        self._state = {}


def _first_bytes(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except FileNotFoundError as e:
        raise CheckpointFileError(f"{path} does not exist") from e
    except OSError as e:
        raise CheckpointFileError(f"{path} can't be read: {e.strerror or e}") from e


def _why_not(path: Path, said: str) -> str:
    """What is wrong with a file that torch refuses with these words."""
    needed = re.search(r"GLOBAL ([\w.]+)", said)
    if needed:
        return (
            f"can't be read as torch weights without running code from it: it wants {needed[1]}. "
            "Save its tensors alone, by the library that wrote it"
        )
    if path.stat().st_size == 0:
        return "is empty; fetch the file again"
    # After what torch says of its own settings, and before its guesses and advice.
    told = said.rpartition("WeightsUnpickler error:")[2].strip()
    why = re.split(r"\. |\n", told)[0]
    return f"is no torch file, or a damaged one ({why}); fetch it again"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name occurs twice")
    return result


# Looked for in this order; an index names the shards beside it.
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def open_weights(folder: Path) -> Weights:
    """The weights of a checkpoint folder.

    Raises:
        CheckpointFileError: no weight file, one that is truncated or malformed or has more than
            tensors, or an index that has other names than its shards.
        MissingExtraError: only pickled torch files are there and torch is not installed.
    """
    for filename in WEIGHT_FILES:
        path = folder / filename
        if path.is_file():
            break
    else:
        raise CheckpointFileError(
            f"{folder} holds no weights; looked for {', '.join(WEIGHT_FILES)}"
        )
    listed = _weight_map(path) if path.suffix == ".json" else {}
    names = list(dict.fromkeys(listed.values())) or [path.name]
    kind = SafetensorsFile if ".safetensors" in path.name else TorchFile
    readers = [kind(folder / name) for name in names]
    for reader in readers:
        if isinstance(reader, TorchFile):
            reader.refuse_others()
    weights = Weights([reader.shard for reader in readers], readers)
    _check_listed(path, listed, weights.shards)
    weights.format = "safetensors" if kind is SafetensorsFile else "torch"
    return weights


def _weight_map(index: Path) -> dict[str, str]:
    """The shard of each tensor, by an index; every shard is there."""
    listed = read_json(index).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise CheckpointFileError(f"{index} has no 'weight_map'")
    seen: list[str] = []
    for name in listed.values():
        if name in seen:
            continue
        if not isinstance(name, str) or Path(name).name != name:
            raise CheckpointFileError(f"{index} names a shard outside its folder: {name!r}")
        if not (index.parent / name).is_file():
            raise CheckpointFileError(f"{index} names the shard {name}, which is not there")
        seen.append(name)
    return listed


def _check_listed(index: Path, listed: Mapping[str, str], shards: Sequence[Shard]) -> None:
    there = {shard.filename: shard.tensors for shard in shards}
    lacking = [f"{name!r} in {file}" for name, file in listed.items() if name not in there[file]]
    if lacking:
        more = f" and {len(lacking) - 12} more" if len(lacking) > 12 else ""
        raise CheckpointFileError(
            f"{index} names tensors that its shards don't have: {', '.join(lacking[:12])}{more}; "
            "the index and the shards are of different checkpoints, or a shard is damaged: fetch "
            "them again"
        )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file, or an error that names the file."""
    try:
        data = path.read_bytes()
        refuse_pointer(path, data)
        value = json.loads(data)
    except CheckpointFileError:
        raise
    except FileNotFoundError as e:
        raise CheckpointFileError(f"{path} does not exist") from e
    except (ValueError, RecursionError) as e:
        raise CheckpointFileError(f"{path} is not JSON: {e}") from e
    except OSError as e:
        raise CheckpointFileError(f"{path} can't be read: {e.strerror or e}") from e
    if not isinstance(value, dict):
        raise CheckpointFileError(f"{path} holds a JSON {type(value).__name__}, not an object")
    return value


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
    """The little-endian row-major bytes of an array, checked against what the header says."""
    if info is not None and (array.shape != info.shape or array.dtype != DTYPES[info.dtype]):
        raise CheckpointFileError(
            f"tensor {name!r} is {array.dtype} {array.shape}, announced as {info}"
        )
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def sharded(tensors: Mapping[str, TensorInfo], limit: int, metadata: dict | None) -> list[Shard]:
    """Tensors laid out in files of at most `limit` bytes (a larger tensor has its own)."""
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
    """The content of `model.safetensors.index.json` for several shards."""
    pairs = [(name, shard, info) for shard in shards for name, info in shard.tensors.items()]
    total = sum(info.nbytes for _, _, info in pairs)
    weight_map = {name: shard.filename for name, shard, _ in pairs}
    return {"metadata": {"total_size": total}, "weight_map": weight_map}


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
