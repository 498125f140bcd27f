"""A preset folder is replaced as a whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from inarch.checks import check_path
from inarch.errors import CheckpointFileError


@contextlib.contextmanager
def replacing(folder: str | os.PathLike, stale: Callable[[str], bool]) -> Iterator[Path]:
    """Yield an empty folder to write to; when the block ends well it takes `folder`'s place.

    Files that were in `folder` and aren't written anew are kept, unless `stale(name)`. Until
    the exchange the old folder is untouched, so a full disk or a kill loses nothing.

    Raises:
        CheckpointFileError: the folder can't be written to, or is one that the process is in; the
            old one stays as it was.
    """
    folder = _checked(folder)
    if folder.exists() and not folder.is_dir():
        raise CheckpointFileError(f"{folder} is a file; choose a folder to save to")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as e:
        raise CheckpointFileError(f"{folder} can't be written: {e.strerror or e}") from e
    try:
        yield fresh
        _keep_others(folder, fresh, stale)
        _sync(fresh)
        _exchange(fresh, folder)
    except OSError as e:
        if isinstance(e, CheckpointFileError):
            raise
        raise CheckpointFileError(
            f"{folder} can't be written: {e.strerror or e}; what was there is unchanged"
        ) from e
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _checked(folder: str | os.PathLike) -> Path:
    """The folder without links; none that is in use as the current directory.

    A process whose directory is exchanged under it is left in the old one, which is then removed.
    """
    check_path("folder", folder, "the name or the path of a folder to save to")
    if not os.fspath(folder):
        raise CheckpointFileError("the folder to save to is ''; give the name of one")
    try:
        here = Path(os.path.realpath(os.curdir))
        folder = Path(os.path.realpath(folder))
    except FileNotFoundError as e:
        raise CheckpointFileError(
            f"{folder} can't be written: the current directory is gone; change to another one"
        ) from e
    if folder == here or folder in here.parents:
        what = (
            "is the current directory" if folder == here else f"holds the current directory {here}"
        )
        raise CheckpointFileError(
            f"{folder} {what}, and is replaced as a whole by saving to it; choose a folder within "
            f"it, such as {here / 'model'}"
        )
    return folder


def _keep_others(folder: Path, fresh: Path, stale: Callable[[str], bool]) -> None:
    """Link the files that a save doesn't concern, such as a README, into the new folder."""
    mode = 0o777 & ~_umask()
    if folder.is_dir():
        mode = folder.stat().st_mode & 0o7777
        for root, folders, names in os.walk(folder):
            below = Path(root).relative_to(folder)
            (fresh / below).mkdir(exist_ok=True)
            links = [name for name in folders if (Path(root) / name).is_symlink()]
            for name in names + links:
                target = fresh / below / name
                if os.path.lexists(target) or (below == Path() and stale(name)):
                    continue
                try:
                    os.link(Path(root) / name, target, follow_symlinks=False)
                except OSError:  # another file system, or one without hard links
                    shutil.copy2(Path(root) / name, target, follow_symlinks=False)
    fresh.chmod(mode)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(folder: Path) -> None:
    """Have every file and folder below `folder` on disk before it gets its name."""
    for root, _, names in os.walk(folder):
        for path in (*(Path(root) / name for name in names), Path(root)):
            if not path.is_symlink() and (path.is_file() or path.is_dir()):
                _flush(path)


def _flush(path: Path) -> None:
    if os.name == "nt":  # which opens no folder and flushes only what is open for writing
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _exchange(fresh: Path, folder: Path) -> None:
    """Give `fresh` the name `folder`; what had it is left under the name `fresh`, or removed."""
    if not folder.exists():
        fresh.rename(folder)
    elif not _swap(fresh, folder):
        aside = fresh.with_name(fresh.name + ".old")
        folder.rename(aside)
        try:
            fresh.rename(folder)
        except BaseException:
            aside.rename(folder)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    # The new folder is whole and in place; that its name outlives a power cut is the disk's part.
    with contextlib.suppress(OSError):
        _flush(folder.parent)


def _swap(one: Path, two: Path) -> bool:
    """Exchange two names in one step where the system can (Linux's renameat2)."""
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, TypeError, AttributeError):  # Windows and macOS have no such function
        return False
    return renameat2(here, os.fsencode(one), here, os.fsencode(two), exchange) == 0
