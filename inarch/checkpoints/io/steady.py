"""Loads of one whole save each: a change in the folder is noticed, and the load repeated."""

from __future__ import annotations

import contextlib
import functools
import os
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

from inarch.checkpoints.io.contents import COMMITTED, checkpoint_files
from inarch.checkpoints.io.locks import (
    is_at,
    lock_for_reading,
    open_config,
    open_folder,
    try_locked,
)
from inarch.checkpoints.io.publish import finish, is_committed
from inarch.errors import CheckpointFileError, FolderChangedError, InarchError

P = ParamSpec("P")
R = TypeVar("R")

# So often a load begins anew.
ATTEMPTS = 8
# So often a load looks whether config.json may be read, 5 ms apart.
_TRIES = 200
# Seconds for which another process may be about to move a save's files into their places.
PATIENCE = 10.0


class FolderState:
    """A folder's checkpoint as it is before it is read, to be compared with what it is afterwards.

    A save replaces the folder or its config.json. Both are held open, so that no new one can have
    the number of an old one: a save that came between can't be overlooked.

    Args:
        folder: the checkpoint's folder; a save to it that isn't finished is waited for, or
            finished where its process is gone.

    Raises:
        CheckpointFileError: the folder can't be read, or such a save doesn't end.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._handles: list[int] = []
        self._finalizer = weakref.finalize(self, _close, self._handles)
        try:
            settle(folder)
            self._folder = open_folder(folder)
            if self._folder is not None:
                self._handles.append(self._folder)
            self._hold_config()
            self._files = self._read()
        except CheckpointFileError:
            raise
        except OSError as e:
            raise CheckpointFileError(f"{folder} can't be read: {e.strerror or e}") from e

    def _hold_config(self) -> None:
        """Open config.json, which keeps saves from replacing it for a while."""
        for _ in range(_TRIES):
            handle = open_config(self.folder)
            if handle is None:
                return
            self._handles.append(handle)
            if lock_for_reading(handle):
                return
            time.sleep(0.005)  # until a save that goes on has put its own in place
            os.close(self._handles.pop())

    def _read(self) -> dict[str, tuple[int, ...]]:
        """Return the system's entries of the checkpoint's files: their numbers, sizes and times."""
        found: dict[str, tuple[int, ...]] = {}
        for name in checkpoint_files(self.folder):
            try:
                stat = os.stat(self.folder / name)
            except FileNotFoundError:
                continue
            found[name] = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        return found

    def has_changed(self) -> bool:
        """Return whether the folder or a file of the checkpoint is another one by now."""
        try:
            same = self._folder is None or is_at(self._folder, self.folder)
            committed = os.path.lexists(self.folder / COMMITTED)
            return not same or committed or self._read() != self._files
        except OSError:
            return True

    def check(self) -> None:
        """Raise FolderChangedError where `has_changed`."""
        if self.has_changed():
            raise FolderChangedError(
                f"{self.folder} was changed by another process while it was read; load it again "
                "when that one is done"
            )

    def close(self) -> None:
        self._finalizer()


def _close(handles: list[int]) -> None:
    while handles:
        os.close(handles.pop())


def settle(folder: Path) -> None:
    """Wait until the files of a save are in their places, or move them where that was cut off.

    Raises:
        CheckpointFileError: they aren't and can't be, or what is there isn't what a save leaves.
    """
    committed = folder / COMMITTED
    until = time.monotonic() + PATIENCE
    while is_committed(folder):
        handle = open_folder(folder) if _is_ours(folder) and _is_ours(committed) else None
        if handle is not None:
            try:
                if try_locked(handle) and is_at(handle, folder):
                    finish(folder)
                    continue
            finally:
                os.close(handle)
        if time.monotonic() > until:
            raise CheckpointFileError(
                f"{folder} has files of a save in {COMMITTED} that are not in their places yet; "
                "load it again, as the user who owns and saved it where that save was cut off, or "
                "save to it again"
            )
        time.sleep(0.005)


def _is_ours(path: Path) -> bool:
    """Return whether a file is the user's of this process, who may then move it."""
    try:
        return os.name != "nt" and path.stat().st_uid == os.geteuid()
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """Read a folder in the block, which sees one save, whole.

    Raises:
        FolderChangedError: the folder's checkpoint is another one by now, whatever error the
            block raised: what is read of two saves may well be faulty.
        CheckpointFileError: as `FolderState`.
    """
    state = FolderState(folder)
    try:
        try:
            yield
        except (InarchError, OSError):
            state.check()
            raise
        state.check()
    finally:
        state.close()


def retry_when_changed(load: Callable[P, R]) -> Callable[P, R]:
    """Call `load` anew where the folder that it reads has changed meanwhile.

    Raises:
        FolderChangedError: it has, each time.
    """

    @functools.wraps(load)
    def loaded(*args: P.args, **kwargs: P.kwargs) -> R:
        for attempt in range(ATTEMPTS - 1):
            try:
                return load(*args, **kwargs)
            except FolderChangedError:
                time.sleep(0.01 * 2**attempt)
        return load(*args, **kwargs)

    return loaded
