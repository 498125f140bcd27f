"""The sorted table that a TensorFlow checkpoint's `.index` is: names, each with a few bytes.

Format: google/leveldb, doc/table_format.md; tensorflow/core/lib/io/format.cc. Blocks of entries,
each block with a checksum, then a block with the places of the blocks, then a footer.
"""

from __future__ import annotations

import struct
from pathlib import Path

import inarch.protobuf as protobuf
from inarch.checkpoints.formats.crc32c import crc32c, masked
from inarch.errors import CheckpointError, CheckpointFileError
from inarch.files import read_file

FOOTER = 48
MAGIC = 0xDB4775248B80FB57
# What follows a block: how it is compressed, and the checksum of both.
TRAILER = 5
# Bytes of the keys of a block, each of which may be the one before it and a byte more.
MAX_KEY_BYTES = 1_000_000
COMPRESSIONS = {1: "Snappy", 2: "Zlib", 4: "Zstandard"}
KIND = "TensorFlow index"


def read_table(path: Path) -> dict[bytes, bytes]:
    """Return every entry of a table, in the order of the file.

    Each byte of the file is accounted for: it is under a checksum, or is what it must be.

    Raises:
        CheckpointFileError: the file is absent, truncated, damaged or of another kind.
    """
    data = read_file(path)
    try:
        return _entries(data, str(path))
    except CheckpointError as e:
        raise CheckpointFileError(str(e)) from e


def _entries(data: bytes, name: str) -> dict[bytes, bytes]:
    end = len(data) - FOOTER
    if end < 0 or struct.unpack_from("<Q", data, len(data) - 8)[0] != MAGIC:
        raise CheckpointError(
            f"{name} doesn't end as a TensorFlow index does; it is truncated or of another kind: "
            "fetch it again"
        )
    footer = data[end:-8]
    meta, at = _handle(footer, 0, name)
    index, _ = _handle(footer, at, name)
    # A number could also be written longer than it need be, which TensorFlow doesn't.
    if footer != b"".join(map(_varint, (*meta, *index))).ljust(len(footer), b"\0"):
        raise CheckpointError(f"{name} is damaged in its last {FOOTER} bytes; fetch it again")
    places = [_handle(value, 0, name)[0] for _, value in _block(data, *index, name)]
    _block(data, *meta, name)
    _check_tiling([*places, meta, index], end, name)
    entries: dict[bytes, bytes] = {}
    for place in places:
        for key, value in _block(data, *place, name):
            if key in entries:
                raise CheckpointError(f"{name} has the entry {key!r} twice; fetch it again")
            entries[key] = value
    return entries


def _handle(data: bytes, at: int, name: str) -> tuple[tuple[int, int], int]:
    """Return the start and the size of a block, and the place after them."""
    begin, at = protobuf.varint(data, at, name, KIND)
    size, at = protobuf.varint(data, at, name, KIND)
    return (begin, size), at


def _varint(number: int) -> bytes:
    """Return a number in groups of seven bits, in as few bytes as it takes."""
    groups = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def _check_tiling(places: list[tuple[int, int]], end: int, name: str) -> None:
    at = 0
    for begin, size in sorted(places):
        if begin != at:
            raise CheckpointError(f"{name} has no block at byte {at:,}; fetch it again")
        at = begin + size + TRAILER
    if at != end:
        raise CheckpointError(f"{name} has {end - at:,} bytes of no block; fetch it again")


def _block(data: bytes, begin: int, size: int, name: str) -> list[tuple[bytes, bytes]]:
    end = begin + size
    if end + TRAILER > len(data) - FOOTER:
        raise CheckpointError(
            f"{name} is truncated: a block should be at bytes {begin:,} to {end:,}, the file has "
            f"{len(data):,}; fetch it again"
        )
    compression, checksum = struct.unpack_from("<BI", data, end)
    if checksum != masked(crc32c(data[begin : end + 1])):
        raise CheckpointError(
            f"{name} is damaged: bytes {begin:,} to {end:,} don't have their checksum; fetch it "
            "again"
        )
    if compression:
        how = COMPRESSIONS.get(compression, f"method {compression}")
        raise CheckpointError(
            f"{name} is compressed with {how}, which TensorFlow's own writer of checkpoints never "
            "does; write it again with TensorFlow"
        )
    return _parse(data[begin:end], name)


def _parse(block: bytes, name: str) -> list[tuple[bytes, bytes]]:
    """Return the entries of a block, whose keys are stored as a prefix of the last and the rest."""
    count = int.from_bytes(block[-4:], "little") if len(block) >= 4 else len(block)
    end = len(block) - 4 * (count + 1)  # the places where keys are whole; they aren't needed here
    if end < 0:
        raise CheckpointError(f"{name} has a block of {len(block)} bytes, too few; fetch it again")
    entries = []
    at, key, keys = 0, b"", 0
    while at < end:
        shared, at = protobuf.varint(block, at, name, KIND)
        added, at = protobuf.varint(block, at, name, KIND)
        size, at = protobuf.varint(block, at, name, KIND)
        if shared > len(key) or at + added + size > end:
            raise CheckpointError(f"{name} has a malformed block; fetch it again")
        key = key[:shared] + block[at : at + added]
        keys += len(key)
        if keys > MAX_KEY_BYTES + 100 * len(block):
            raise CheckpointError(f"{name} has names that no model has; fetch it again")
        at += added
        entries.append((key, block[at : at + size]))
        at += size
    return entries
