"""Locks of a folder: saves to it come one after another, and wait a while for loads of it.

A lock ends with its process. There are none on Windows and on some network file systems.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from inarch.checkpoints.io.contents import CONFIG
from inarch.errors import CheckpointFileError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Seconds to wait for another process that saves to the same folder: it moves files meanwhile.
PATIENCE = 30.0


def open_config(folder: Path) -> int | None:
    """Open config.json, to lock it; return None where it isn't a file of the folder."""
    try:
        return os.open(folder / CONFIG, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, AttributeError):  # Windows has none of these flags, and locks what is open
        return None


def lock_for_reading(handle: int) -> bool:
    """Keep saves waiting until a load is done; False while one is putting its files in place."""
    return _flock(handle, "LOCK_SH") is not False


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Keep other saves out of `folder`; yields False where it is no longer the folder by its name.

    Where there are no locks, saves at one time aren't kept apart.

    Raises:
        CheckpointFileError: another process has the folder locked and doesn't end.
    """
    handle = open_folder(folder)
    if handle is None:
        yield True
        return
    try:
        until = time.monotonic() + PATIENCE
        while not try_lock(handle):
            if time.monotonic() > until:
                raise CheckpointFileError(
                    f"another process is saving to {folder} and doesn't end; try again later"
                )
            time.sleep(0.005)
        yield is_at(handle, folder)
    finally:
        os.close(handle)


def open_folder(folder: Path) -> int | None:
    """Open a folder; return its handle, None where the system has none."""
    if os.name == "nt":
        return None
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def is_at(handle: int, folder: Path) -> bool:
    """Return whether the folder of a handle is the one that has this name."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(folder))
    except FileNotFoundError:
        return False


def try_lock(handle: int) -> bool:
    """Lock a folder without waiting; True also where the file system has no locks."""
    return _flock(handle, "LOCK_EX") is not False


def try_locked(handle: int) -> bool:
    """Return whether a folder is locked now by this call: False also where there are no locks."""
    return _flock(handle, "LOCK_EX") is True


def _flock(handle: int, kind: str) -> bool | None:
    """Lock without waiting: whether that is done, or None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, getattr(fcntl, kind) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
