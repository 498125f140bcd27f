"""Files and folders that are to outlive a power cut."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def flush_made(folder: Path) -> None:
    # Every file is whole and in place; that its name outlives a power cut is the disk's part.
    with contextlib.suppress(OSError):
        flush(folder)


def flush(path: Path) -> None:
    if os.name == "nt":  # which opens no folder and flushes only what is open for writing
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync(folder: Path) -> None:
    """Have every file and folder below `folder` on disk before it gets its name."""
    for root, _, names in os.walk(folder):
        for path in (*(Path(root) / name for name in names), Path(root)):
            flush(path)
