"""WAV files as they come from a pipe, whose writer couldn't go back to fill in their length.

FFmpeg then states 0xFFFFFFFF bytes, sox 0x7FFFF000, arecord 0x7FFFFFFF less some, others 0.
"""

from __future__ import annotations

import struct

# Bytes at the start of a file that hold its header.
HEAD = 4096
# Lengths in bytes, with room for headers and whole samples.
STAND_INS = (range(1), range(0x7FFFE000, 0x80000100), range(0xFFFFF000, 0x100000000))


def states_no_length(head: bytes) -> bool:
    """Return whether the header of a WAV file has a placeholder for the length of its data."""
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return False
    at = 12
    while at + 8 <= len(head):
        name, size = struct.unpack_from("<4sI", head, at)
        if name == b"data":
            return any(size in stand_in for stand_in in STAND_INS)
        at += 8 + size + size % 2
    return False
