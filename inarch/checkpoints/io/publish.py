"""Publication of a save's files: exchanged with the old ones as a whole, or one by one.

A folder that holds a checkpoint alone is exchanged for the new one in one step where the system
can (Linux's `renameat2`). Everywhere else the new files are moved into the folder, one by one. The
save is made with one rename before that, of the folder with all new files to `COMMITTED` within the
old one; whoever finds it there, after a kill, finishes the moves. A reader that waits for it or
finishes it (`settle`) finds the old files or the new ones in every moment.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import inarch.json_fields as json_fields
from inarch.checkpoints.io.contents import (
    COMMITTED,
    CONFIG,
    is_alone,
    is_weight_file,
    may_be_stale,
    stale_files,
)
from inarch.checkpoints.io.flush import flush, flush_made
from inarch.checkpoints.io.locks import locked, open_config, try_lock
from inarch.errors import CheckpointFileError
from inarch.files import read_file
from inarch.json_fields import read_field
from inarch.paths import resolve_to_replace
from inarch.rights import new_file_mode, new_folder_mode

# The parts of a name that show what a hidden folder next to a saved one is: the files of a save, of
# which nothing is anybody else's; and an old folder that was exchanged.
NEW, OLD = ".inarch-new-", ".inarch-old-"
# In the folder of a save: the names of the files that it makes stale.
_STALE = ".stale.json"
_MAX_STALE_BYTES = 1 << 20  # bytes
_LAST = (CONFIG, "inarch.json")
# Seconds to wait for loads of the folder.
READERS_PATIENCE = 2.0
_ATTEMPTS = 100


def publish(fresh: Path, folder: Path, whole: bool = True) -> None:
    """Give the files in `fresh` their place in `folder`, whatever is there by now.

    Args:
        fresh: the folder with the new files.
        folder: the folder to save to, which need not be there.
        whole: whether the folder itself may be exchanged for the new one.
    """
    written = files_below(fresh)
    for _ in range(_ATTEMPTS):
        if not folder.exists():
            _take_modes(fresh, folder, written)
            fresh.chmod(new_folder_mode(fresh))
            try:
                fresh.rename(folder)
            except OSError as e:
                if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                continue  # another save was quicker
            flush_made(folder.parent)
            return
        with locked(folder) as held:
            if not held:
                continue  # what was locked has another name by now
            finish(folder)
            _take_modes(fresh, folder, written)
            with readers_gone(folder):
                _put(fresh, folder, written, whole)
            return
    raise CheckpointFileError(
        f"{folder} can't be written: other processes keep exchanging it; save again later"
    )


def _put(fresh: Path, folder: Path, written: list[str], whole: bool) -> None:
    stale = stale_files(folder, written)
    if not whole or not _exchange(fresh, folder, written, stale):
        _commit(fresh, folder, stale)
        finish(folder)


@contextlib.contextmanager
def readers_gone(folder: Path) -> Iterator[None]:
    """Let loads of the folder come to their end, as far as they do within a while.

    One that goes on notices that the folder has changed, and begins anew.
    """
    handle = open_config(folder)
    if handle is None:
        yield
        return
    try:
        until = time.monotonic() + READERS_PATIENCE
        while not try_lock(handle) and time.monotonic() < until:
            time.sleep(0.005)
        yield
    finally:
        os.close(handle)


# --- as a whole --------------------------------------------------------------------------------


def _exchange(fresh: Path, folder: Path, written: list[str], stale: list[str]) -> bool:
    """Exchange the two folders in one step and remove the old one; False where that can't be.

    Files of the old one that the save doesn't concern are in the new one too, by a link.
    """
    if not _is_exchangeable(fresh, folder, written):
        return False
    known = files_below(folder)
    made = []
    try:
        for name in known:
            if name in written or name in stale:
                continue
            (fresh / name).parent.mkdir(exist_ok=True)
            os.link(folder / name, fresh / name)
            made.append(fresh / name)
        fresh.chmod(folder.stat().st_mode & 0o7777)
        flush(fresh)
        old = fresh.with_name(fresh.name.replace(NEW, OLD))
        fresh.rename(old)  # from now on it may hold what is somebody else's
    except OSError:
        for path in made:
            path.unlink()
        return False
    if not _swap(old, folder):
        old.rename(fresh)
        for path in made:
            path.unlink()
        return False
    flush_made(folder.parent)
    sweep(old, folder, known)
    return True


def _is_exchangeable(fresh: Path, folder: Path, written: list[str]) -> bool:
    adjacent = fresh.parent == folder.parent and not os.path.ismount(folder)
    if not (adjacent and os.access(folder, os.W_OK)):
        return False
    if not is_alone(folder, written, new_folder_mode(fresh)):
        return False
    old, new = folder.stat(), fresh.stat()
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        return False
    try:
        return not hasattr(os, "listxattr") or os.listxattr(folder) == os.listxattr(fresh)
    except OSError:
        return False


def sweep(old: Path, folder: Path, known: list[str]) -> None:
    """Remove the `known` files of an old folder; what else was put there meanwhile moves over."""
    for name in known:
        with contextlib.suppress(OSError):
            (old / name).unlink()
    for entry in list(os.scandir(old)):
        with contextlib.suppress(OSError):
            if not os.path.lexists(folder / entry.name):
                os.rename(entry.path, folder / entry.name)
            elif entry.is_dir(follow_symlinks=False):
                os.rmdir(entry.path)  # of a module, and empty now
    with contextlib.suppress(OSError):
        old.rmdir()


def _swap(one: Path, two: Path) -> bool:
    """Exchange two names in one step where the system can (Linux's renameat2)."""
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, TypeError, AttributeError):  # Windows and macOS have no such function
        return False
    return renameat2(here, os.fsencode(one), here, os.fsencode(two), exchange) == 0


