"""CRC-32C (Castagnoli), the checksum of TensorFlow's checkpoints.

Definition: RFC 3720, appendix B.4. A few bytes go through the usual table. Many are first folded
into a few, by NumPy at about the speed of memory.
"""

import functools

import numpy as np

POLYNOMIAL = 0x82F63B78  # as the registers of the usual algorithm have it, lowest bit first
# A checksum is the remainder of the message, as a polynomial, and the polynomial divides
# x^290 + x^136 + x^113 + x^107 + x^32 + 1. So what is 290 places before another byte may be
# added to the bytes so many places on from it, and be left out. Squared, this holds for places
# twice as far apart, and so on; eightfold, places are bytes.
TERMS = (290, 136, 113, 107, 32, 0)
WIDTH, PLACES = TERMS[0], tuple(TERMS[0] - term for term in TERMS[1:])
# Places at first, in bytes: what is folded at a time should fit the processor's cache.
COARSEST = 256
PART = 1 << 20


def crc32c(data: bytes | memoryview | np.ndarray) -> int:
    """Return the checksum of bytes, or of the bytes of a contiguous array."""
    message = np.frombuffer(data, np.uint8)
    if len(message) < 4:
        return _divided(message.tobytes(), 0xFFFFFFFF) ^ 0xFFFFFFFF
    rest = np.zeros(0, np.uint8)
    for at in range(0, len(message), PART):
        part = np.concatenate([rest, message[at : at + PART]])
        if at == 0:
            part[:4] ^= 0xFF  # which is what a register of ones at the start comes to
        rest = _folded(part, COARSEST)
    scale = COARSEST // 2
    while scale:
        rest = _folded(rest, scale)
        scale //= 2
    return _divided(rest.tobytes(), 0) ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    """Return a checksum as it is stored, masked so that it can be part of checksummed data."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _folded(message: np.ndarray, scale: int) -> np.ndarray:
    """Fold a message to a shorter one of the same remainder; `message` is overwritten."""
    places = [place * scale for place in PLACES]
    at, end = 0, len(message) - WIDTH * scale
    while at < end:
        size = min(places[0], end - at)
        for place in places:
            message[at + place : at + place + size] ^= message[at : at + size]
        at += size
    return message[at:]


@functools.cache
def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)


def _divided(message: bytes, crc: int) -> int:
    table = _table()
    for byte in message:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc
