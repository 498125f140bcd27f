"""Changes of files: of their bytes, of their JSON, of what is there."""

from __future__ import annotations

import json
import random
import struct

BYTES = (0, 1, 0x7F, 0x80, 0xFF, 0x5B, 0x7B, 0xC0, 0xDD)
NUMBERS = ((0xFFFFFFFF, "<I"), (0x7FFFFFFF, "<I"), (2**63, "<Q"), (2**40, "<Q"), (10**9, ">I"))
WORDS = [struct.pack(code, value) for value, code in NUMBERS]
VALUES = (
    None, True, False, 0, -1, 1, 2, 10**9, 10**12, 2**63, 10**38, -(10**38), 0.5, 1e308,
    float("inf"),
    float("nan"), "", "x", "\ud800", "\x1b[31m\0", "x" * 3000, "../x", "/etc/passwd", "[MASK]", [],
    [[]], [1], ["x"], {}, {"": 1}, {"a": {"b": []}}, {"content": ""}, {"type": "x"}, [["a", 1.0]],
)  # fmt: skip


def mutated(files: dict[str, bytes], chance: random.Random) -> dict[str, bytes]:
    """The files with one or a few changes."""
    made = dict(files)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        name = chance.choice(sorted(made))
        data = made[name]
        if chance.random() < 0.02 and len(made) > 1:
            del made[name]
        elif name.endswith(".json") and chance.random() < 0.85:
            made[name] = _json(data, chance)
        elif name.endswith(".safetensors") and chance.random() < 0.5:
            made[name] = _header(data, chance)
        else:
            made[name] = _bytes(data, chance)
    return made


def _bytes(data: bytes, chance: random.Random) -> bytes:
    # Headers are at the beginning, directories at the end.
    size = len(data)
    near = chance.random()
    last = min(size, 400) if near < 0.5 else size
    at = chance.randrange(last) if last else 0
    if near > 0.85 and size:
        at = max(0, size - 1 - chance.randrange(min(size, 300)))
    kind = chance.randrange(7)
    if kind == 0:
        flipped = data[at] ^ 1 << chance.randrange(8) if size else 0
        return data[:at] + bytes([flipped]) + data[at + 1 :]
    if kind == 1:
        return data[:at] + bytes([chance.choice(BYTES)]) + data[at + 1 :]
    if kind == 2:
        return data[:at]
    if kind == 3:
        word = chance.choice(WORDS)
        return data[:at] + word + data[at + len(word) :]
    if kind == 4:
        return data[:at] + chance.randbytes(chance.randrange(1, 9)) + data[at:]
    if kind == 5:
        end = at + chance.randrange(1, 60)
        return data[:end] + data[at:end] * chance.choice((1, 3, 50)) + data[end:]
    return data[:at] + data[at + chance.randrange(1, 60) :]


def _json(data: bytes, chance: random.Random) -> bytes:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return _bytes(data, chance)
    return json.dumps(_changed(value, chance)).encode()


def _header(data: bytes, chance: random.Random) -> bytes:
    """safetensors, whose header is JSON."""
    (length,) = struct.unpack("<Q", data[:8]) if len(data) >= 8 else (0,)
    text = _json(data[8 : 8 + length], chance)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def _changed(value, chance: random.Random, depth: int = 0):
    """One value of a tree replaced, left out or added."""
    if depth > 30 or not isinstance(value, dict | list) or not value or chance.random() < 0.12:
        return chance.choice(VALUES)
    if isinstance(value, list):
        place = chance.randrange(len(value))
        made = list(value)
        if chance.random() < 0.15:
            del made[place]
        elif chance.random() < 0.1:
            made.insert(place, made[place])
        else:
            made[place] = _changed(made[place], chance, depth + 1)
        return made
    key = chance.choice(sorted(value))
    made = dict(value)
    if chance.random() < 0.1:
        del made[key]
    elif chance.random() < 0.1:
        made[chance.choice(("", "\ud800", "x" * 400, key + "_"))] = made.pop(key)
    else:
        made[key] = _changed(made[key], chance, depth + 1)
    return made
