"""The protocol buffers wire format, as far as checkpoints need it: read, never run.

https://protobuf.dev/programming-guides/encoding describes it.
"""

import struct
from collections.abc import Iterator

from inarch.errors import CheckpointError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
WIRE_TYPES = {VARINT: "a number", FIXED64: "8 bytes", BYTES: "a string", FIXED32: "4 bytes"}
Value = int | bytes


def fields(data: bytes, name: str, kind: str = "message") -> Iterator[tuple[int, Value]]:
    """Yield the fields of a message in order, as `(number, value)`.

    Strings and messages are bytes, all else is an unsigned number; `number_of` and `float_of` give
    what is meant.

    Args:
        name: what an error calls the message.
        kind: what an error calls it, such as `"SentencePiece model"`.

    Raises:
        CheckpointError: naming `name` and the byte at which it stops being such a message.
    """
    at = 0
    while at < len(data):
        start = at
        tag, at = varint(data, at, name, kind)
        number, coding = tag >> 3, tag & 7
        if number == 0 or coding not in WIRE_TYPES:
            raise CheckpointError(
                f"{name} isn't a {kind}: byte {start} begins no field (tag {tag}). "
                "The file may be damaged or of another kind: fetch it again."
            )
        if coding == VARINT:
            value, at = varint(data, at, name, kind)
            yield number, value
            continue
        size = {FIXED64: 8, FIXED32: 4}.get(coding)
        if size is None:
            size, at = varint(data, at, name, kind)
        if at + size > len(data):
            raise CheckpointError(
                f"{name} is truncated: the field at byte {start} has {size} bytes, of which "
                f"{len(data) - at} are there. Fetch it again."
            )
        part = data[at : at + size]
        at += size
        yield number, part if coding == BYTES else int.from_bytes(part, "little")


def varint(data: bytes, at: int, name: str, kind: str) -> tuple[int, int]:
    """Read a number in groups of seven bits, the lowest first; return it and the place after it.

    Raises:
        CheckpointError: it has no end.
    """
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise CheckpointError(f"{name} is truncated: it ends within a number. Fetch it again.")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise CheckpointError(
        f"{name} isn't a {kind}: the number before byte {at} has no end. "
        "The file may be damaged or of another kind: fetch it again."
    )


def number_of(value: Value, what: str) -> int:
    """Return a signed number of at most 64 bits."""
    if isinstance(value, bytes):
        raise CheckpointError(f"{what} is text where a number belongs; fetch the file again.")
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def float_of(value: Value, what: str) -> float:
    """Return a 32-bit float, which must be finite."""
    if isinstance(value, bytes) or value >> 32:
        raise CheckpointError(f"{what} isn't a number of 4 bytes; fetch the file again.")
    number = struct.unpack("<f", value.to_bytes(4, "little"))[0]
    if number - number != 0:
        raise CheckpointError(f"{what} is {number}, not a finite number; fetch the file again.")
    return number


def bytes_of(value: Value, what: str) -> bytes:
    """Return a string or a message."""
    if not isinstance(value, bytes):
        raise CheckpointError(f"{what} is the number {value} where text belongs; fetch it again.")
    return value


def text_of(value: Value, what: str) -> str:
    """Return a string in UTF-8."""
    data = bytes_of(value, what)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(
            f"{what} isn't UTF-8 text: {data!r}; fetch the file again."
        ) from error
