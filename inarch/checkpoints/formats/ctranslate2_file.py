"""CTranslate2's `model.bin`, read without CTranslate2.

Format: CTranslate2, python/ctranslate2/specs/model_spec.py (`ModelSpec._serialize`) and
src/models/model.cc (`Model::load`). Numbers are little-endian, with no padding between them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inarch.checkpoints.formats.weights import DTYPES, Shard, TensorInfo, Weights, check_sharing
from inarch.checkpoints.io.mapped_file import MappedFile
from inarch.errors import CheckpointFileError

# From 4 on a tensor's dtype is stored. CTranslate2 has written 6 since its version 3.
VERSIONS = (4, 5, 6)
DTYPE_CODES = ("F32", "I8", "I16", "I32", "F16", "BF16")
QUANTIZED = ("I8", "I16")
# Factor of a quantized tensor of 16 bits where the file has none
# (ops::Quantize::global_int16_scale).
USUAL_SCALE = 1000.0
MAX_RANK = 8


@dataclass(frozen=True)
class StoredVariable:
    """Variable as stored in the file."""

    info: TensorInfo
    begin: int

    @property
    def end(self) -> int:
        return self.begin + self.info.nbytes


class CTranslate2File:
    """The variables of a CTranslate2 model, mapped for reading.

    Quantized tensors are read as float32, each divided by its scale, as
    `ops::Dequantize` does; the scales aren't listed. An alias is listed as its target
    tensor, and a variable without axes is a setting.

    Attributes:
        spec: the name of the kind of model, such as `"WhisperSpec"`.
        revision: the revision of that kind.
        settings: variables without axes, by name.
        quantized: names of the tensors that are quantized.

    Raises:
        CheckpointFileError: the file is absent, truncated, damaged or of another kind.
    """

    def __init__(self, path: Path):
        self.path = path
        self._file = MappedFile(path)
        self._at = 0
        version = self._number("<I", "a version")
        if version not in VERSIONS:
            raise CheckpointFileError(
                f"{path} is no CTranslate2 model, or one of binary version {version:,}; read here: "
                f"{', '.join(map(str, VERSIONS))}. Convert the original model again"
            )
        self.spec = self._text()
        self.revision = self._number("<I", "a revision")
        self._places: dict[str, StoredVariable] = {}
        for _ in range(self._number("<I", "the number of variables")):
            name = self._text()
            if name in self._places:
                raise CheckpointFileError(f"{path} has two variables of the name {name!r}")
            self._places[name] = self._variable(name)
        self._alias_targets = self._aliases()
        if self._at != len(self._file.bytes):
            more = len(self._file.bytes) - self._at
            raise CheckpointFileError(f"{path} has {more:,} bytes after its end; fetch it again")
        places = {name: self._places[self._stored(name)] for name in self._names()}
        self.settings = {n: self._raw(n).item() for n, p in places.items() if not p.info.shape}
        self._scales = {n: self._scale(n) for n, p in places.items() if self._is_quantized(p)}
        self.quantized = tuple(self._scales)
        scales = {f"{name}_scale" for name in self.quantized}
        self.settings = {n: value for n, value in self.settings.items() if n not in scales}
        self.shard = Shard(
            path.name,
            {
                name: TensorInfo("F32", place.info.shape) if name in self._scales else place.info
                for name, place in places.items()
                if place.info.shape and name not in scales
            },
        )
        check_sharing(path, self.shard.tensors.values(), len(self._file.bytes))

    def _names(self) -> list[str]:
        return [*self._places, *self._alias_targets]

    def _stored(self, name: str) -> str:
        return self._alias_targets.get(name, name)

    @staticmethod
    def _is_quantized(place: StoredVariable) -> bool:
        return place.info.dtype in QUANTIZED and bool(place.info.shape)

    def _take(self, size: int, what: str) -> int:
        """Return the place of the next `size` bytes, and move past them."""
        begin, total = self._at, len(self._file.bytes)
        if begin + size > total:
            raise CheckpointFileError(
                f"{self.path} is truncated or of another format: {what} should be at bytes "
                f"{begin:,} to {begin + size:,}, the file has {total:,}; fetch it again"
            )
        self._at += size
        return begin

    def _number(self, code: str, what: str) -> int:
        begin = self._take(struct.calcsize(code), what)
        return struct.unpack_from(code, self._file.bytes, begin)[0]

    def _text(self) -> str:
        """Read a name, whose stored size includes the zero at its end."""
        size = self._number("<H", "the length of a name")
        begin = self._take(size, "a name")
        data = self._file.bytes[begin : begin + size]
        if not data.endswith(b"\0"):
            raise CheckpointFileError(
                f"{self.path} has no name at byte {begin:,}; it is damaged or no CTranslate2 "
                "model: fetch it again"
            )
        try:
            return data[:-1].decode("utf-8")
        except UnicodeDecodeError as e:
            raise CheckpointFileError(
                f"{self.path} has a name at byte {begin:,} that isn't UTF-8; fetch it again"
            ) from e

    def _variable(self, name: str) -> StoredVariable:
        what = f"variable {name!r}"
        rank = self._number("<B", f"the rank of {what}")
        if rank > MAX_RANK:
            raise CheckpointFileError(f"{self.path}: {what} has {rank} axes; fetch the file again")
        shape = tuple(self._number("<I", f"the shape of {what}") for _ in range(rank))
        kind = self._number("<B", f"the type of {what}")
        if kind >= len(DTYPE_CODES):
            raise CheckpointFileError(
                f"{self.path}: {what} is of CTranslate2's type {kind}; known: "
                f"{', '.join(DTYPE_CODES)}"
            )
        info = TensorInfo(DTYPE_CODES[kind], shape)
        nbytes = self._number("<I", f"the size of {what}")
        if info.nbytes != nbytes:
            raise CheckpointFileError(
                f"{self.path}: {what} ({info.dtype} {list(shape)}) has {nbytes:,} bytes; fetch "
                "the file again"
            )
        return StoredVariable(info, self._take(nbytes, what))

    def _aliases(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for _ in range(self._number("<I", "the number of aliases")):
            alias, name = self._text(), self._text()
            if name not in self._places or alias in self._places or alias in found:
                raise CheckpointFileError(
                    f"{self.path} calls {name!r} {alias!r} as well, and has "
                    f"{'no such variable' if name not in self._places else 'another of that name'}"
                )
            found[alias] = name
        return found

    def _raw(self, name: str) -> np.ndarray:
        place = self._places[self._stored(name)]
        return self._file.array(DTYPES[place.info.dtype], place.info.shape, place.begin)

    def _scale(self, name: str) -> np.ndarray:
        """Return the factors of a quantized tensor: a number for each row, or one for all."""
        stored = self._stored(name)
        info = self._places[stored].info
        factors = self._stored(f"{stored}_scale")
        if factors not in self._places:
            if info.dtype == "I16":
                return np.array(USUAL_SCALE, np.float32)
            raise CheckpointFileError(f"{self.path} has no scale {factors!r} for what it quantizes")
        scale = np.array(self._raw(factors), np.float32)
        rows = info.shape[:1] if info.dtype == "I8" else ()
        if scale.shape != rows or not np.all(np.isfinite(scale) & (scale > 0)):
            raise CheckpointFileError(
                f"{self.path}: {factors!r} {list(scale.shape)} should be positive numbers "
                f"{list(rows)} for {stored!r} {list(info.shape)}; fetch the file again"
            )
        return scale

    def read(self, name: str) -> np.ndarray:
        """Return the values of a tensor; those of a quantized one as float32."""
        values = self._raw(name)
        if name not in self._scales:
            return values
        scale = self._scales[name]
        return values.astype(np.float32) / scale.reshape(scale.shape + (1,) * (values.ndim - 1))

    def release(self, name: str) -> None:
        """Drop the mapped pages of a tensor that has been copied out."""
        place = self._places[self._stored(name)]
        self._file.release(place.begin, place.end)

    def close(self) -> None:
        self._file.close()


def open_ctranslate2(path: Path, spec: str, revisions: int) -> tuple[Weights, CTranslate2File]:
    """Open a CTranslate2 model; return its tensors, and the file that they are in.

    Args:
        spec: the kind of model that it must be.
        revisions: the last revision of that kind that is known.

    Raises:
        CheckpointFileError: the file is absent, damaged, or holds another kind of model.
    """
    reader = CTranslate2File(path)
    if reader.spec != spec or not 0 < reader.revision <= revisions:
        raise CheckpointFileError(
            f"{path} holds a model of CTranslate2's kind {reader.spec!r}, revision "
            f"{reader.revision}; read here: {spec!r} up to revision {revisions}"
        )
    weights = Weights([reader.shard], [reader])
    weights.format = "CTranslate2 model"
    return weights, reader