# --- one by one --------------------------------------------------------------------------------


def _commit(fresh: Path, folder: Path, stale: list[str]) -> None:
    """Make the save, with one rename: from now on its files count."""
    for name in files_below(fresh):
        target = resolve_to_replace(folder, name)
        if target.is_dir() and not target.is_symlink():
            raise CheckpointFileError(f"{target} is a folder, where a file is to be written")
    (fresh / _STALE).write_text(json.dumps(stale), "utf-8")
    flush(fresh / _STALE)
    flush(fresh)
    fresh.rename(folder / COMMITTED)
    flush_made(folder)


def finish(folder: Path) -> None:
    """Move the files of a committed save into their places, if there is one.

    Weights first and the note last; whatever was moved before a kill isn't there any more, so this
    goes on where it was.

    Raises:
        CheckpointFileError: the folder can't be written, or what is there isn't what a save leaves.
    """
    fresh = folder / COMMITTED
    if not is_committed(folder):
        return
    stale = _read_stale(fresh / _STALE)
    names = sorted(files_below(fresh), key=_order)
    # All of them first: a folder that somebody made up has none of its files moved.
    targets = [resolve_to_replace(folder, name) for name in names]
    removed = [resolve_to_replace(folder, name) for name in filter(may_be_stale, stale)]
    try:
        for name, target in zip(names, targets, strict=True):
            target.parent.mkdir(exist_ok=True)
            os.replace(fresh / name, target)
        for target in removed:
            target.unlink(missing_ok=True)
        for path in {folder, *(target.parent for target in targets)}:
            flush_made(path)
        shutil.rmtree(fresh)
    except OSError as e:
        raise CheckpointFileError(
            f"a save to {folder} is made and its files can't be moved from {COMMITTED} to their "
            f"places: {e.strerror or e}; load or save again where that is possible"
        ) from e


def is_committed(folder: Path) -> bool:
    """Return whether a folder has files of a committed save that aren't in their places.

    Raises:
        CheckpointFileError: something else has the name of the folder that they are in.
    """
    path = folder / COMMITTED
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(mode):
        raise CheckpointFileError(f"{path} is no folder, so it isn't what a save leaves; remove it")
    return True


def _read_stale(path: Path) -> list[str]:
    """Read the names of the files that a committed save makes stale."""
    if not os.path.lexists(path):  # the last file to go
        return []
    if path.is_symlink() or not path.is_file():  # a pipe would be waited for
        raise CheckpointFileError(f"{path} is no file, so it isn't what a save leaves; remove it")
    listed = {_STALE: json_fields.parse(read_file(path, _MAX_STALE_BYTES), path)}
    return read_field(
        listed, _STALE, json_fields.TEXTS, where=path.parent, error=CheckpointFileError
    )


def _order(name: str) -> tuple[int, str]:
    """Return the sort key of a file: weights first, the config and the note last."""
    if is_weight_file(name):
        return 0, name
    return (2 + _LAST.index(name), name) if name in _LAST else (1, name)


def files_below(folder: Path) -> list[str]:
    """Return the paths of the regular files below a folder, except hidden ones."""
    found: list[str] = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = Path(root).relative_to(folder)
        found += [
            (below / name).as_posix()
            for name in sorted(names)
            if not name.startswith(".") and not (Path(root) / name).is_symlink()
        ]
    return found


def _take_modes(fresh: Path, folder: Path, written: list[str]) -> None:
    """Give new files the rights of those that they replace, or those that any new file has."""
    usual = new_file_mode(fresh)
    for name in written:
        try:
            mode = (folder / name).lstat().st_mode
        except OSError:
            mode = 0
        regular = mode & 0o170000 == 0o100000
        (fresh / name).chmod(mode & 0o7777 if regular else usual)
