"""Places of the storages in a torch file: in a zip archive, or as before torch 1.6.

Formats: torch/serialization.py, `_save` and `_legacy_save`; PKWARE, APPNOTE.TXT.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inarch.checkpoints.formats.torch_parts import Storage
from inarch.checkpoints.formats.torch_pickle import read_pickle
from inarch.checkpoints.io.mapped_file import MappedFile
from inarch.errors import CheckpointError
from inarch.json_fields import is_text
from inarch.validation import shown

ZIP = b"PK\x03\x04"
LOCAL_HEADER = struct.Struct("<4s22xHH")
ENCRYPTED = 0x1
# Of the oldest files, each a tar archive, which torch itself reads no more without running code.
TAR, TAR_AT = b"ustar", 257
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
ITEM_SIZES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2,
    "int8": 1, "uint8": 1, "bool": 1, "complex64": 8, "complex128": 16, "qint8": 1, "quint8": 1,
    "qint32": 4,
}  # fmt: skip


@dataclass(frozen=True)
class ByteRange:
    """Bytes of a file, and their CRC-32 where the format has one."""

    begin: int
    size: int
    checksum: int | None = None

    @property
    def end(self) -> int:
        return self.begin + self.size


class TorchArchive:
    """The value that a torch file holds, and the places of its storages.

    Attributes:
        value: what was saved, with tensors described (see `read_pickle`).

    Raises:
        CheckpointError: the file is damaged, wants code run, or is of another kind.
    """

    def __init__(self, path: Path, file: MappedFile, allow: Collection[str] = ()):
        self.path = path
        self._file = file
        self._allow = allow
        self._checked: set[str] = set()
        self._places: dict[str, ByteRange] = {}
        start = file.bytes[: TAR_AT + len(TAR)]
        if start.startswith(ZIP):
            self.value = self._read_zip()
        elif start[TAR_AT:] == TAR:
            raise self._damaged("it is a tar archive, of before 2017: save it with a newer torch")
        else:
            self.value = self._read_stream()

    def _damaged(self, why: str) -> CheckpointError:
        return CheckpointError(
            f"{self.path} is no torch file, or a damaged one ({why}); fetch it again"
        )

    # --- zip archives --------------------------------------------------------------------------

    def _read_zip(self) -> Any:
        members = self._members()
        pickles = [name for name in members if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise self._damaged(f"a zip archive with {len(pickles)} data.pkl in it")
        root = pickles[0].removesuffix("data.pkl")
        order = members.get(f"{root}byteorder")
        if order and self._whole(order, "byteorder") != b"little":
            raise self._damaged("of a big-endian machine, whose files aren't read here")
        folder = f"{root}data/"
        self._places = {
            name.removeprefix(folder): place
            for name, place in members.items()
            if name.startswith(folder)
        }
        data = io.BytesIO(self._whole(members[pickles[0]], "data.pkl"))
        return read_pickle(data, str(self.path), self._allow)

    def _members(self) -> dict[str, ByteRange]:
        """Return every member of the archive; none is compressed, and none overlaps another."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                listed = archive.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, struct.error, NotImplementedError) as e:
            raise self._damaged(f"no whole zip archive: {e}") from e
        members: dict[str, ByteRange] = {}
        for info in listed:
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & ENCRYPTED:
                raise self._damaged(
                    f"{shown(info.filename)} is compressed or encrypted, which torch never does"
                )
            begin = info.header_offset
            header = self._file.bytes[begin : begin + LOCAL_HEADER.size] if begin >= 0 else b""
            if len(header) < LOCAL_HEADER.size or not header.startswith(ZIP):
                raise self._damaged(f"{shown(info.filename)} isn't where it should be")
            _, name, extra = LOCAL_HEADER.unpack(header)
            place = ByteRange(begin + LOCAL_HEADER.size + name + extra, info.file_size, info.CRC)
            if info.filename in members:
                raise self._damaged(f"{shown(info.filename)} is there twice")
            if info.compress_size != info.file_size:
                raise self._damaged(f"{shown(info.filename)} has two sizes")
            members[info.filename] = place
        at = 0
        for place in sorted(members.values(), key=lambda place: place.begin):
            if place.begin < at or place.end > len(self._file.bytes):
                raise self._damaged("its members overlap, or extend beyond its end")
            at = place.end
        return members

    def _whole(self, place: ByteRange, name: str) -> bytes:
        data = self._file.bytes[place.begin : place.end]
        if zlib.crc32(data) != place.checksum:
            raise self._damaged(f"{name} doesn't have its checksum")
        return data

    # --- as before torch 1.6 -------------------------------------------------------------------

    def _read_stream(self) -> Any:
        stream, what = self._file.bytes, str(self.path)
        stream.seek(0)
        if read_pickle(stream, what) != MAGIC or read_pickle(stream, what) != PROTOCOL:
            raise self._damaged("it doesn't begin as one")
        about = read_pickle(stream, what)
        if isinstance(about, dict) and about.get("little_endian") is False:
            raise self._damaged("of a big-endian machine, whose files aren't read here")
        known: dict[str, str] = {}
        value = read_pickle(stream, what, self._allow, known)
        keys = read_pickle(stream, what)
        at, end = stream.tell(), len(stream)
        for key in keys if isinstance(keys, list) else ():
            key = str(key) if isinstance(key, int) else key
            if not is_text(key) or key not in known or key in self._places:
                raise self._damaged(f"it lists the storage {shown(key)}, which nothing has")
            if at + 8 > end:
                break
            (count,) = struct.unpack_from("<q", stream, at)
            place = ByteRange(at + 8, count * ITEM_SIZES[known[key]])
            if count < 0 or place.end > end:
                break
            self._places[key] = place
            at = place.end
        return value

    # --- numbers -------------------------------------------------------------------------------

    @property
    def stored(self) -> int:
        """Bytes of all storages."""
        return sum(place.size for place in self._places.values())

    def place(self, storage: Storage) -> ByteRange:
        """Return the place of a storage.

        Raises:
            CheckpointError: it isn't there, or not as many numbers of it.
        """
        found = self._places.get(storage.key)
        if found is None:
            raise CheckpointError(
                f"{self.path} is truncated or damaged: the numbers with the key "
                f"{shown(storage.key)} aren't in it; fetch it again"
            )
        size = ITEM_SIZES[storage.dtype]
        begin = storage.begin * size
        if begin + storage.size * size > found.size:
            raise CheckpointError(
                f"{self.path} is truncated or damaged: {storage.size:,} numbers should have the "
                f"key {shown(storage.key)}, and {found.size:,} bytes have it; fetch it again"
            )
        return ByteRange(found.begin + begin, storage.size * size)

    def check(self, key: str) -> None:
        """Hold the bytes of a storage to their checksum, when they are first read.

        Raises:
            CheckpointError: they don't have it.
        """
        place = self._places[key]
        if place.checksum is None or key in self._checked:
            return
        with memoryview(self._file.bytes) as data, data[place.begin : place.end] as part:
            is_whole = zlib.crc32(part) == place.checksum
        if not is_whole:
            raise CheckpointError(
                f"{self.path} is damaged: bytes {place.begin:,} to {place.end:,} don't have their "
                "checksum; fetch it again"
            )
        self._checked.add(key)
