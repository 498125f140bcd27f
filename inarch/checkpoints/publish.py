"""The files of a save come into place: exchanged with the old ones as a whole, or one by one.

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
import time
from collections.abc import Iterator
from pathlib import Path

from inarch.checkpoints.contents import (
    COMMITTED,
    CONFIG,
    checkpoint_files,
    is_alone,
    is_weight_file,
    may_be_stale,
    stale_files,
    umask,
)
from inarch.errors import CheckpointFileError
from inarch.paths import resolve_inside

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# The parts of a name that tell what a hidden folder beside a saved one is: the files of a save, of
# which nothing is anybody else's; and an old folder that was exchanged.
NEW, OLD = ".inarch-new-", ".inarch-old-"
# In the folder of a save: the names of the files that it makes stale.
_STALE = ".stale.json"
_LAST = (CONFIG, "inarch.json")
# Seconds to wait for another process that saves to the same folder: it moves files meanwhile.
PATIENCE = 30.0
# Seconds to wait for loads of the folder.
READERS_PATIENCE = 2.0
_ATTEMPTS = 100


def publish(fresh: Path, folder: Path) -> None:
    """Give the files in `fresh` their place in `folder`, whatever is there by now."""
    written = files_below(fresh)
    for _ in range(_ATTEMPTS):
        if not folder.exists():
            _take_modes(fresh, folder, written)
            fresh.chmod(0o777 & ~umask())
            try:
                fresh.rename(folder)
            except OSError as e:
                if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                continue  # another save was quicker
            _flush_made(folder.parent)
            return
        with locked(folder) as held:
            if not held:
                continue  # what was locked has another name by now
            finish(folder)
            _take_modes(fresh, folder, written)
            with readers_gone(folder):
                _put(fresh, folder, written)
            return
    raise CheckpointFileError(
        f"{folder} can't be written: other processes keep exchanging it; save again later"
    )


def _put(fresh: Path, folder: Path, written: list[str]) -> None:
    stale = stale_files(checkpoint_files(folder), written)
    if not _exchange(fresh, folder, written, stale):
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


def open_config(folder: Path) -> int | None:
    """A handle of config.json, to lock it; None where it isn't a file of the folder."""
    try:
        return os.open(folder / CONFIG, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, AttributeError):  # Windows has none of these flags, and locks what is open
        return None


def lock_for_reading(handle: int) -> bool:
    """Keep saves waiting until a load is done; False while one is putting its files in place."""
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Keep other saves out of `folder`; yields False where it is no longer the folder by its name.

    A lock ends with its process. Where there are none (Windows, some network file systems) saves
    at one time aren't kept apart.

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
    """A handle of a folder; None where the system has none."""
    if os.name == "nt":
        return None
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def is_at(handle: int, folder: Path) -> bool:
    """Whether the folder of a handle is the one that has this name."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(folder))
    except FileNotFoundError:
        return False


def try_lock(handle: int) -> bool:
    """Lock a folder without waiting; True also where the file system has no locks."""
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def try_locked(handle: int) -> bool:
    """Whether a folder is locked now by this call: False also where there are no locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


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
        _flush(fresh)
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
    _flush_made(folder.parent)
    sweep(old, folder, known)
    return True


def _is_exchangeable(fresh: Path, folder: Path, written: list[str]) -> bool:
    beside = fresh.parent == folder.parent and not os.path.ismount(folder)
    if not (beside and os.access(folder, os.W_OK) and is_alone(folder, written)):
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
        target = resolve_inside(folder, name) if "/" in name else folder / name
        if target.is_dir() and not target.is_symlink():
            raise CheckpointFileError(f"{target} is a folder, where a file is to be written")
    (fresh / _STALE).write_text(json.dumps(stale), "utf-8")
    _flush(fresh / _STALE)
    _flush(fresh)
    fresh.rename(folder / COMMITTED)
    _flush_made(folder)


def finish(folder: Path) -> None:
    """Move the files of a committed save into their places, if there is one.

    Weights first and the note last; whatever was moved before a kill isn't there any more, so this
    goes on where it was.

    Raises:
        CheckpointFileError: the folder can't be written.
    """
    fresh = folder / COMMITTED
    if not fresh.is_dir() or fresh.is_symlink():
        return
    try:
        stale = json.loads((fresh / _STALE).read_bytes())
    except FileNotFoundError:  # the last file to go
        stale = []
    except (OSError, ValueError) as e:
        raise CheckpointFileError(f"{fresh} isn't what a save leaves; remove it: {e}") from e
    try:
        names = sorted(files_below(fresh), key=_order)
        for name in names:
            if "/" in name:
                resolve_inside(folder, name).parent.mkdir(exist_ok=True)
            os.replace(fresh / name, folder / name)
        for name in filter(may_be_stale, map(str, stale)):
            resolve_inside(folder, name).unlink(missing_ok=True)
        for path in {(folder / name).parent for name in (*names, CONFIG)}:
            _flush_made(path)
        shutil.rmtree(fresh)
    except CheckpointFileError:
        raise
    except OSError as e:
        raise CheckpointFileError(
            f"a save to {folder} is made and its files can't be moved from {COMMITTED} to their "
            f"places: {e.strerror or e}; load or save again where that is possible"
        ) from e


def _order(name: str) -> tuple[int, str]:
    """Weights before everything else, then the config and the note."""
    if is_weight_file(name):
        return 0, name
    return (2 + _LAST.index(name), name) if name in _LAST else (1, name)


def files_below(folder: Path) -> list[str]:
    """The regular files in a folder and the folders below it, by path; hidden ones aren't."""
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
    usual = 0o666 & ~umask()
    for name in written:
        try:
            mode = (folder / name).lstat().st_mode
        except OSError:
            mode = 0
        regular = mode & 0o170000 == 0o100000
        (fresh / name).chmod(mode & 0o7777 if regular else usual)


def _flush_made(folder: Path) -> None:
    # Every file is whole and in place; that its name outlives a power cut is the disk's part.
    with contextlib.suppress(OSError):
        _flush(folder)


def _flush(path: Path) -> None:
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
            _flush(path)
