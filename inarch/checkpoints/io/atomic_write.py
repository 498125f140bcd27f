"""Atomic saves, which touch nothing but their own files."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from inarch.checkpoints.io.contents import is_checkpoint_file, may_be_saved_to
from inarch.checkpoints.io.flush import sync
from inarch.checkpoints.io.locks import is_at, open_folder, try_lock, try_locked
from inarch.checkpoints.io.publish import NEW, OLD, files_below, publish, sweep
from inarch.errors import CheckpointFileError
from inarch.validation import check_flag, check_path


@contextlib.contextmanager
def replacing(folder: str | os.PathLike, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder to write to; when the block ends well its files are those of `folder`.

    Files of the checkpoint that was there before and that the new ones make stale are removed, such
    as its weights; all others stay as they are. Until the block has ended nothing of `folder` is
    touched, so a full disk or a kill loses nothing.

    Raises:
        CheckpointFileError: as `check_destination`, or the folder can't be written to; what was
            there stays as it was.
    """
    with _staged(check_destination(folder, overwrite), whole=True) as fresh:
        yield fresh


@contextlib.contextmanager
def adding(folder: str | os.PathLike) -> Iterator[Path]:
    """Yield an empty folder to write to, as `replacing` does, whose files are added to `folder`.

    That may be any folder, such as the current directory: it stays, and its files change.

    Raises:
        CheckpointFileError: the folder can't be written to; what was there stays as it was.
    """
    check_path("folder", folder, "the name or the path of a folder to save to")
    with _staged(Path(os.path.realpath(folder)), whole=False) as fresh:
        yield fresh


@contextlib.contextmanager
def _staged(folder: Path, whole: bool) -> Iterator[Path]:
    remove_leftovers(folder)
    try:
        fresh, handle = _stage(folder)
    except OSError as e:
        raise CheckpointFileError(f"{folder} can't be written: {e.strerror or e}") from e
    try:
        yield fresh
        sync(fresh)
        publish(fresh, folder, whole)
    except OSError as e:
        if isinstance(e, CheckpointFileError):
            raise
        raise CheckpointFileError(
            f"{folder} can't be written: {e.strerror or e}; what was there is unchanged"
        ) from e
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def check_destination(folder: str | os.PathLike, overwrite: bool = False) -> Path:
    """Return the folder to save to, without links.

    Args:
        folder: where to save; it need not exist.
        overwrite: whether it may hold other things and no checkpoint.

    Raises:
        CheckpointFileError: it is a file, the current directory, the home folder, the root, or one
            that holds one of these; or it isn't empty and holds no checkpoint.
    """
    check_path("folder", folder, "the name or the path of a folder to save to")
    check_flag("overwrite", overwrite)
    if not os.fspath(folder):
        raise CheckpointFileError("the folder to save to is ''; give the name of one")
    try:
        here = Path(os.path.realpath(os.curdir))
        folder = Path(os.path.realpath(folder))
    except FileNotFoundError as e:
        raise CheckpointFileError(
            f"{folder} can't be written: the current directory is gone; change to another one"
        ) from e
    home = Path(os.path.realpath(os.path.expanduser("~")))
    for place, name in ((here, "the current directory"), (home, "the home folder")):
        if folder == place or folder in place.parents:
            what = f"is {name}" if folder == place else f"holds {name} {place}"
            raise CheckpointFileError(
                f"{folder} {what}, where a checkpoint's files would be among all others; choose a "
                f"folder within it, such as {place / 'model'}"
            )
    if folder == folder.parent:
        raise CheckpointFileError(f"{folder} is the root of the file system; choose a folder in it")
    if folder.exists() and not folder.is_dir():
        raise CheckpointFileError(f"{folder} is a file; choose a folder to save to")
    try:
        refused = not overwrite and folder.is_dir() and not may_be_saved_to(folder)
    except OSError as e:
        raise CheckpointFileError(f"{folder} can't be read: {e.strerror or e}") from e
    if refused:
        raise CheckpointFileError(
            f"{folder} isn't empty and holds no checkpoint; choose another folder, or save with "
            "overwrite=True (--overwrite) to write the checkpoint's files next to what is there"
        )
    return folder


def _stage(folder: Path) -> tuple[Path, int | None]:
    """Make a hidden folder on the disk of `folder`, locked as long as its handle is open."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    exists = folder.exists()
    if not exists or folder.stat().st_dev == folder.parent.stat().st_dev:
        try:
            return _locked_folder(folder.parent, _prefix(folder))
        except OSError as e:
            if not exists or e.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
    return _locked_folder(folder, NEW)  # its parent is another disk, or can't be written to


def _locked_folder(parent: Path, prefix: str) -> tuple[Path, int | None]:
    while True:
        fresh = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            handle = open_folder(fresh)
        except FileNotFoundError:
            continue  # another save has taken it for a leftover, before it was locked
        if handle is None or (try_lock(handle) and is_at(handle, fresh)):
            return fresh, handle
        os.close(handle)


def _prefix(folder: Path, kind: str = NEW) -> str:
    """Return the prefix of the hidden folders that saves to `folder` make next to it."""
    return f".{folder.name[:100]}{kind}"


def remove_leftovers(folder: Path) -> None:
    """Remove what killed saves to `folder` have left; running ones hold a lock on their own."""
    for parent, new in ((folder.parent, _prefix(folder)), (folder, NEW)):
        with contextlib.suppress(OSError):
            for entry in list(os.scandir(parent)):
                is_old = parent != folder and entry.name.startswith(_prefix(folder, OLD))
                if entry.name.startswith(new) or is_old:
                    _remove_leftover(Path(entry.path), folder, is_old)


def _remove_leftover(left: Path, folder: Path, is_old: bool) -> None:
    if left.is_symlink() or not left.is_dir():
        return
    handle = open_folder(left)
    if handle is None:
        return
    try:
        if not try_locked(handle):
            return
        if not is_old:
            shutil.rmtree(left)
        elif folder.is_dir():
            sweep(left, folder, [name for name in files_below(left) if is_checkpoint_file(name)])
    finally:
        os.close(handle)
