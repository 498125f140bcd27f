"""Parts that all seeds are made of."""

from __future__ import annotations

import json

Files = dict[str, bytes]
Seeds = dict[str, tuple[str, Files]]


def dumped(value) -> bytes:
    return json.dumps(value).encode()


def with_field(data: bytes, **fields) -> bytes:
    """JSON with other fields."""
    return dumped(json.loads(data) | fields)
