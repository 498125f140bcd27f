"""MessagePack, as far as Flax's checkpoints need it: walked through in place, read and never run.

Format: https://github.com/msgpack/msgpack/blob/master/spec.md. Bytes and extensions are given as
places in the file, so that the numbers of a checkpoint stay where they are.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from inarch.errors import CheckpointError
from inarch.validation import shown

# As deep as a tree of parameters may be.
MAX_DEPTH = 100
# Values of a tree; the largest model's parameters are far fewer.
MAX_VALUES = 200_000
# First bytes that a size of 1, 2 or 4 bytes follows, and those of numbers.
SIZES = {0: ">B", 1: ">H", 2: ">I"}
NUMBERS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}


@dataclass(frozen=True)
class Raw:
    """Bytes of the file: a binary string, or an extension where `kind` is its number."""

    begin: int
    end: int
    kind: int | None = None


def unpack(data: Any, name: str, begin: int = 0, end: int | None = None) -> Any:
    """Return the value in `data[begin:end]`: dictionaries, lists, text, numbers and `Raw`.

    Args:
        data: bytes, or a mapped file.
        name: what an error calls the file.

    Raises:
        CheckpointError: the bytes are not one value, whole and nothing after it.
    """
    reader = _Reader(data, name, begin, len(data) if end is None else end)
    value = reader.value(0)
    if reader.at != reader.end:
        raise reader.error(f"has {reader.end - reader.at:,} bytes after its end")
    return value


class _Reader:
    def __init__(self, data: Any, name: str, begin: int, end: int):
        self.data, self.name, self.at, self.end = data, name, begin, end
        self.left = MAX_VALUES

    def error(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"{self.name} isn't whole MessagePack: at byte {self.at:,} it {what}; fetch it again"
        )

    def take(self, size: int) -> Raw:
        if size > self.end - self.at:
            raise self.error(f"ends {size - (self.end - self.at):,} bytes too soon")
        self.at += size
        return Raw(self.at - size, self.at)

    def number(self, code: str) -> Any:
        raw = self.take(struct.calcsize(code))
        return struct.unpack_from(code, self.data, raw.begin)[0]

    def text(self, size: int) -> str:
        raw = self.take(size)
        try:
            return self.data[raw.begin : raw.end].decode("utf-8")
        except UnicodeDecodeError as e:
            raise self.error("has text that isn't UTF-8") from e

    def value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise self.error(f"is nested deeper than {MAX_DEPTH} levels")
        first = self.number(">B")
        if first < 0x80 or first >= 0xE0:
            return first if first < 0x80 else first - 0x100
        if first < 0x90:
            return self.map(first & 0x0F, depth)
        if first < 0xA0:
            return self.array(first & 0x0F, depth)
        if first < 0xC0:
            return self.text(first & 0x1F)
        if first in CONSTANTS:
            return CONSTANTS[first]
        if first in NUMBERS:
            return self.number(NUMBERS[first])
        return self.sized(first, depth)

    def sized(self, first: int, depth: int) -> Any:
        """Return a value whose first byte is the number of bytes of its size."""
        if 0xC4 <= first <= 0xC6:
            return self.take(self.number(SIZES[first - 0xC4]))
        if 0xC7 <= first <= 0xC9:
            return self.extension(self.number(SIZES[first - 0xC7]))
        if 0xD4 <= first <= 0xD8:
            return self.extension(1 << first - 0xD4)
        if 0xD9 <= first <= 0xDB:
            return self.text(self.number(SIZES[first - 0xD9]))
        if first in (0xDC, 0xDD):
            return self.array(self.number(SIZES[first - 0xDB]), depth)
        if first in (0xDE, 0xDF):
            return self.map(self.number(SIZES[first - 0xDD]), depth)
        raise self.error(f"has the byte {first:#04x}, which begins nothing")

    def extension(self, size: int) -> Raw:
        kind = self.number(">b")
        raw = self.take(size)
        return Raw(raw.begin, raw.end, kind)

    def several(self, count: int, one: Callable[[], Any]) -> list[Any]:
        if count > self.end - self.at:  # each takes a byte at least
            raise self.error(f"should have {count:,} values more and is too short for them")
        self.left -= count
        if self.left < 0:
            raise self.error(f"has more than {MAX_VALUES:,} values")
        return [one() for _ in range(count)]

    def array(self, count: int, depth: int) -> list[Any]:
        return self.several(count, lambda: self.value(depth + 1))

    def map(self, count: int, depth: int) -> dict[Any, Any]:
        found: dict[Any, Any] = {}

        def entry() -> None:
            key = self.value(depth + 1)
            if not isinstance(key, str | int) or key in found:
                raise self.error(f"has the key {shown(key)} twice, or no key of text")
            found[key] = self.value(depth + 1)

        self.several(count, entry)
        return found
