"""TensorFlow checkpoints, read without TensorFlow: NAME.index and NAME.data-00000-of-00001.

Format: tensorflow/core/util/tensor_bundle and tensorflow/core/protobuf/tensor_bundle.proto. The
index is a sorted table of entries; the data files are the tensors' bytes, one after the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import inarch.protobuf as protobuf
from inarch.checkpoints.formats.crc32c import crc32c, masked
from inarch.checkpoints.formats.table_file import read_table
from inarch.checkpoints.formats.weights import DTYPES, Shard, TensorInfo, Weights, check_sharing
from inarch.checkpoints.io.mapped_file import MappedFile
from inarch.errors import CheckpointError, CheckpointFileError
from inarch.files import read_file
from inarch.json_fields import is_shape
from inarch.validation import shown

# tensorflow/core/framework/types.proto; quantized, complex and string tensors aren't read.
CODES = {
    1: "F32", 2: "F64", 3: "I32", 4: "U8", 5: "I16", 6: "I8", 9: "I64", 10: "BOOL", 14: "BF16",
    17: "U16", 19: "F16", 22: "U32", 23: "U64", 24: "F8_E5M2", 25: "F8_E4M3",
}  # fmt: skip
STRING = 7
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


@dataclass(frozen=True)
class BundleEntry:
    """Entry of the index for a tensor: its kind, the place of its bytes, and their checksum."""

    info: TensorInfo
    shard: int
    begin: int
    checksum: int

    @property
    def end(self) -> int:
        return self.begin + self.info.nbytes


class TensorBundle:
    """The tensors of a TensorFlow checkpoint, mapped for reading.

    A tensor's bytes are held to their checksum when it is first read, so that what isn't read
    costs nothing.
    """

    def __init__(self, prefix: Path):
        self._checked: set[str] = set()
        index = prefix.with_name(f"{prefix.name}.index")
        entries = read_table(index)
        try:
            count, self._places = _read(entries, str(index))
        except CheckpointError as e:
            raise CheckpointFileError(str(e)) from e
        names = [f"{prefix.name}.data-{i:05}-of-{count:05}" for i in range(count)]
        self._files = [MappedFile(prefix.with_name(name)) for name in names]
        for name, place in self._places.items():
            size = len(self._files[place.shard].bytes)
            if place.end > size:
                raise CheckpointFileError(
                    f"{self._files[place.shard].path} has {size:,} bytes, and by {index.name} "
                    f"tensor {name!r} is at {place.begin:,} to {place.end:,}; it is truncated: "
                    "fetch it again"
                )
        stored = sum(len(file.bytes) for file in self._files)
        check_sharing(index, [place.info for place in self._places.values()], stored)
        order = sorted(self._places, key=lambda n: (self._places[n].shard, self._places[n].begin))
        self.shard = Shard(prefix.name, {name: self._places[name].info for name in order})

    def read(self, name: str) -> np.ndarray:
        place = self._places[name]
        file = self._files[place.shard]
        if name not in self._checked:
            raw = file.array(np.dtype(np.uint8), (place.info.nbytes,), place.begin)
            if masked(crc32c(raw)) != place.checksum:
                raise CheckpointFileError(
                    f"{file.path} is damaged: tensor {name!r}, at bytes {place.begin:,} to "
                    f"{place.end:,}, doesn't have its checksum; fetch it again"
                )
            self._checked.add(name)
        return file.array(DTYPES[place.info.dtype], place.info.shape, place.begin)

    def release(self, name: str) -> None:
        """Drop the mapped pages of a tensor that has been copied out."""
        place = self._places[name]
        self._files[place.shard].release(place.begin, place.end)

    def close(self) -> None:
        for file in self._files:
            file.close()


def open_bundle(prefix: Path) -> Weights:
    """Open the weights of a TensorFlow checkpoint, given by its path without `.index`.

    Raises:
        CheckpointFileError: a file is absent, truncated or damaged, or holds tensors of a kind
            that isn't read.
    """
    reader = TensorBundle(prefix)
    weights = Weights([reader.shard], [reader])
    weights.format = "TensorFlow checkpoint"
    return weights


def _read(entries: dict[bytes, bytes], name: str) -> tuple[int, dict[str, BundleEntry]]:
    """Return the number of data files, and the place of every tensor."""
    header = dict(protobuf.fields(entries.get(b"", b""), name))
    count = protobuf.number_of(header.get(1, 0), f"the number of data files of {name}")
    if not 0 < count < 100_000:
        raise CheckpointError(f"{name} announces {count} data files; it is no TensorFlow index")
    if header.get(2, 0) != 0:
        raise CheckpointError(f"{name} is of a big-endian machine, whose files aren't read here")
    if OBJECT_GRAPH.encode() in entries:
        raise CheckpointError(
            f"{name} is of a checkpoint that TensorFlow 2 wrote from objects ({OBJECT_GRAPH}); its "
            "names are those of Python attributes, and only variables saved by name are read here "
            "(tf.compat.v1.train.Saver)"
        )
    places = {}
    for key, value in entries.items():
        if key:
            tensor = protobuf.text_of(key, f"a name in {name}")
            places[tensor] = _place(value, f"tensor {tensor!r} in {name}", count)
    return count, places


def _place(entry: bytes, what: str, count: int) -> BundleEntry:
    found: dict[int, protobuf.Value] = {}
    for number, value in protobuf.fields(entry, what):
        if number == 7:
            raise CheckpointError(f"{what} is stored in slices; save it as one variable")
        found[number] = value
    numbers = {n: protobuf.number_of(found.get(n, 0), what) for n in (1, 3, 4, 5, 6)}
    if numbers[1] not in CODES:
        kind = "text" if numbers[1] == STRING else f"of TensorFlow's type {numbers[1]}"
        raise CheckpointError(f"{what} is {kind}; only plain numbers are read here")
    info = TensorInfo(CODES[numbers[1]], _shape(protobuf.bytes_of(found.get(2, b""), what), what))
    place = BundleEntry(info, numbers[3], numbers[4], numbers[6])
    if not (0 <= place.shard < count and place.begin >= 0 and numbers[5] == info.nbytes):
        raise CheckpointError(
            f"{what} ({info.dtype} {list(info.shape)}) can't be {numbers[5]:,} bytes from "
            f"{place.begin:,} on in data file {place.shard} of {count}"
        )
    return place


def _shape(message: bytes, what: str) -> tuple[int, ...]:
    sizes = []
    for number, value in protobuf.fields(message, what):
        if number == 2:
            dim = dict(protobuf.fields(protobuf.bytes_of(value, what), what))
            sizes.append(protobuf.number_of(dim.get(1, 0), what))
    if any(size < 0 for size in sizes):
        raise CheckpointError(f"{what} has the shape {sizes}, of which a size is open")
    if not is_shape(sizes):
        raise CheckpointError(f"{what} has the shape {shown(sizes)}; fetch the file again")
    return tuple(sizes)


def find_bundle(folder: Path, usual: str) -> Path:
    """Find the checkpoint of a folder; return its path without `.index`.

    The one named `usual`; else the one that TensorFlow's file `checkpoint` calls the latest; else
    the only one.

    Raises:
        CheckpointFileError: there is none, or there are several and none is the latest.
    """
    found = sorted(path.name.removesuffix(".index") for path in folder.glob("*.index"))
    if usual in found:
        return folder / usual
    state = folder / "checkpoint"
    if state.is_file():
        text = read_file(state).decode("utf-8", "replace")
        latest = re.search(r'^model_checkpoint_path: "(?:.*/)?([^"/]+)"', text, re.MULTILINE)
        if latest and latest[1] in found:
            return folder / latest[1]
    if len(found) != 1:
        listed = ", ".join(f"{name}.index" for name in found) or "none"
        raise CheckpointFileError(
            f"{folder} should hold {usual}.index or one other TensorFlow checkpoint; found: "
            f"{listed}"
        )
    return folder / found[0]
